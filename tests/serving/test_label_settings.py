"""What the MONAI Label app is started with, its studies, and the commands of its training."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch

from bundle.core import BundleError
from bundle.networks import write_pretraining
from bundle.serving.label_settings import LabelSettings
from bundle.serving.pretraining_run import PretrainingRun
from bundle.serving.studies import LinkedStudies, find_upload, is_plain_name

ROOT = Path(__file__).parents[2]


@pytest.fixture
def weights(tmp_path):
    """``--conf`` pairs with weights that exist."""
    for name in ("patch.pt", "region.pt"):
        (tmp_path / name).write_bytes(name.encode())
    return {"patch_encoder_ckpt": str(tmp_path / "patch.pt"), "region_encoder_ckpt": str(tmp_path / "region.pt")}


def test_ids_of_the_configs_are_handed_on(weights, tmp_path):
    """What the user sets of reading goes on; what was not set stays the config's business."""
    conf = {**weights, "mpp": "2.0", "zoo_source": "local", "slide_table": "slides.csv"}
    settings = LabelSettings.read(ROOT, tmp_path, conf)
    assert settings.reading == {"mpp": "2.0", "slide_table": str(Path("slides.csv").resolve())}
    assert settings.work_dir == tmp_path / "work"


def test_what_the_weights_say_is_handed_on_where_nobody_says_otherwise(weights, tmp_path):
    """Embedding and tokenizing for a training read slides alike; tokens of another um/px have a folder of their own."""
    usual = LabelSettings.read(ROOT, tmp_path, weights).tokens_dir
    write_pretraining(weights["region_encoder_ckpt"], [], {"mpp": 2.0, "patch_size": 256, "encode_background": True})
    settings = LabelSettings.read(ROOT, tmp_path, weights)
    assert settings.how == {"mpp": "2.0", "encode_background": "true"} and settings.tokens_dir != usual
    assert LabelSettings.read(ROOT, tmp_path, {**weights, "mpp": "1.0"}).how["mpp"] == "1.0"


@pytest.mark.parametrize("word", ["null", "None", "none", ""])
def test_what_a_word_leaves_open_is_not_given(weights, tmp_path, word):
    """As in the configs; ids that cannot be open keep what was typed."""
    conf = {**weights, "mpp": word, "slide_table": word, "head": word, "patch_encoder": word}
    assert LabelSettings.read(ROOT, tmp_path, conf) == LabelSettings.read(ROOT, tmp_path, weights)


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({"defalt_mpp": "1"}, "did you mean default_mpp"),
        ({"region_encoder_ckpt": "nowhere.pt"}, "no weights at .*nowhere.pt"),
        ({"train_configs": "configs/train.yaml,configs/none.yaml"}, "no config .*none.yaml"),
        ({"mpp": "$print(1)"}, "mpp is .*evaluate"),
        ({"device": "@bundle_root"}, "device is .*evaluate"),
    ],
)
def test_mistakes_are_named(weights, tmp_path, conf, message):
    """Typing errors, missing weights and missing configs are said before anything starts."""
    with pytest.raises(BundleError, match=message):
        LabelSettings.read(ROOT, tmp_path, {**weights, **conf})


def test_the_newest_model_is_served_and_the_given_one_kept(weights, tmp_path):
    """A model trained from Label goes to the work folder and is served from then on."""
    settings = LabelSettings.read(ROOT, tmp_path, weights)
    assert settings.region_encoder_ckpt == tmp_path / "region.pt"
    settings.trained_region_encoder.parent.mkdir(parents=True)
    settings.trained_region_encoder.write_bytes(b"new")
    assert settings.region_encoder_ckpt == settings.trained_region_encoder
    assert (tmp_path / "region.pt").read_bytes() == b"region.pt"


