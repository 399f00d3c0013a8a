"""What users get wrong, and what disks and slides do to them: one message, and nothing finished is lost."""

import logging
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from cohorts import write_cohort
from encoder_files import own_file
from tiny_slides import PATCH, damage_tiles, write_slide
from tiny_training import NETWORK
from workflows import run_config

from bundle.cohort import SlideTable
from bundle.core import BundleError, SettingError, as_number, as_whole, begin, check_device
from bundle.core.command_line import _leave_out_what_will_be_said_again, check_command_line, user_error
from bundle.networks import LastLayer, PatchViT, ProjectionHead, RegionViT
from bundle.slides import PatchDataset, ReadSettings
from bundle.storage import RegionBatchSampler
from bundle.training import HistoryHandler, RunState, ScheduleHandler, SLPDLoss, TensorBoardHandler
from bundle.training.transforms.image_crops import RandImageCrops
from bundle.training.transforms.token_crops import RandTokenCrops
from scripts.bench.processes import bundle_command

ROOT = Path(__file__).parents[1]
READ = {"mpp": 2.0, "patch_size": PATCH, "region_patches": 4, "min_tissue_patches": 2}
STAGE_ONE = {"vit_patch_size": 8, "global_size": 16, "local_size": 8, "num_workers": 0, "patches_per_slide": 8, **READ}
CONFIGS = ("tokenize", "train_patch_encoder", "train")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Two good slides, tokens of four slides, a patch encoder."""
    folder = tmp_path_factory.mktemp("inputs")
    write_slide(folder / "slides" / "a.tif", 200)
    write_slide(folder / "slides" / "b.tif", 200, seed=1)
    write_cohort(folder / "tokens")
    own_file(folder / "encoder.pt")
    return folder


def run(name, inputs, out, **ids):
    """Run a config in this process."""
    given = {"output_dir": out, "device": "cpu", "amp": False, "batch_size": 8}
    if name == "tokenize":
        given |= {"dataset_dir": inputs / "slides", "tokens_dir": out / "tokens", "num_workers": 1, **READ}
        given |= {"patch_encoder_ckpt": inputs / "encoder.pt"}
    else:
        given |= {"model_path": out / "model.pt", "max_epochs": 1, "lr_warmup_epochs": 0, "n_local": 2, **NETWORK}
        given |= {"dataset_dir": inputs / "slides", **STAGE_ONE} if name != "train" else {}
        given |= {"dataset_dir": inputs / "tokens", "prototype_warmup_epochs": 0} if name == "train" else {}
    run_config(f"{name}.yaml", kind="infer" if name == "tokenize" else "train", **{**given, **ids})


def test_a_run_in_another_s_process_leaves_its_hooks_alone(monkeypatch):
    """Only MONAI's command line gets them: a server or a notebook that ran a config used to lose its own."""
    hooks = sys.excepthook, threading.excepthook
    begin()
    assert (sys.excepthook, threading.excepthook) == hooks
    for name in ("excepthook", "argv"):
        monkeypatch.setattr(sys, name, getattr(sys, name))
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    sys.argv = [str(Path("monai", "bundle", "__main__.py"))]
    begin()
    assert sys.excepthook is not hooks[0] and threading.excepthook is not hooks[1]


def message_of(*arguments, **ids):
    """The one message that a run ends with."""
    with pytest.raises(Exception) as caught:
        run(*arguments, **ids)
    mistake = user_error(caught.value)
    assert mistake is not None, "the user would see a traceback"
    return str(mistake)


