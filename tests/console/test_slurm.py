"""`slpd slurm`: what a plan becomes, what is submitted, in which order and what once more; Slurm is played."""

import json
import os
import re
import shutil
import signal
import subprocess
import time

import pytest
import yaml

from bundle.console import slurm_plan
from bundle.console.__main__ import main

PLAN = """work_dir: work
slides: slides
slide_table: slides.csv
label: kind
ids: {patch_encoder_ckpt: encoder.pt}
slurm: {partition: gpu, time: 12:00:00, extra: [--mail-type=FAIL]}
tokenize: {tasks: 2, gpus: 1}
train: {gpus: 2, nproc: 2, memory: 64G, ids: {batch_size: 8}}
infer: {tasks: 2}
"""
# Words go to calls; numbers count up; what `refuses` names is refused.
SBATCH = """#!/bin/bash
echo "sbatch $*" >>"$PLAYED/calls"
if [ -e "$PLAYED/refuses" ] && [[ "$*" == *"$(cat "$PLAYED/refuses")"* ]]; then echo "no such partition" >&2; exit 1; fi
[[ "$*" == *--test-only* ]] && exit 0
n=$(($(cat "$PLAYED/number" 2>/dev/null || echo 10) + 1)); echo $n >"$PLAYED/number"; echo "$n;cluster"
"""
SQUEUE = '#!/bin/bash\ncat "$PLAYED/queue" 2>/dev/null || true\n'
OTHERS = '#!/bin/bash\necho "${0##*/} $*" >>"$PLAYED/calls"\n'


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A folder with a plan and what it names; Slurm's programs write down their words beside it."""
    played = tmp_path / "played"
    played.mkdir()
    for name, text in {"sbatch": SBATCH, "squeue": SQUEUE, "scancel": OTHERS, "scontrol": OTHERS}.items():
        (played / name).write_text(text)
        (played / name).chmod(0o755)
    monkeypatch.setenv("PLAYED", str(played))
    monkeypatch.setenv("PATH", f"{played}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "slides").mkdir()
    (tmp_path / "slides" / "a.svs").write_bytes(b"no slide")
    (tmp_path / "slides.csv").write_text("slide,kind,diagnosis\na,x,x\n")
    for name in ("encoder.pt", "uni.bin"):
        (tmp_path / name).touch()
    (tmp_path / "plan.yaml").write_text(PLAN)
    return tmp_path


def submitted(folder):
    """Words of sbatch that were no trial."""
    path = folder / "played" / "calls"
    lines = path.read_text().splitlines() if path.exists() else []
    path.write_text("")
    return [re.sub(r"\S*/(\w+\.sh)", r"\1", line) for line in lines if "--test-only" not in line]


def ends(folder, name, status):
    (folder / "work" / "slurm" / f"{name}.ended").write_text(f"{status}\n")


def queue(folder, *lines):
    (folder / "played" / "queue").write_text("".join(f"{line}\n" for line in lines))


def test_the_example_names_every_key_and_is_a_plan(cluster, capsys):
    """What --example prints can be submitted as it is; a key that it does not have does not exist."""
    assert main(["slurm", "--example"]) == 0
    text = capsys.readouterr().out
    (cluster / "plan.yaml").write_text(text)
    found = yaml.safe_load(text)
    per_step = {name for step in slurm_plan.AFTER for name in found[step]} | set(found["slurm"])
    assert per_step == {*slurm_plan._FOR_ALL, "tasks", "nproc", "ids", "with"}
    assert main(["slurm", str(cluster / "plan.yaml"), "--dry_run"]) == 0
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if re.fullmatch(r"# \w+", line)] == [f"# {n}" for n in slurm_plan.AFTER]
    assert "--time=1-00" in out and "--gres=gpu:2" in out and "--processes=2" in out
    assert not (cluster / "work").exists() and submitted(cluster) == []


def test_jobs_follow_each_other(cluster, capsys):
    """Each waits for the step that it needs; numbers and words are written down."""
    assert main(["slurm", str(cluster / "plan.yaml")]) == 0
    assert submitted(cluster) == [
        "sbatch --parsable --array=0,1 tokenize.sh",
        "sbatch --parsable --dependency=afterok:11_0:11_1 train.sh",
        "sbatch --parsable --dependency=afterok:12 evaluate.sh",
        "sbatch --parsable --array=0,1 --dependency=afterok:12 infer.sh",
        "sbatch --parsable --dependency=afterok:14_0:14_1 atlas.sh",
    ]
    record = json.loads((cluster / "work" / "slurm" / "jobs.json").read_text())
    assert record["infer"]["jobs"] == {"0": "14_0", "1": "14_1"}
    assert record["train"]["command"][0] == "train" and "--batch_size=8" in record["train"]["command"]
    assert "7 jobs submitted" in capsys.readouterr().out


