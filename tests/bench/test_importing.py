"""What the benchmarks of imports compare, and what their scripts do between the commands."""

import json
import re
import signal
import sys
from argparse import Namespace

import numpy as np
import pytest
import yaml
from tiny_slides import PATCH, write_slide

from bundle.core import BundleError
from bundle.pipelines import FeatureImporter
from bundle.storage import TokenFile, TokenFileWriter
from scripts.bench import import_many
from scripts.bench.importing import Features, importing_cases
from scripts.bench.processes import ROOT, CommandError, Usage, run_measured
from scripts.bench.tissue.__main__ import as_text
from scripts.bench.tissue.cohort import Cohort, make_cohort
from scripts.bench.tissue.features import compare, widened, write
from scripts.bench.tissue.steps import Step, steps_of_slides, steps_of_width

OPTIONS = {"device": "cpu", "mpp": 2.0, "patch_size": PATCH, "patch_encoder": None, "label": "organ"}


def test_both_ways_make_the_same_tokens():
    """The plain way lays the patches as the importer does, so that the ratio is of the same work."""
    features = Features(regions=(2, 3), dim=8)
    (case,) = importing_cases(features)
    for variant in case.variants:
        variant.run()
    plain, ours = (TokenFile(features.path(name)) for name in ("plain", "tokens"))
    assert case.work == features.n_patches == plain.mask.sum() and set(case.goal) == {"ours"}
    for a, b in ((plain.coords, ours.coords), (plain.mask, ours.mask), (plain.read(), ours.read())):
        np.testing.assert_array_equal(a, b)


def test_a_command_is_measured_and_killed(tmp_path):
    """Memory is the command's own, a kill is no failure, and a failure names the log."""
    log = tmp_path / "log"
    words = [sys.executable, "-c", "import time; x = b'1' * (200 << 20); print('there', flush=True); time.sleep(60)"]
    usage = run_measured(words, log, lambda pid: "there" in log.read_text(), every_s=0.02)
    assert 0 < usage.seconds < 50 and 200 < usage.peak_mib < 2000
    with pytest.raises(CommandError, match="log"):
        run_measured([sys.executable, "-c", "raise SystemExit(3)"], log)
    kill = f"import os; os.kill(os.getpid(), {int(signal.SIGKILL)})"
    with pytest.raises(CommandError):
        run_measured([sys.executable, "-c", kill], log)


@pytest.fixture
def own_tokens(tmp_path):
    """Token files of a slide, and of one that is narrower than its region."""
    random = np.random.default_rng(0)
    for name, corner, (width, height) in (("a", 0, (512, 512)), ("b", -16, (224, 224))):
        mask = random.random((1, 4, 4)) < 0.8
        mask[:, 0, 0] = mask[:, 3, 3] = True
        attributes = {"slide_id": name, "encoder": "x", "mpp": 2.0, "read_mpp": 2.0, "level0_mpp": 1.0}
        attributes |= {"patch_size_px": 32, "level0_width": width, "level0_height": height}
        coords = np.array([[corner, corner]])
        kinds = {"region_patches": 4, "dim": 6, "coords": coords, "mask": mask, "attributes": attributes}
        with TokenFileWriter(tmp_path / "own" / f"{name}.h5", **kinds) as writer:
            writer.write(0, random.standard_normal((4, 4, 6)) * mask[0, :, :, None])
    return tmp_path / "own"


@pytest.mark.parametrize("width", [6, 10])
def test_tokens_come_back(tmp_path, own_tokens, width):
    """As features of their width or wider: bit for bit; a patch before the slide's corner was not written."""
    write(own_tokens, tmp_path / "features", width)
    importer = FeatureImporter(
        tmp_path / "features",
        tmp_path / "back",
        tmp_path / "out",
        default_mpp=1.0,
        region_patches=4,
        min_tissue_patches=1,
    )
    importer.run()
    found = compare(own_tokens, tmp_path / "back", width)
    assert found["slides"] == found["equal"] == 2 and found["in the same regions"] == 1
    file = TokenFile(tmp_path / "back" / "b.h5")
    assert file.header.dim == width and (file.coords >= 0).all()
    write(own_tokens, tmp_path / "features", width)
    assert compare(tmp_path / "own", tmp_path / "back", 8)["equal"] == 0


def test_widened_tokens_keep_their_angles():
    """A random mixture of all values, always the same one."""
    tokens = np.random.default_rng(1).standard_normal((5, 384)).astype(np.float32)
    wide = widened(tokens, 1536)
    unit, unit_wide = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (tokens, wide))
    assert wide.shape == (5, 1536) and np.abs(unit @ unit.T - unit_wide @ unit_wide.T).max() < 0.1
    np.testing.assert_array_equal(wide, widened(tokens, 1536))
    assert widened(tokens, 384) is tokens