def spoil(folder):
    """Every kind of bad slide, beside the good ones."""
    (folder / "empty.tif").touch()
    (folder / "text.svs").write_text("not a slide")
    (folder / "picture.tif").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(300))
    (folder / "noise.ndpi").write_bytes(bytes(range(256)) * 8)
    truncated = write_slide(folder / "truncated.tif")
    os.truncate(truncated, truncated.stat().st_size // 2)
    write_slide(folder / "no_mpp.tif", mpp=None)
    write_slide(folder / "screen_mpp.tif", mpp=100.0)
    blank = np.full((320, 320, 3), 242, np.uint8)
    resolution = {"resolution": (5000, 5000), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(folder / "blank.tif", blank, tile=(64, 64), photometric="rgb", compression="jpeg", **resolution)
    damage_tiles(write_slide(folder / "broken.tif", 640, seed=3))


def test_bad_slides_among_good_ones_are_left_out(inputs, tmp_path, caplog):
    """Tokenizing and stage one go on with the good slides, and name each bad one."""
    shutil.copytree(inputs / "slides", tmp_path / "slides")
    spoil(tmp_path / "slides")
    caplog.set_level(logging.WARNING)
    run("tokenize", inputs, tmp_path / "one", dataset_dir=tmp_path / "slides")
    assert {"a.h5", "b.h5"} <= {path.name for path in (tmp_path / "one" / "tokens").iterdir()}
    run("train_patch_encoder", inputs, tmp_path / "two", dataset_dir=tmp_path / "slides", cache=True)
    assert (tmp_path / "two" / "model.pt").is_file()
    for name in ("empty", "text", "picture", "noise", "truncated", "no_mpp", "screen_mpp", "blank", "broken"):
        said = [record.getMessage() for record in caplog.records if f"slide {name}" in record.getMessage()]
        assert {"pipelines.jobs" in r.name for r in caplog.records if f"slide {name}" in r.getMessage()} == {
            True,
            False,
        }
        assert said and all(len(text.splitlines()) == 1 for text in said)


def test_stage_one_without_a_good_slide_says_why(inputs, tmp_path):
    """The message used to point at warnings further up."""
    write_slide(tmp_path / "slides" / "x.tif", mpp=None)
    said = message_of("train_patch_encoder", inputs, tmp_path / "out", dataset_dir=tmp_path / "slides")
    assert "none of 1 slides has a patch" in said and "slide x" in said and "--default_mpp" in said


@pytest.mark.parametrize("name", CONFIGS)
def test_no_input_is_one_message(inputs, tmp_path, name):
    """A folder that does not exist, and one that holds something else."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").touch()
    assert "nowhere does not exist" in message_of(name, inputs, tmp_path / "out", dataset_dir=tmp_path / "nowhere")
    assert "txt" in message_of(name, inputs, tmp_path / "out", dataset_dir=tmp_path / "other")


READING = {"wsi_reader": "auto", "default_mpp": None, "min_tissue": 0.1, **READ}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[(name, value) for name in ("mpp", "default_mpp") for value in (0, -1, 100, "abc", float("nan"))],
        ("wsi_reader", "foo"),
        ("patch_size", 0),
        ("region_patches", 0),
        ("region_patches", 2.5),
        ("min_tissue", 2),
        ("min_tissue_patches", -1),
    ],
)
def test_settings_of_reading_are_refused_before_a_slide_is_opened(name, value):
    """They used to look like a fault of every slide."""
    with pytest.raises(SettingError, match=f"{name} is "):
        ReadSettings(**{**READING, name: value}).checked()


def test_what_is_not_given_of_reading_is_as_it_is_by_default():
    """`--mpp null` of checking and of stage one is 0.5 um/px, as in all commands."""
    assert ReadSettings(mpp=None, patch_size=None, region_patches=None).checked() == ReadSettings()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RegionBatchSampler(8, 0), "batch_size is 0"),
        (lambda: RegionBatchSampler(8, "abc"), "batch_size is 'abc'"),
        (lambda: ScheduleHandler("lr", -1.0, 0.0), "lr after its warm-up is -1"),
        (lambda: ScheduleHandler("lr", float("nan"), 0.0), "lr after its warm-up is nan"),
        (lambda: ScheduleHandler("lr", 1.0, 0.0, warmup_epochs=-1), "warm-up of lr, in epochs, is -1"),
        (lambda: ScheduleHandler("teacher_momentum", 2.0, 1.0), "teacher_momentum .* is 2.0"),
        (lambda: ScheduleHandler("teacher_temperature", 0, 0.1), "teacher_temperature .* is 0"),
        (lambda: SLPDLoss(8, student_temperature=0), "student_temperature is 0"),
        (lambda: SLPDLoss(8, intra_weight=-1), "intra_weight"),
        (lambda: RegionViT(dim=25, n_heads=3), "multiple of n_heads: got 25 and 3"),
        (lambda: RegionViT(dim=24, n_heads=0), "n_heads must be at least 1"),
        (lambda: PatchViT(image_size=20, patch_size=16), "got 20 and 16 px"),
        (lambda: PatchViT(image_size=16, patch_size=0), "vit_patch_size"),
        (lambda: LastLayer(8, 1), "out_dim is 1"),
        (lambda: ProjectionHead(8, 0, 8), "hidden_dim is 0"),
        (lambda: RandTokenCrops(global_size=0), "sizes >= 1"),
        (lambda: RandImageCrops(global_scale=0.5), "a scale"),
        (lambda: RandImageCrops(local_size=95, multiple_of=16), "got 224 and 95"),
        (lambda: RandImageCrops(std=(0, 0, 0)), "std above 0"),
        (lambda: PatchDataset([], patches_per_slide=0), "patches_per_slide is 0"),
    ],
)
def test_a_setting_out_of_its_range_is_refused_at_construction(make, message):
    """A SettingError: one message on the command line, a ValueError for callers."""
    with pytest.raises(SettingError, match=message):
        make()


def test_numbers_are_read_as_they_are_meant():
    """What the command line may make of a number is taken; what is none, or true, is not."""
    assert as_whole("8", "n") == as_whole(8.0, "n") == 8 and as_number("1e-3", "x") == 1e-3
    for value in ("8.5", None, True, "", float("inf")):
        with pytest.raises(SettingError, match="n is"):
            as_whole(value, "n")


@pytest.mark.parametrize(
    ("name", "ids", "message"),
    [
        ("train", {"max_epochs": 0}, "max_epochs is 0"),
        ("train", {"n_prototypes": 0}, "n_prototypes"),
        ("train", {"lr": -1}, "lr after its warm-up is -"),
        ("train", {"num_workers": -1}, "num_workers is -1"),
        ("train", {"global_size": 17}, "17 x 17 tokens does not fit into a grid of 16 x 16"),
        ("train", {"label": "grade", "slide_table": "slide_table.csv"}, "has no column 'grade'"),
        ("train_patch_encoder", {"max_epochs": 0}, "max_epochs is 0"),
        ("train_patch_encoder", {"mpp": 0}, "mpp is 0"),
        ("train_patch_encoder", {"wsi_reader": "foo"}, "wsi_reader is 'foo'; choose one of auto, cucim"),
        ("tokenize", {"mpp": 100}, "mpp is 100"),
        ("tokenize", {"batch_size": 0}, "batch_size is 0"),
        ("tokenize", {"dtype": "int8"}, "dtype is 'int8'"),
        *[(name, {"device": "gpu"}, "'gpu' is no device; give --device cpu, cuda") for name in CONFIGS],
    ],
)
def test_a_wrong_setting_is_one_message(inputs, tmp_path, name, ids, message):
    """Through the configs: the component that refuses it is really asked."""
    if "slide_table" in ids:
        ids = {**ids, "slide_table": inputs / "tokens" / ids["slide_table"]}
    assert message in message_of(name, inputs, tmp_path, **ids)


def test_a_device_that_is_not_there_is_named(monkeypatch):
    """CUDA without a GPU, and a GPU beyond the last one."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BundleError, match="sees no NVIDIA GPU: give --device cpu"):
        check_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert check_device("cuda:1") is None
    with pytest.raises(BundleError, match="there are 2 GPUs; give cuda:0 to cuda:1"):
        check_device("cuda:7")


@pytest.mark.parametrize("name", CONFIGS)
def test_an_output_dir_that_cannot_be_written_is_found_first(inputs, tmp_path, name):
    """A file in its place used to be a traceback after the first epoch, or before it."""
    (tmp_path / "file").touch()
    said = message_of(name, inputs, tmp_path / "file", tokens_dir=tmp_path / "tokens", model_path=tmp_path / "model.pt")
    assert "cannot be written to" in said and "it is a file. Choose another output_dir" in said
    assert not (tmp_path / "tokens").exists()


def test_a_model_path_that_cannot_be_written_is_found_first(inputs, tmp_path):
    """It used to be found after the last epoch."""
    (tmp_path / "file").touch()
    said = message_of("train", inputs, tmp_path / "out", model_path=tmp_path / "file" / "model.pt")
    assert "the trained weights cannot be written to" in said and "Choose another model_path" in said
    assert "give the name of a file" in message_of("train", inputs, tmp_path / "out", model_path=tmp_path)
    assert not (tmp_path / "out" / "last.pt").exists()


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        *[(name, ["--batchsize", "3"], "--batchsize is no id of .*did you mean --batch_size") for name in CONFIGS],
        ("train", ["--train#trainer#max_epoch", "3"], "did you mean --train#trainer#max_epochs"),
        ("train_patch_encoder", ["--train::trainer::max_epoch", "3"], "did you mean --train#trainer#max_epochs"),
        ("tokenize", ["--evaluator#sink#overwrit=true"], "did you mean --evaluator#sink#overwrite"),
        (
            "train",
            ["--train#trainr#max_epochs", "3"],
            "--train#trainr is no id of the config; did you mean --train#trainer",
        ),
        ("train", ["--train#handlers#99#resume", "true"], "train#handlers is a list; give a number from 0"),
        ("train", ["--train#dataset#cache", "none"], "train#dataset is '@dataset' and has nothing below it"),
        ("train", ["--max_epochs", "abc"], "--max_epochs is 'abc'; give a number, such as 100"),
        ("train", ["--lr", "nan"], "--lr is 'nan'; give a number"),
        ("train", ["--batch_size"], "--batch_size is ''; give a number"),
    ],
)
def test_a_wrong_id_or_word_on_the_command_line_is_refused(name, words, message):
    """At the top and nested; the nearest known ids are named."""
    config = str(ROOT / "configs" / f"{name}.yaml")
    with pytest.raises(BundleError, match=message):
        check_command_line(["--config_file", config, *words])