def test_clients_get_no_model_before_training(weights, tmp_path):
    """A plain 500 was the answer to an upload: what is missing and what to do is said; a trained model is theirs."""
    settings = LabelSettings.read(ROOT, tmp_path, weights)
    with pytest.raises(BundleError, match=r"work/models/model\.pt: no model has been trained.*POST /train/slpd"):
        settings.model_for_clients()
    touch(settings.trained_region_encoder)
    assert settings.model_for_clients() == settings.trained_region_encoder


def test_tokens_of_each_kind_have_a_folder(weights, tmp_path):
    """Another patch encoder or resolution has a folder of its own; a device does not."""
    read = lambda **conf: LabelSettings.read(ROOT, tmp_path, {**weights, **conf}).tokens_dir  # noqa: E731
    assert read() == read(device="cpu")
    assert len({read(), read(mpp="2.0"), read(mpp="2.0", patch_size="64")}) == 3
    Path(weights["patch_encoder_ckpt"]).write_bytes(b"other")
    assert read() not in {read(mpp="2.0")}


def test_studies_are_linked_by_slide_id_and_left_alone(tmp_path):
    """Slides in depth, with doubles told apart; what comes and goes is followed; uploads stay."""
    studies, links = tmp_path / "studies", tmp_path / "links"
    for name in ("a/one.svs", "b/one.svs", "b/two.TIF", "b/notes.txt"):
        (studies / name).parent.mkdir(parents=True, exist_ok=True)
        (studies / name).write_bytes(name.encode())
    linked = LinkedStudies(studies, links)
    linked.refresh()
    assert sorted(p.name for p in links.iterdir()) == ["a__one.svs", "b__one.svs", "two.TIF"]
    assert (links / "a__one.svs").read_bytes() == b"a/one.svs"
    (links / "upload.svs").write_bytes(b"")
    (studies / "b/one.svs").unlink()
    (studies / "three.svs").write_bytes(b"")
    linked.refresh()
    assert not (links / "three.svs").exists(), "looked again within a moment"
    linked.refresh(is_forced=True)
    assert sorted(p.name for p in links.iterdir()) == ["one.svs", "three.svs", "two.TIF", "upload.svs"]
    assert sorted(p.name for p in studies.rglob("*") if p.is_file()) == ["notes.txt", "one.svs", "three.svs", "two.TIF"]


def test_a_folder_without_slides_is_no_error(tmp_path):
    """Somebody may still be copying."""
    (tmp_path / "studies").mkdir()
    LinkedStudies(tmp_path / "studies", tmp_path / "links").refresh()
    assert list((tmp_path / "links").iterdir()) == []


def test_only_uploads_are_taken_from_outside_the_studies(tmp_path, monkeypatch):
    """A file directly in the folder of temporary files, under a name of Python's tempfile; no link leads elsewhere."""
    temporary = tmp_path / "temporary"
    (temporary / "tmpfolder00").mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    with tempfile.NamedTemporaryFile(suffix=".v1.svs") as upload:
        assert find_upload(upload.name) == Path(upload.name)
    assert find_upload(upload.name) is None, "it is gone"
    (tmp_path / "patient.svs").write_bytes(b"of another study")
    (temporary / "tmpabcdefgh.svs").symlink_to(tmp_path / "patient.svs")
    (temporary / "mine.svs").write_bytes(b"somebody's")
    (temporary / "tmpfolder00" / "tmpabcdefgh.svs").write_bytes(b"in a folder")
    for name in ("../patient.svs", "tmpabcdefgh.svs", "mine.svs", "tmpfolder00", "tmpfolder00/tmpabcdefgh.svs", "\0"):
        assert find_upload(str(temporary / name)) is None, name
    monkeypatch.chdir(tmp_path)
    assert find_upload("patient.svs") is None


@pytest.mark.parametrize("name", ["", ".", "..", ".pth", "a/b", "../a", "/etc/a", "a/", "a\0b"])
def test_names_with_folders_are_no_names(name):
    """What a client calls its upload can neither leave the folder nor hide in it."""
    assert not is_plain_name(name) and is_plain_name("slide 1.2$")


def given(command):
    """``--id value`` words of a command as a dictionary."""
    return {word[2:]: command[i + 1] for i, word in enumerate(command) if word.startswith("--")}