def test_the_table_chooses_the_slides(tmp_path):
    """Slides without a row and rows without a slide are left alone; classes need enough patients."""
    for name in ("a", "b", "c", "d", "stranger"):
        write_slide(tmp_path / "in" / f"{name}.tif", 64)
    rows = ["image,patient,organ", "a.tif,1,colon", "b,2,colon", "c.tif,3,liver", "d.tif,3,liver", "gone.tif,4,liver"]
    table = tmp_path / "all.csv"
    table.write_text("\n".join(rows))
    with pytest.raises(BundleError, match="two classes"):
        make_cohort(tmp_path / "in", table, "image", "organ", 2, tmp_path / "out")
    cohort = make_cohort(tmp_path / "in", table, "image", "organ", 1, tmp_path / "out")
    assert cohort.classes == ["colon", "liver"] and cohort.n_slides == 4
    assert sorted(path.name for path in cohort.slides.iterdir()) == ["a.tif", "b.tif", "c.tif", "d.tif"]
    assert cohort.table.read_text().split("\n")[:2] == ["slide,image,patient,organ", "a.tif,a.tif,1,colon"]
    with pytest.raises(BundleError, match="slide_column"):
        make_cohort(tmp_path / "in", table, "slide", "organ", 2, tmp_path / "out")


def test_steps_are_commands_that_there_are(tmp_path):
    """Config files and ids exist; training is killed once, and then resumed by the same command."""
    options = Namespace(**OPTIONS, output=tmp_path, max_epochs=4, n_folds=2)
    cohort = Cohort(tmp_path / "slides", tmp_path / "slides.csv", ["colon", "liver"], 2)
    steps = [*steps_of_slides(options, cohort), *steps_of_width(options, cohort, 384)]
    for step in steps:
        files = [name for word in step.words for name in re.findall(r"[\w/]+\.yaml", word)]
        ids = {"config_file", *(name for file in files for name in yaml.safe_load((ROOT / file).read_text()))}
        given = {word[2:] for word in step.words if word.startswith("--")}
        assert not files or given <= ids, step.name
    killed, resumed = (step for step in steps if step.name.startswith("training"))
    assert resumed.words == [*killed.words, "--resume", "True"] and resumed.until is None
    options.patch_encoder = tmp_path / "mine.pt"
    assert len(steps_of_slides(options, cohort)) == 1


def test_training_is_killed_when_its_checkpoint_is_there(tmp_path):
    """A row in the history is written before the checkpoint of its epoch."""
    options = Namespace(**OPTIONS, output=tmp_path, max_epochs=4, n_folds=2)
    cohort = Cohort(tmp_path / "slides", tmp_path / "slides.csv", ["colon", "liver"], 2)
    until = next(step.until for step in steps_of_width(options, cohort, 384) if step.until)
    folder = tmp_path / "d384" / "slpd"
    assert not until(0)
    folder.mkdir(parents=True)
    (folder / "last.pt").touch()
    (folder / "history.csv").write_text("epoch,self\n0,1\n1,1\n")
    assert not until(0)
    (folder / "history.csv").write_text("epoch,self\n0,1\n1,1\n2,1\n")
    (folder / "last.pt").touch()
    assert until(0)
    (folder / "last.pt").unlink()
    assert not until(0)


def test_the_tables_have_every_step(tmp_path):
    """A row a step, two columns a width; the page of many slides has a row a share and a row a count."""
    options = Namespace(**OPTIONS, output=tmp_path, n_folds=2, widths=[384, 1536])
    cohort = Cohort(tmp_path / "slides", tmp_path / "slides.csv", ["colon", "liver"], 2)
    found = {"slides": 2, "equal": 2, "in the same regions": 1, "patches": 30, "regions": 2}
    for width in options.widths:
        (tmp_path / f"d{width}").mkdir()
        (tmp_path / f"d{width}" / "compared.json").write_text(json.dumps(found))
    measured = {"slides": {"tokens": Usage(1.0, 2.0)}} | {f"d{w}": {"import": Usage(3.0, w)} for w in options.widths}
    lines = as_text(measured, options, cohort).splitlines()
    assert "| tokens | 1.0 | 2 |  |  |" in lines and "| import | 3.0 | 384 | 3.0 | 1,536 |" in lines
    memory = {"mib": {0.1: 400.0, 1.0: 401.0}, "usage": {"seconds": 9.0, "peak_mib": 410.0}}
    text = import_many.as_text({"slides": 20, "dim": 4, "memory": memory, "kill": {"finished before the kill": 10}})
    assert "| 10% | 400 |" in text and "| finished before the kill | 10 |" in text


def test_a_step_that_is_done_is_not_repeated(tmp_path):
    """A second call goes on where the first one stopped."""
    from scripts.bench.tissue.__main__ import _run

    step = Step("one", [sys.executable, "-c", f"open({str(tmp_path / 'ran')!r}, 'a').write('x')"])
    first = _run([step], tmp_path, "part")
    assert _run([step], tmp_path, "part") == first and (tmp_path / "ran").read_text() == "x"