def test_right_words_on_the_command_line_pass():
    """Nested ids, arguments that the config leaves to their defaults, MONAI's own keys, expressions."""
    words = ["--train#trainer#max_epochs=3", "--network_def#backbone#mlp_ratio", "2", "--train#handlers#0#_disabled_=1"]
    words += ["--lr", "1e-3", "--max_epochs", "$2*3", "--train#preprocessing#crops#flip_prob", "0.1"]
    assert check_command_line(["--config_file", str(ROOT / "configs" / "train.yaml"), *words]) is None


def test_token_files_of_two_kinds_are_refused(inputs, tmp_path):
    """Another D, another encoder: both files are named."""
    for kind, change in (("token length is 12", {"dim": 16}), ("encoder is test", {"encoder": "other"})):
        folder = tmp_path / kind.split()[0]
        write_cohort(folder / "one", regions=(2, 2))
        write_cohort(folder / "two", regions=(2, 2), **change)
        said = message_of("train", inputs, tmp_path / "out", dataset_dir=folder)
        assert kind in said and "one/slide_0.h5" in said and "two/slide_0.h5" in said


def test_what_a_killed_run_left_is_ignored(inputs, tmp_path):
    """Part files of tokens, temporary files of checkpoints and broken token files do not stop the next run."""
    shutil.copytree(inputs / "tokens", tmp_path / "tokens")
    (tmp_path / "tokens" / "slide_7.h5.host.1.part").write_text("half")
    os.truncate(tmp_path / "tokens" / "slide_0.h5", 3000)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".last.pt.host.1.tmp").write_text("half")
    run("train", inputs, tmp_path / "out", dataset_dir=tmp_path / "tokens", resume=True, max_epochs=1)
    assert (tmp_path / "out" / "model.pt").is_file()