def step(name, code=""):
    """A command of the form of a training's that runs this code."""
    return [sys.executable, "-c", code, "run", name]


def test_training_commands_have_what_the_client_asked_for(weights, tmp_path):
    """QuPath's dialog sends numbers of other apps along; they are left out, ours go through."""
    conf = {**weights, "mpp": "2.0", "device": "cpu", "train_configs": "configs/train.yaml,configs/demo_train.yaml"}
    settings = LabelSettings.read(ROOT, tmp_path, conf)
    run = PretrainingRun(settings, tmp_path / "slides")
    asked = {"max_epochs": 3, "train_batch_size": 1, "val_batch_size": 1, "pretrained": "true"}
    command = run.training(asked, tmp_path / "run", resumes=False)
    ids = given(command)
    assert command[:5] == [sys.executable, "-m", "monai.bundle", "run", "training"]
    assert ids["max_epochs"] == "3" and ids["device"] == "cpu" and "train_batch_size" not in ids and "mpp" not in ids
    assert ids["region_encoder_ckpt"] == weights["region_encoder_ckpt"]
    assert ids["model_path"] == str(settings.trained_region_encoder)
    tokens = given(run.tokenizing(tmp_path / "run"))
    assert tokens["mpp"] == "2.0" and tokens["tokens_dir"] == str(settings.tokens_dir)
    identity = {"mask_missing": True, "standardize_tokens": True, "seed": 0}
    (tmp_path / "run").mkdir()
    torch.save({"identity": identity, "trainer": {}}, tmp_path / "run" / "last.pt")
    again = given(run.training(asked, tmp_path / "run", resumes=True))  # begins without the weights it began with
    assert "region_encoder_ckpt" not in again and again["mask_missing"] == again["standardize_tokens"] == "True"
    with pytest.raises(BundleError, match="max_epochs"):
        run.training({"max_epochs": "many"}, tmp_path, resumes=False)


IDS = ("max_epochs", "batch_size", "lr", "n_prototypes", "min_regions", "prototype_warmup_epochs", "seed")
CODE = "$__import__('pathlib').Path('ran').touch() or 0"


@pytest.mark.parametrize("name", [*IDS, "resume", "pretrained"])
@pytest.mark.parametrize("value", [CODE, "@bundle_root", "%configs/train.yaml::seed", [1], {"a": 1}, "nan", 10**400])
def test_no_text_of_a_request_reaches_the_command(weights, tmp_path, name, value):
    """MONAI runs what begins with ``$``: every id of a request is a number or a yes-or-no, or the run is refused."""
    run = PretrainingRun(LabelSettings.read(ROOT, tmp_path, weights), tmp_path)
    with pytest.raises(BundleError, match="yes-or-no" if name in ("resume", "pretrained") else name):
        run.start({name: value})
    assert not run.folder.exists()


@pytest.mark.parametrize(
    "asked", [{"max_epochs": 1e30}, {"max_epochs": 0}, {"batch_size": 10**9}, {"lr": 1e9}, {"seed": -1}]
)
def test_numbers_beyond_reason_are_refused(weights, tmp_path, asked):
    """1e30 epochs used to be begun."""
    run = PretrainingRun(LabelSettings.read(ROOT, tmp_path, weights), tmp_path)
    with pytest.raises(BundleError, match=next(iter(asked))):
        run.start(asked)


@pytest.mark.parametrize(
    ("asked", "says"),
    [({"max_epochs": 5}, True), ({"max_epochs": 5, "prototype_warmup_epochs": 4}, False), ({}, False)],
)
def test_a_viewer_s_few_epochs_are_told_to_be_plain_dino(weights, tmp_path, capsys, asked, says):
    """All epochs of the warm-up: SLPD never begins, and nothing said so."""
    run = PretrainingRun(LabelSettings.read(ROOT, tmp_path, weights), tmp_path)
    run._follow, run._choose_tokens = (lambda command: None), (lambda run: None)
    assert ("SLPD never begins" in run.start(asked).get("warning", "")) == says
    assert ("SLPD never begins" in capsys.readouterr().out) == says