def test_scripts_say_what_a_job_needs(cluster):
    """Options of sbatch, Slurm's signal, and how tasks share the slides."""
    main(["slurm", str(cluster / "plan.yaml")])
    scripts = {path.stem: path.read_text() for path in (cluster / "work" / "slurm").glob("*.sh")}
    for option in ("partition=gpu", "time=12:00:00", "requeue", "signal=B:USR1@120", "mail-type=FAIL", "gres=gpu:2",
                   "mem=64G", "open-mode=append"):  # fmt: skip
        assert f"#SBATCH --{option}\n" in scripts["train"]
    assert f"#SBATCH --output={cluster / 'work' / 'slurm' / 'train_%j.log'}\n" in scripts["train"]
    assert 'eval/tokenize/task_"$SLURM_ARRAY_TASK_ID")' in scripts["tokenize"] and "RANK" not in scripts["tokenize"]
    assert 'export RANK="$SLURM_ARRAY_TASK_ID" WORLD_SIZE=2\n' in scripts["infer"]
    assert "--processes=2" in scripts["train"] and "gres" not in scripts["atlas"]


def test_nothing_is_submitted_twice(cluster, capsys):
    """A second call tells what each job is doing; --again changes nothing while all are at work or done."""
    main(["slurm", str(cluster / "plan.yaml")])
    submitted(cluster)
    for name in ("tokenize_11_0", "tokenize_11_1"):
        ends(cluster, name, 0)
    rest = ("13|PENDING|Dependency|0:00", "14_0|PENDING|Dependency|0:00", "14_1|PENDING|Dependency|0:00")
    queue(cluster, "12|RUNNING|None|1:02:03", *rest, "15|PENDING|Dependency|0:00")
    capsys.readouterr()
    for words in ([], ["--again"]):
        assert main(["slurm", str(cluster / "plan.yaml"), *words]) == 0
        out = capsys.readouterr().out
        assert "running 1:02:03" in out and "2 done, 1 running, 4 pending" in out
    assert submitted(cluster) == []


def test_what_failed_is_submitted_again_with_what_waited_for_it(cluster, capsys):
    """Done stays done; one task of an array alone; a job that waits in vain is taken away first."""
    main(["slurm", str(cluster / "plan.yaml")])
    submitted(cluster)
    for name, status in {
        "tokenize_11_0": 0,
        "tokenize_11_1": 0,
        "train_12": 0,
        "evaluate_13": 1,
        "infer_14_0": 0,
    }.items():
        ends(cluster, name, status)
    ends(cluster, "infer_14_1", 143)
    queue(cluster, "15|PENDING|DependencyNeverSatisfied|0:00")
    capsys.readouterr()
    assert main(["slurm", str(cluster / "plan.yaml")]) == 1
    out = capsys.readouterr().out
    assert "failed status 1" in out and "failed status 143" in out and "--again" in out and submitted(cluster) == []
    assert main(["slurm", str(cluster / "plan.yaml"), "--again"]) == 0
    assert submitted(cluster) == [
        "sbatch --parsable evaluate.sh",
        "sbatch --parsable --array=1 infer.sh",
        "scancel 15",
        "sbatch --parsable --dependency=afterok:17_1 atlas.sh",
    ]
    record = json.loads((cluster / "work" / "slurm" / "jobs.json").read_text())
    assert record["infer"]["jobs"] == {"0": "14_0", "1": "17_1"}


def test_a_job_that_left_no_word_is_gone(cluster, capsys):
    """Cancelled before it began, or lost with its node."""
    (cluster / "plan.yaml").write_text("work_dir: work\ntokens: slides.h5\n")
    (cluster / "slides.h5").mkdir()
    main(["slurm", str(cluster / "plan.yaml")])
    assert main(["slurm", str(cluster / "plan.yaml")]) == 1
    assert "gone cancelled, or lost with its node" in capsys.readouterr().out


def test_what_slurm_does_not_take_stops_all(cluster, capsys):
    """Each script is tried first; the message has step and reason."""
    (cluster / "played" / "refuses").write_text("evaluate.sh")
    assert main(["slurm", str(cluster / "plan.yaml")]) == 2
    said = capsys.readouterr().err
    assert "evaluate: " in said and "no such partition" in said and "Nothing was submitted" in said
    assert submitted(cluster) == []