def test_a_checkpoint_that_cannot_be_resumed_says_what_to_do(tmp_path):
    """Broken: the newest kept one is offered. Weights alone: that is what they are. Other heads: not silently taken."""
    state = RunState(tmp_path, {}, {"n_heads": 3})
    (tmp_path / "epoch_0004.pt").touch()
    for content in (b"", b"PK\x03\x04half of a zip"):
        (tmp_path / "last.pt").write_bytes(content)
        with pytest.raises(BundleError, match=r"last.pt cannot be read .*copy epoch_0004.pt over it"):
            state.load(None)
    torch.save({"weight": torch.zeros(1)}, tmp_path / "last.pt")
    with pytest.raises(BundleError, match=r"last.pt is no checkpoint of a run \(it holds weight\)"):
        state.load(None)
    torch.save({"identity": {"n_heads": 6}, "trainer": {}}, tmp_path / "last.pt")
    with pytest.raises(BundleError, match="n_heads: 6 then, 3 now"):
        state.load(None)


def test_weights_of_another_architecture_are_refused(inputs, tmp_path):
    """A patch encoder as region encoder, a patch encoder of another width: both architectures are described."""
    said = message_of("train", inputs, tmp_path, region_encoder_ckpt=inputs / "encoder.pt")
    assert "The file holds a patch ViT" in said and "expected is a region ViT" in said
    said = message_of("train_patch_encoder", inputs, tmp_path, patch_encoder_ckpt=inputs / "encoder.pt", embed_dim=24)
    assert "width 12" in said and "width 24" in said