def test_numbers_of_a_request_are_written_as_numbers(weights, tmp_path):
    """Text that is a number is one; names that no config of training has never reach the command."""
    run = PretrainingRun(LabelSettings.read(ROOT, tmp_path, weights), tmp_path)
    asked = {"seed": " 7 ", "lr": "1e-4", "batch_size": 8.0, "n_prototypes": "", "begin": CODE, "run_id": CODE}
    ids = given(run.training(asked, tmp_path / "run", resumes=False))
    assert (ids["seed"], ids["lr"], ids["batch_size"]) == ("7", "0.0001", "8")
    assert not {"begin", "run_id", "n_prototypes"} & set(ids) and CODE not in ids.values()


def test_a_failed_step_is_told_with_its_last_words(weights, tmp_path):
    """Progress says failed, and the error has what the command printed last."""
    run = PretrainingRun(LabelSettings.read(ROOT, tmp_path, weights), tmp_path / "nowhere")
    run.tokenizing = lambda folder: step("tokenizing", "print('a reason'); raise SystemExit(3)")
    with pytest.raises(BundleError, match="tokenizing ended with code 3.*\n.*a reason"):
        run.start({"max_epochs": 2})
    assert run.progress()["state"] == "failed" and run.progress()["max_epochs"] == 2


def touch(*files):
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def test_training_takes_slides_of_the_studies_only(weights, tmp_path):
    """Tokens of uploads and of slides that have left the studies lie there, too, and are not trained on."""
    run = PretrainingRun(LabelSettings.read(ROOT, tmp_path, weights), tmp_path / "studies")
    files = [run.settings.tokens_dir / f"{name}.h5" for name in ("stays", "leaves", "tmpabcdefgh", "one__a", "one__b")]
    slides = [tmp_path / "studies" / name for name in ("stays.svs", "leaves.svs", "one/a.svs", "no_tissue.svs")]
    touch(*files, *slides)
    show = "import os, sys; print('found', sorted(os.listdir(sys.argv[-1])))"
    command = run.training
    run.tokenizing = lambda folder: step("tokenizing")
    run.training = lambda *asked: [*step("training", show), given(command(*asked))["dataset_dir"]]
    lines = []
    run._follow = lambda words: lines.append(subprocess.check_output(words, text=True))
    run.start({})
    slides[1].unlink()
    touch(tmp_path / "studies" / "two" / "a.svs", run.settings.tokens_dir / "two__a.h5")
    run.start({"resume": True})
    run.start({})
    assert lines[1] == "found ['leaves.h5', 'stays.h5']\n"
    assert lines[3] == lines[5] == "found ['one__a.h5', 'stays.h5', 'two__a.h5']\n"
    run.settings.tokens_dir.rename(tmp_path / "gone")
    with pytest.raises(BundleError, match="no slide of .*studies has tokens"):
        run.start({})


def test_runs_are_numbered_and_resumed(weights, tmp_path):
    """A start makes a new run; ``resume`` goes on in the last; progress is the last one's."""
    run = PretrainingRun(LabelSettings.read(ROOT, tmp_path, weights), tmp_path)
    touch(tmp_path / "a.svs", run.settings.tokens_dir / "a.h5")
    seen = []
    run.tokenizing = lambda folder: step("tokenizing")
    run.training = lambda request, folder, resumes: seen.append((folder.name, resumes)) or step("training")
    assert run.progress() == {}
    for request in ({}, {}, {"resume": "true"}):
        assert run.start(request)["state"] == "done"
    assert seen == [("run_001", False), ("run_002", False), ("run_002", True)]
    (run.folder / "run_002" / "history.csv").write_text("epoch,loss\n1,3.5\n2,3.25\n")
    assert run.progress()["epoch"] == 2 and run.progress()["last_epoch"]["loss"] == "3.25"
