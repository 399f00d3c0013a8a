"""Runs through MONAI's command line, as users start them: killed, resumed, on two processes, from elsewhere."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tiny_training
import torch
from cohorts import write_cohort
from warm import ENVIRONMENT, run_python

from bundle.core import read_history
from scripts.bench.processes import bundle_command
from scripts.golden_results.reading import items_of

ROOT = Path(__file__).parents[1]
TRAIN = str(ROOT / "configs" / "train.yaml")
MULTI = str(ROOT / "configs" / "multi_gpu_train.yaml")
TINY = {**tiny_training.TINY, "depth": 2, "max_epochs": 4, "checkpoint_interval": 1}


def settings(tokens, output, **ids):
    """Ids of a small training run."""
    paths = {"bundle_root": ROOT, "dataset_dir": tokens, "output_dir": output, "model_path": output / "model.pt"}
    return {**TINY, **{name: str(path) for name, path in paths.items()}, **ids}


def command(tokens, output, *launcher, config=TRAIN, **ids):
    """The command line of a training run."""
    python, *words = bundle_command("training", [config], **settings(tokens, output, **ids))
    return [python, *launcher, *words]


def run(words, cwd=ROOT):
    """Run a command to its end, also one that starts others."""
    return run_python(words, cwd=cwd, env=ENVIRONMENT)


def losses(output):
    """The `self`, `intra` and `inter` columns of a run's history."""
    rows = [row for row in read_history(output / "history.csv") if "loss" in row]
    columns = ("loss", "self", "intra", "inter")
    return torch.tensor([[row[name] for name in columns] for row in rows], dtype=torch.float64)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    """Twelve slides with 1 to 5 regions each."""
    return write_cohort(tmp_path_factory.mktemp("tokens"), regions=(3, 4, 1, 5, 4, 4, 3, 5, 4, 2, 4, 4))


@pytest.fixture(scope="module")
def unbroken(tokens, tmp_path_factory):
    """Output folder of a run that nobody disturbed."""
    output = tmp_path_factory.mktemp("unbroken")
    table = tokens / "slide_table.csv"
    done = run(command(tokens, output, slide_table=table))
    assert done.returncode == 0, done.stderr
    return output


def test_a_run_leaves_what_was_promised(unbroken):
    """Weights, checkpoints, history with kNN and prototype statistics, plot, TensorBoard events, a picture."""
    names = {path.name for path in unbroken.iterdir()}
    assert {"last.pt", "best.pt", "epoch_0004.pt", "history.csv", "training.png", "prototypes.png", "model.pt"} <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    header = (unbroken / "history.csv").read_text().splitlines()[0]
    for column in (
        "loo_knn_accuracy",
        "mean_token_loo_knn_accuracy",
        "dead_share",
        "neighbor_agreement",
        "kl",
        "teacher_momentum",
    ):
        assert column in header
    assert bool((losses(unbroken)[1:, 2:] > 0).all()), "prototype losses after the warm-up"
    assert losses(unbroken)[0, 2:].tolist() == [0, 0], "none before"