def test_a_table_without_a_label_for_any_slide_is_refused(tmp_path):
    """It used to end in a traceback of the kNN."""
    (tmp_path / "t.csv").write_text("slide,label\nfoo,a\n")
    with pytest.raises(BundleError, match="its rows are foo, the slides are slide_0. Name slides by file or id"):
        SlideTable.read(tmp_path / "t.csv").labels(["slide_0"], "label")


@pytest.fixture
def full_disk():
    """No file may grow beyond 100 bytes, as with an exceeded quota."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda n_bytes=100: resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_while_training_keeps_the_last_epoch(inputs, tmp_path, full_disk, caplog):
    """The checkpoint that does not fit stops the run; the one before and the history stay, nothing else remains."""
    run("train", inputs, tmp_path, max_epochs=1)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    saved = torch.load(tmp_path / "last.pt", weights_only=True)
    saved["trainer"] = {"epoch": 0, "iteration": 0}
    torch.save(saved, tmp_path / "last.pt")
    full_disk()
    said = message_of("train", inputs, tmp_path, max_epochs=1, resume=True)
    assert "last.pt cannot be written" in said and "The file of before is intact" in said
    assert (tmp_path / "history.csv").read_bytes() == before["history.csv"], "it used to be cut to nothing"
    assert "history.csv and its plot are not up to date" in caplog.text
    assert torch.load(tmp_path / "last.pt", weights_only=True)["trainer"]["epoch"] == 0
    assert not list(tmp_path.glob(".*.tmp"))


def test_a_full_disk_while_tokenizing_leaves_no_half_file(inputs, tmp_path, full_disk):
    """A quota that is reached by the first bytes used to crash inside HDF5."""
    full_disk(2000)
    assert "no room to write" in message_of("tokenize", inputs, tmp_path)
    assert list((tmp_path / "tokens").iterdir()) == []


def test_tensorboard_on_a_full_disk_gives_up_with_one_warning(tmp_path, caplog):
    """Its writer's thread used to print a traceback; what it raises comes once more, and is a warning."""

    class Thread:
        exception = OSError("full")

    said_again = threading.ExceptHookArgs((OSError, Thread.exception, None, Thread()))
    assert _leave_out_what_will_be_said_again(said_again) is None
    board = TensorBoardHandler(str(tmp_path))

    def fail(*_):
        raise OSError("full")

    board._writer = type("Writer", (), {"add_scalar": fail})()
    board._write("add_scalar", "loss", 1.0, 1)
    board._write("add_scalar", "loss", 1.0, 2)
    assert caplog.text.count("end here: full") == 1


def test_a_history_that_is_none_is_not_written_over(tmp_path):
    """A resumed run would replace what it cannot read."""
    (tmp_path / "history.csv").write_text("epoch,loss\n1,what\n")
    engine = type("Engine", (), {"state": type("State", (), {"record": {}, "epoch": 1})})
    with pytest.raises(BundleError, match="is no history of a run .*Move it away"):
        HistoryHandler(tmp_path)._recall(engine)


@pytest.mark.slow
def test_ctrl_c_is_one_message_and_loses_nothing(inputs, tmp_path):
    """Through the command line: no traceback, the exit of an interrupted program, the last epoch on disk."""
    ids = {"dataset_dir": inputs / "tokens", "output_dir": tmp_path, "model_path": tmp_path / "model.pt", **NETWORK}
    ids |= {"device": "cpu", "n_local": 2, "batch_size": 6, "max_epochs": 5000}
    process = subprocess.Popen(
        bundle_command("training", ["configs/train.yaml"], **ids),
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore Ctrl-C
    )
    deadline = time.time() + 120
    while not (tmp_path / "last.pt").exists() and process.poll() is None and time.time() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    try:
        said = process.communicate(timeout=300)[1]
    finally:
        process.kill()
    assert process.returncode == -signal.SIGINT
    assert "Stopped: interrupted." in said and "Traceback" not in said
    assert torch.load(tmp_path / "last.pt", weights_only=True)["trainer"]["epoch"] >= 1
