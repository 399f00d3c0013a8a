"""Whether a head fits is said before slides are read; what an earlier head said does not stay."""

from types import SimpleNamespace

import numpy as np
import pytest
from cohorts import write_cohort
from fitted_heads import ENCODER, made_up_record
from region_models import write_encoder

from bundle.cohort import SlideTable
from bundle.core import BundleError
from bundle.heads import save_head
from bundle.networks import load_region_encoder, weights_name
from bundle.pipelines import HeadPredictions, InferenceInputs, PatchStream, SlidePipeline, TokenSink

DIM = 32


@pytest.fixture
def predictions(tmp_path):
    """Makes predictions of a head of these weights, for whatever inputs and settings of reading."""
    weights = write_encoder(tmp_path / "model.pt")
    encoder = {**ENCODER, "region_encoder": weights_name(weights)}
    tensors = {"mean": np.zeros(DIM), "weight": np.ones((2, DIM)), "bias": np.zeros(2)}
    path = tmp_path / "head.safetensors"

    def made(inputs=None, learned=None, **reading):
        save_head(made_up_record("linear", ["ab", "c"], DIM, encoder=encoder | (learned or {})), tensors, path)
        source = PatchStream([], tmp_path / "tokens", table=SlideTable.read(None), **reading)
        tokens = SlidePipeline("cpu", source, lambda: None, TokenSink(), tmp_path / "tokenize")
        parts = {"weights": weights, "network": load_region_encoder(weights), "tokens": tokens}
        inputs = InferenceInputs([], True) if inputs is None else inputs
        return HeadPredictions(path, tmp_path / "out", SlideTable.read(None), inputs=inputs, **parts)

    return made


def test_how_slides_would_be_read_is_compared_before(predictions):
    """Um/px and the size of regions are known before a slide is opened; what fits is let through."""
    predictions().check()
    with pytest.raises(BundleError, match="resolution 0.5 and 1 um/px"):
        predictions(mpp=1.0).check()
    with pytest.raises(BundleError, match="regions of 4096 and 2048 px"):
        predictions(region_patches=8).check()


def test_a_damaged_token_file_is_for_the_run_to_name(predictions, tmp_path):
    """The first file that can be read says whose tokens these are."""
    folder = write_cohort(tmp_path / "cohort", (2, 2))
    (folder / "slide_0.h5").write_bytes(b"cut short")
    inputs = InferenceInputs.find(folder)
    with pytest.raises(BundleError, match="patch encoder p sha256:0 and test"):
        predictions(inputs).check()


def test_tables_of_another_head_do_not_stay(predictions, tmp_path):
    """A run that is stopped leaves no predictions of the run before where its own go: those of another head are kept
    aside, of the same one they go. A head that is refused leaves them alone."""
    (tmp_path / "out" / "head_maps").mkdir(parents=True)
    for name in ("predictions.csv", "patients.csv", "slides.csv", "head_maps/a.geojson", "head_maps/my notes.txt"):
        (tmp_path / "out" / name).write_text("before")
    with pytest.raises(BundleError):
        predictions(mpp=1.0).check()
    assert len([path for path in (tmp_path / "out").rglob("*") if path.is_file()]) == 5
    predictions().around(Run())
    out, (aside,) = tmp_path / "out", (tmp_path / "out" / "earlier").iterdir()
    made = {"predictions.csv", "patients.csv", "head_maps/a.geojson"}
    assert {path.relative_to(aside).as_posix() for path in aside.rglob("*") if path.is_file()} == made
    (out / "predictions.csv").write_text("of this head")
    predictions().around(Run(rank=1, world_size=2))
    assert (out / "predictions.csv").exists(), "the first process has removed them, and not its fellow"
    predictions().around(Run())
    left = sorted(path.name for folder in (out, out / "head_maps") for path in folder.iterdir() if path.is_file())
    assert left == ["my notes.txt", "settings.json", "slides.csv"] and len(list((out / "earlier").iterdir())) == 1


class Run:
    """A run that makes nothing, but for what is done in it."""

    def __init__(self, do=lambda: None, rank=0, world_size=1):
        self.run, self.outcomes, self.source = do, [], SimpleNamespace(rank=rank, world_size=world_size)


def test_what_another_command_is_writing_stays(predictions, tmp_path):
    """A second one used to remove it, and be refused later."""
    table = tmp_path / "out" / "predictions.csv"

    def second():
        table.write_text("of the first")
        with pytest.raises(BundleError, match="the predictions .* is being written by process"):
            predictions().around(Run(lambda: pytest.fail("it has begun")))
        met.append(True)

    met = []
    predictions().around(Run(second))
    assert met and table.read_text() == "of the first" and not (tmp_path / "out" / "earlier").exists()
    assert not (tmp_path / "out" / ".in_use.lock").exists()
