"""The files of one epoch: written once, complete or absent, and apart from one another afterwards."""

import os

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from engines import make_engine
from ignite.engine import Engine
from torch import nn

import bundle.training.handlers.run_state as run_state_module
from bundle.core import BundleError
from bundle.training import CheckpointHandler, ResumeHandler, RunState


class Counted:
    """Has a state that counts how often it was asked for."""

    def __init__(self):
        self.n_asked = 0

    def state_dict(self):
        self.n_asked += 1
        return {"value": self.n_asked}


def train(folder, thing, epochs, best_at=(), every=0):
    """A run whose validation is best in the epochs ``best_at``."""
    evaluator = Engine(lambda e, b: None)
    evaluator.state.best_metric, evaluator.state.best_metric_epoch = 0.5, -1

    def step(engine, batch):
        if engine.state.epoch in best_at:
            evaluator.state.best_metric_epoch = engine.state.epoch

    saver = CheckpointHandler(RunState(folder, {"thing": thing}, {}, evaluator), every=every)
    make_engine(step, [saver]).run([0], max_epochs=epochs)


def value(path):
    return torch.load(path, weights_only=True)["thing"]["value"]


@pytest.mark.parametrize("can_link", [True, False])
def test_an_epoch_is_serialized_once_and_its_files_live_on_their_own(tmp_path, monkeypatch, can_link):
    """Three names, one writing; a later last.pt leaves best.pt and epoch files alone, linked or copied."""
    if not can_link:
        monkeypatch.setattr(os, "link", lambda *names: (_ for _ in ()).throw(PermissionError(1, "not here")))
    written, save = [], run_state_module.save_atomically
    monkeypatch.setattr(run_state_module, "save_atomically", lambda *a: (written.append(a[1].name), save(*a)))
    thing = Counted()
    train(tmp_path, thing, epochs=3, best_at=(2,), every=2)
    assert thing.n_asked == 3 and written == ["last.pt", "epoch_0002.pt", "last.pt"]
    names = ["best.pt", "epoch_0002.pt", "last.pt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert [value(tmp_path / name) for name in names] == [2, 2, 3]
    assert os.path.samefile(tmp_path / "best.pt", tmp_path / "epoch_0002.pt") == can_link


def test_a_full_disk_spares_the_file_of_before(tmp_path, monkeypatch):
    """Where neither a link nor a copy can be made, last.pt stays as it was and no part of a file remains."""
    thing = Counted()
    train(tmp_path, thing, epochs=1, best_at=(1,))

    def fail(*names, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "link", fail)
    monkeypatch.setattr("shutil.copyfile", fail)
    with pytest.raises(BundleError, match="last.pt cannot be written .*No space left.*file of before is intact"):
        train(tmp_path, thing, epochs=1, best_at=(1,))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.pt", "last.pt"]
    assert value(tmp_path / "last.pt") == 1


def test_other_patches_are_no_run_to_go_on_with(tmp_path):
    """Runs of before did not write down which patches they had: these go on; those that did are compared."""
    for then, now in (({}, {"which_patches": "a"}), ({"which_patches": "a"}, {"which_patches": "a"})):
        RunState(tmp_path, {}, {"patches": 9, **then}).save(_finished(), "last.pt")
        RunState(tmp_path, {}, {"patches": 9, **now}).load(_finished())
    with pytest.raises(BundleError, match="cannot be resumed, the run has changed: which_patches: 'a' then, 'b' now"):
        RunState(tmp_path, {}, {"patches": 9, "which_patches": "b"}).load(_finished())


def _finished():
    engine = Engine(lambda e, b: None)
    engine.run([0], max_epochs=1)
    return engine


def _train(output_dir):
    run_state = RunState(output_dir, {"network": nn.Linear(2, 2)}, {})
    try:
        make_engine(handlers=[ResumeHandler(run_state), CheckpointHandler(run_state)]).run([0], max_epochs=1)
    except BundleError as error:
        return str(error)
    return "done"


def _train_twice(rank, folder, said):
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    said.put((rank, [_train(f"{folder}/good"), _train(f"{folder}/file")]))
    dist.destroy_process_group()


def test_all_processes_learn_that_the_first_cannot_write(tmp_path, warm_spawn):
    """The others used to wait for process 0 until they were ended."""
    (tmp_path / "file").touch()
    said = mp.get_context("spawn").SimpleQueue()
    mp.spawn(_train_twice, (str(tmp_path), said), nprocs=2)
    heard = dict([said.get(), said.get()])
    assert heard[0][0] == heard[1][0] == "done" and (tmp_path / "good" / "last.pt").is_file()
    assert heard[0][1].startswith("checkpoints cannot be written")
    assert heard[1][1].startswith("process 0 failed, so process 1 stops: checkpoints cannot be written")