@pytest.mark.slow
def test_a_killed_run_resumed_ends_with_the_same_weights(tokens, unbroken, tmp_path):
    """SIGKILL in the middle, then --resume true: networks, optimizer, centers, prototypes are the same bit for bit."""
    table = tokens / "slide_table.csv"
    process = subprocess.Popen(
        command(tokens, tmp_path, slide_table=table),
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.time() + 120
    while not (tmp_path / "epoch_0002.pt").exists() and time.time() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (tmp_path / "epoch_0002.pt").exists()
    assert not (tmp_path / "model.pt").exists(), "killed too late: the run was complete"
    done = run(command(tokens, tmp_path, slide_table=table, resume="true"))
    assert done.returncode == 0, done.stderr
    assert "resumed" in done.stdout + done.stderr
    ours, theirs = (dict(items_of("last.pt", (folder / "last.pt").read_bytes())) for folder in (tmp_path, unbroken))
    assert ours.keys() == theirs.keys() and all(np.array_equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.slow
def test_two_processes_have_the_losses_of_one(tokens, unbroken, tmp_path):
    """The same global batch on two gloo processes: the losses of all epochs agree to 1e-5; then one process goes on."""
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    config, table = f"['{TRAIN}','{MULTI}']", tokens / "slide_table.csv"
    words = command(tokens, tmp_path, *launcher, config=config, slide_table=table)
    done = run(words)
    assert done.returncode == 0, done.stderr
    torch.testing.assert_close(losses(tmp_path), losses(unbroken), rtol=1e-5, atol=1e-5)
    (tmp_path / "epoch_0002.pt").rename(tmp_path / "last.pt")
    done = run(command(tokens, tmp_path, slide_table=table, resume=True))
    assert done.returncode == 0, done.stderr
    torch.testing.assert_close(losses(tmp_path), losses(unbroken), rtol=1e-5, atol=1e-5)


WORKFLOW = '''
import json, sys, time
from pathlib import Path
from monai.bundle import ConfigWorkflow

def is_gloo(task):
    try:
        return "gloo" in (task / "comm").read_text()
    except OSError:  # it has just ended
        return False

def n_threads(wanted):
    """A thread takes its name a moment after its start and leaves /proc a moment after its end: both are waited for."""
    deadline = time.monotonic() + 20
    while not wanted(n := sum(map(is_gloo, Path("/proc/self/task").iterdir()))) and time.monotonic() < deadline:
        time.sleep(0.01)
    return n

files, ids = json.loads(sys.argv[1])
workflow = ConfigWorkflow(config_file=files, workflow_type="train", logging_file=False, **ids)
workflow.initialize()
workflow.run()
before = n_threads(lambda n: n > 0)
workflow.finalize()
print("THREADS", before, n_threads(lambda n: n == 0))
'''


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are counted in Linux's /proc")
def test_no_thread_of_the_group_outlives_the_run(tokens, tmp_path):
    """One that does may wait for Python's lock when Python ends: the process then aborts, torchrun calls it failed."""
    (tmp_path / "workflow.py").write_text(WORKFLOW)
    ids = settings(tokens, tmp_path, max_epochs=2)
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=1")
    done = run([sys.executable, *launcher, str(tmp_path / "workflow.py"), json.dumps([[TRAIN, MULTI], ids])])
    assert done.returncode == 0, done.stderr
    (counts,) = re.findall(r"THREADS (\d+) (\d+)", done.stdout)
    assert int(counts[0]) > 0 and int(counts[1]) == 0


def test_it_runs_from_another_folder(tokens, tmp_path):
    """Absolute config path and --bundle_root are enough."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = run(command(tokens, tmp_path / "out", max_epochs=1), cwd=elsewhere)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "model.pt").exists()
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ({"dataset_dir": "nowhere/at/all"}, "nowhere/at/all"),
        ({"batchsize": 3}, "--batchsize is no id of"),
        ({"slide_table": "no_table.csv"}, "no_table.csv"),
        ({"region_encoder_ckpt": "no_weights.pt"}, "no_weights.pt"),
        ({"resume": "perhaps"}, "--resume is 'perhaps'; give true or false."),
    ],
)
def test_a_user_s_mistake_is_one_message(tokens, tmp_path, ids, message):
    """Non-zero exit, the name of what is wrong, no traceback."""
    done = run(command(tokens, tmp_path, **ids))
    assert done.returncode != 0
    assert "Stopped: " in done.stderr and message in done.stderr
    assert "Traceback" not in done.stderr, done.stderr


def test_an_empty_folder_is_one_message(tmp_path):
    """No token files: the folder is named, and how to make some."""
    (tmp_path / "empty").mkdir()
    done = run(command(tmp_path / "empty", tmp_path / "out"))
    assert done.returncode != 0
    assert str(tmp_path / "empty") in done.stderr and "Traceback" not in done.stderr
