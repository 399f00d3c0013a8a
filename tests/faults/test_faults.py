"""The fault suite in small: two commands are struck and go on; what is not as promised is found, with its seed."""

import json
import signal
import sys
from pathlib import Path

import pytest
import yaml
from warm import ENVIRONMENT, run_python

from scripts.fault_trials.commands import BY_NAME
from scripts.fault_trials.outcomes import Log, Outcome, as_unbroken, verdict
from scripts.fault_trials.processes import Ended
from scripts.golden_results.compare import Difference

ROOT = Path(__file__).parents[2]


def faults(folder, *words):
    """``scripts/faults`` in a folder: the process, and its log."""
    command = [sys.executable, "-m", "scripts.fault_trials", *words, "--folder", str(folder)]
    done = run_python(command, cwd=ROOT, env=ENVIRONMENT)
    lines = (folder / "trials.jsonl").read_text().splitlines()
    return done, [json.loads(line) for line in lines]


def test_commands_that_are_struck_go_on(tmp_path):
    """Killed: the unbroken files; a flipped bit: a name. What is in the log is not tried again, and fails nothing."""
    killed, _ = faults(tmp_path, "kill", "--commands", "import")
    flipped, trials = faults(tmp_path, "flip", "--commands", "check tokens")
    assert killed.returncode == flipped.returncode == 0, killed.stdout + flipped.stdout + flipped.stderr
    assert [(trial["fault"], trial["command"]) for trial in trials] == [("kill", "import"), ("flip", "check tokens")]
    assert all(trial["is_good"] for trial in trials) and trials[0]["n"] >= 1
    assert not any((tmp_path / "ground" / "trials").iterdir()), "trials as promised leave nothing"
    again, same = faults(tmp_path, "kill", "--commands", "import")
    assert again.returncode == 0 and same == trials and "2 trials, 0 of them not as promised" in again.stdout


def test_a_process_dies_before_the_change_that_was_drawn(tmp_path):
    """The moments of a seed are the same each time: the third file is not there, and neither is its process."""
    (tmp_path / "struck.py").write_text("for name in 'abcd':\n    open(f'out/{name}', 'w').close()\n")
    (tmp_path / "trial" / "out").mkdir(parents=True)
    program = (
        "from pathlib import Path; from scripts.fault_trials.processes import Limits, Process; import sys;"
        f"sys.path.insert(0, {str(tmp_path)!r});"
        f"ended = Process(['struck'], Path({str(tmp_path / 'trial')!r}), Limits(die_at=3)).wait(60);"
        "print('STATUS', ended.status, ended.n_changes)"
    )
    done = run_python([sys.executable, "-c", program], cwd=ROOT, env=ENVIRONMENT)
    assert f"STATUS {-signal.SIGKILL} 2" in done.stdout, done.stderr
    assert sorted(path.name for path in (tmp_path / "trial" / "out").iterdir()) == ["a", "b"]


@pytest.mark.parametrize(
    ("status", "said", "kind"),
    [
        (0, "done", "finished"),
        (1, "Stopped: slide_3.h5 is damaged", "refused, named"),
        (1, "Stopped: something is damaged", "refused, unnamed"),
        (1, "Traceback (most recent call last):\n  ...\nKeyError: 'slide_3.h5'\n", "traceback"),
        (1, "slide_3.h5", "ended without a message"),
        (-signal.SIGSEGV, "slide_3.h5", f"ended by signal {signal.SIGSEGV.value}"),
        (86, "the network was asked for", "asked for the network"),
    ],
)
def test_what_an_end_is_called(status, said, kind):
    """A trial is as promised where the run ends, or is refused in a message that names the file."""
    found = verdict(Ended(status, 1.0, said, 0), ["slide_3.h5"])
    assert (found.kind, found.is_good) == (kind, kind in ("finished", "refused, named"))


def test_the_log_says_how_to_see_it_again(tmp_path):
    """The last outcome of a seed counts; what is not as promised stands below the table with its command."""
    log = Log(tmp_path / "trials.jsonl")
    log.add("kill", "train", 3, Outcome("traceback", False), 1.0)
    log.add("kill", "train", 3, Outcome("went on as unbroken", True, "", 2), 1.0)
    other = as_unbroken([Difference("out/run/last.pt", "/student/x", "1 of 8 values", 0.5)], "went on as unbroken")
    log.add("kill", "check tokens", 4, other, 1.0)
    text = Log(log.path).table()
    assert "| kill | train | 1 | 2 | 1 went on as unbroken |" in text
    assert "| kill | all | 2 | 3 |" in text and "2 trials, 1 of them not as promised." in text
    assert "`scripts/faults kill --commands 'check tokens' --seed 4 --again`: went on as unbroken: OTHER FILES" in text
    assert "out/run/last.pt /student/x 1 of 8 values" in text


def test_every_verb_is_struck():
    """A command on which no fault was tried would be a promise that nobody has looked at."""
    configs = [yaml.safe_load(path.read_text()) for path in (ROOT / "configs").glob("*.yaml")]
    verbs = {name for config in configs for name, value in config.items() if value == "%run"} - {"searching"}
    verbs |= {"indexing", "querying"}  # the two that searching is made of
    assert verbs == {command.run.split()[0] for command in BY_NAME.values() if command.run}