def test_no_slurm_is_said(cluster, capsys, monkeypatch):
    """With what to do; --dry_run does without."""
    monkeypatch.setenv("PATH", str(cluster))
    assert main(["slurm", str(cluster / "plan.yaml")]) == 2
    assert "sbatch, which is not on the PATH" in capsys.readouterr().err
    assert main(["slurm", str(cluster / "plan.yaml"), "--dry_run"]) == 0


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("partition: gpu", "partion: gpu", "no key slurm: partion; did you mean partition?"),
        ("label: kind", "lable: kind", "no key lable; did you mean label?"),
        ("label: kind", "label: sort", "no column 'sort'"),
        ("slides: slides\n", "slides: nowhere\n", "there is no nowhere"),
        ("slides: slides\n", "", "no source given"),
        ("slides: slides\n", "slides: slides\ntokens: t\n", "slides and tokens given"),
        ("slides: slides\n", "tokens: slides\n", "tokens is slides, and there are slides in it"),
        ("label: kind", "evaluate: {time: 60}", "step evaluate is needless: there is no label"),
        ("encoder.pt", "missing.pt", "no patch encoder at missing.pt"),
        ("12:00:00", "12h", "tokenize: time is '12h'; give minutes, hours:minutes:seconds or days-hours"),
        ("12:00:00", "3:59", "time is 3:59, 239 s"),
        ("64G", "64 GB", "train: memory is '64 GB'"),
        ("tasks: 2, gpus", "tasks: two, gpus", "tokenize: tasks is 'two'; give a whole number of at least 1"),
        ("train: {gpus: 2", "train: {gpus: 1", "train: nproc is 2 with 1 gpus"),
        ("train: {", "train: {tasks: 2, ", "no key train: tasks"),
        ("batch_size", "batch_sise", "no step of the chain has --batch_sise|slpd train has no --batch_sise"),
        ("batch_size: 8", "batch_size: many", "batch_size is 'many'"),
        ("--mail-type=FAIL", "--signal=TERM", "--signal=TERM is slpd's to give"),
        ("ids: {p", "venv: nowhere\nids: {p", "venv is 'nowhere'"),
        ("work_dir: work", "work_dir: [work", "is no YAML"),
    ],
)
def test_what_is_wrong_with_a_plan_is_said_before_anything_is_submitted(cluster, capsys, old, new, said):
    """File, key, what was found, what to do."""
    assert old in PLAN
    (cluster / "plan.yaml").write_text(PLAN.replace(old, new, 1))
    assert main(["slurm", str(cluster / "plan.yaml")]) == 2
    message = capsys.readouterr().err
    assert re.search(said.replace("(", r"\("), message) and "plan.yaml" in message, message
    assert submitted(cluster) == [] and not (cluster / "work").exists()


def test_another_number_of_tasks_is_another_chain(cluster, capsys):
    """Tasks of inferring share the slides by their number."""
    main(["slurm", str(cluster / "plan.yaml")])
    (cluster / "plan.yaml").write_text(PLAN.replace("infer: {tasks: 2}", "infer: {tasks: 3}"))
    assert main(["slurm", str(cluster / "plan.yaml"), "--again"]) == 2
    assert "infer: tasks is 3, and 2 were submitted" in capsys.readouterr().err


RUN = """#!/bin/bash
trap 'echo told >>"$PLAYED/told"; exit 138' USR1
trap 'exit 143' TERM
echo "$*" >"$PLAYED/at_work"
for _ in {1..100}; do [ -e "$PLAYED/done" ] && exit "$(cat "$PLAYED/done")"; sleep .05; done
"""


def start(cluster, turn):
    """The job of training, as a node starts it; returns when its run is at work."""
    at_work = cluster / "played" / "at_work"
    at_work.unlink(missing_ok=True)
    env = {**os.environ, "SLURM_JOB_ID": "12", "SLURM_RESTART_COUNT": str(turn)}
    job = subprocess.Popen([shutil.which("bash"), str(cluster / "work" / "slurm" / "train.sh")], env=env)
    for _ in range(200):
        if at_work.exists():
            return job
        time.sleep(0.02)
    raise AssertionError("the run has not begun")


@pytest.fixture
def job_script(cluster):
    """Scripts of a plan whose slpd is played, by `container`."""
    run = cluster / "played" / "contained"
    run.write_text(RUN)
    run.chmod(0o755)
    text = PLAN.replace("time: 12:00:00", "time: 12:00:00, restarts: 2")
    (cluster / "plan.yaml").write_text(f"{text}container: {run} exec\n")
    main(["slurm", str(cluster / "plan.yaml")])
    submitted(cluster)
    return cluster


def test_a_job_whose_time_ends_saves_and_asks_for_another_turn(job_script):
    """SIGUSR1 reaches the run; Slurm is asked only then, and as often as the plan says; then the job has failed."""
    ended = job_script / "work" / "slurm" / "train_12.ended"
    for turn in (0, 1, 2):
        job = start(job_script, turn)
        job.send_signal(signal.SIGUSR1)
        assert job.wait(10) == 138
        assert submitted(job_script) == (["scontrol requeue 12"] if turn < 2 else [])
        assert ended.exists() == (turn == 2)
    assert (job_script / "played" / "told").read_text() == "told\n" * 3 and ended.read_text() == "138\n"
    assert (job_script / "played" / "at_work").read_text().startswith("exec slpd train ")


@pytest.mark.parametrize("status", [0, 1])
def test_a_job_that_ends_says_how(job_script, status):
    """What it had said of an earlier turn is gone; nobody asks for another one."""
    ends(job_script, "train_12", 143)
    (job_script / "played" / "done").write_text(str(status))
    assert start(job_script, 1).wait(10) == status
    assert (job_script / "work" / "slurm" / "train_12.ended").read_text() == f"{status}\n"
    assert submitted(job_script) == []
