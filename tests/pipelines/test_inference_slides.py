"""Slides become embeddings in one run: tokens first, only where they are missing."""

import hashlib
import json
import logging
import shutil
from functools import partial
from unittest.mock import Mock

import numpy as np
import pytest
from cohorts import write_cohort
from edited_files import edited
from inferences import found, inference, statuses
from region_models import write_encoder
from tiny_slides import PATCH, READ, MeanColors, damage_tiles, write_slide

from bundle.cohort import EMBEDDED, TOKENIZED
from bundle.core import BundleError
from bundle.networks import load_patch_encoder
from bundle.pipelines import InferenceInputs
from bundle.slides import ReadSettings
from bundle.storage import TokenDataset


class PatchEncoder(MeanColors):
    """Of a file that holds the word "weights"."""

    name, sha256 = "patch_encoder", hashlib.sha256(b"weights").hexdigest()


def run(folder, out, **options):
    """One run; how many patch encoders were made."""
    out.parent.mkdir(exist_ok=True)
    (out.parent / "patch_encoder.pt").write_bytes(b"weights")
    make = Mock(side_effect=PatchEncoder)
    inference(folder, out, make_patch_encoder=make, **{**READ, **options}).run()
    return make.call_count


def test_slides_and_their_tokens_give_the_same(slides, tmp_path):
    """From slides and from the token files that this left: equal arrays; the second time nothing is done at all."""
    assert run(slides, tmp_path / "out") == 1
    assert statuses(tmp_path / "out") == {"a": "done", "b": "done", "c": "done"}
    assert TokenDataset(tmp_path / "out" / "tokens").slide_ids == ["a", "b", "c"]
    inference(tmp_path / "out" / "tokens", tmp_path / "again", tmp_path / "model.pt").run()
    for name in "abc":
        one, other = found(tmp_path / "out", name), found(tmp_path / "again", name)
        for array in ("features", "projection", "attention", "prototypes", "assignment", "coords", "mask"):
            np.testing.assert_array_equal(getattr(one, array), getattr(other, array))
    assert found(tmp_path / "out", "b").coords.min() < 0, "a slide smaller than a region is padded"
    made = (tmp_path / "out" / "tokens" / "a.h5").stat().st_mtime_ns
    run(slides / "a.tif", tmp_path / "one", tokens_dir=tmp_path / "out" / "tokens")
    assert statuses(tmp_path / "one") == {"a": "done"}
    assert (tmp_path / "out" / "tokens" / "a.h5").stat().st_mtime_ns == made, "token files of another run are used"


def test_the_patch_encoder_is_loaded_only_where_it_is_needed(slides, tmp_path, monkeypatch):
    """It was loaded although all tokens were there. Where it is needed, missing and broken weights end the run before a
    slide is read; where it is not, none are asked for."""
    assert run(slides, tmp_path / "out") == 1
    assert run(slides, tmp_path / "out") == 0 and set(statuses(tmp_path / "out").values()) == {"skipped"}
    assert run(slides, tmp_path / "out", n_prototypes=2) == 0 and set(statuses(tmp_path / "out").values()) == {"done"}
    records = TOKENIZED.read(tmp_path / "out" / "tokenize" / "slides.csv")
    assert [(record.slide, record.status) for record in records] == [(name, "skipped") for name in "abc"]
    weights = tmp_path / "missing" / "patch_encoder.pt"
    options = {**READ, "make_patch_encoder": partial(load_patch_encoder, weights, PATCH), "patch_encoder_ckpt": weights}
    inference(slides, tmp_path / "out", n_prototypes=3, **options).run()
    assert set(statuses(tmp_path / "out").values()) == {"done"}
    monkeypatch.setattr(ReadSettings, "open", lambda *args, **kwargs: pytest.fail("a slide was read"))
    (tmp_path / "out" / "tokens" / "b.h5").unlink()
    with pytest.raises(BundleError, match="there is no patch encoder at .*missing"):
        inference(slides, tmp_path / "out", n_prototypes=4, **options).run()
    weights.parent.mkdir()
    weights.write_bytes(b"weights")
    with pytest.raises(BundleError, match="patch_encoder.pt"):
        inference(slides, tmp_path / "out", n_prototypes=4, **options).run()


def test_tokens_of_another_encoder_are_told_without_loading_one(slides, tmp_path):
    """Both encoders are named; no slide waits, so the weights are known by their file alone."""
    run(slides, tmp_path / "out")
    other = tmp_path / "other.pt"
    other.write_bytes(b"other weights")
    with pytest.raises(BundleError, match="a.h5 was made with encoder patch_encoder sha256:.* would use other sha256:"):
        inference(slides, tmp_path / "out", n_prototypes=2, patch_encoder_ckpt=other, **READ).run()


def test_tokens_may_go_and_slides_stay_finished(slides, tmp_path):
    """Without tokens a finished slide needs no patch encoder; other settings of reading make everything anew."""
    copies = shutil.copytree(slides, tmp_path / "slides")
    options = {"keep_tokens": "false", "weights": write_encoder(tmp_path / "model.pt")}
    assert run(copies, tmp_path / "out", **options) == 1
    assert list((tmp_path / "out" / "tokens").iterdir()) == []
    assert run(copies, tmp_path / "out", **options) == 0
    assert set(statuses(tmp_path / "out").values()) == {"skipped"}
    write_slide(copies / "c.tif", 208, seed=9)
    assert run(copies, tmp_path / "out", **options) == 1
    assert statuses(tmp_path / "out") == {"a": "skipped", "b": "skipped", "c": "done"}
    assert run(copies, tmp_path / "out", **options, n_prototypes=2) == 1
    assert set(statuses(tmp_path / "out").values()) == {"done"}
    assert run(copies, tmp_path / "out", **options, n_prototypes=2, region_patches=2) == 1
    assert set(statuses(tmp_path / "out").values()) == {"done"}


@pytest.mark.parametrize("keep_tokens", [True, False])
def test_a_region_of_interest_is_heeded(slides, tmp_path, caplog, keep_tokens):
    """Tokens made before it was drawn were used; with and without tokens the slide alone is embedded anew, and why."""
    caplog.set_level(logging.INFO)
    options = {"keep_tokens": keep_tokens, "weights": write_encoder(tmp_path / "model.pt")}
    run(slides, tmp_path / "out", **options)
    n_all = len(found(tmp_path / "out", "a"))
    square = [[0, 0], [128, 0], [128, 320], [0, 320], [0, 0]]
    (tmp_path / "roi.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": [square]}))
    (tmp_path / "table.csv").write_text("slide,roi\na,roi.geojson\n")
    run(slides, tmp_path / "out", table=tmp_path / "table.csv", **options)
    assert statuses(tmp_path / "out") == {"a": "done", "b": "skipped", "c": "skipped"}
    slide = found(tmp_path / "out", "a")
    assert 0 < len(slide) < n_all and slide.attributes["roi"].startswith("roi.geojson sha256:")
    anew = [text for text in caplog.messages if "anew" in text]
    assert len(anew) == 1 + keep_tokens and all(text.startswith("slide a is") for text in anew), anew
    assert "its region of interest is roi.geojson" in anew[0]
    for table, status in ((tmp_path / "table.csv", "skipped"), (None, "skipped")):
        run(slides, tmp_path / "out", table=table, **options)
        assert statuses(tmp_path / "out")["a"] == status
    assert "slide a are kept although they were made with a region of interest" in caplog.text


def test_it_is_said_why_a_slide_is_embedded_anew(slides, tmp_path, caplog):
    """Other weights, other settings, other tokens: one line a slide that names what is not as it was."""
    caplog.set_level(logging.INFO)
    weights = {seed: write_encoder(tmp_path / f"model_{seed}.pt", seed=seed) for seed in (0, 1)}
    run(slides, tmp_path / "out", weights=weights[0])

    def said(**options):
        caplog.clear()
        run(slides, tmp_path / "out", **options)
        return [text for text in caplog.messages if "embedded anew" in text]

    assert said(weights=weights[0]) == []
    assert said(weights=weights[1])[2] == "slide c is embedded anew: another region encoder made it"
    assert said(weights=weights[1], n_prototypes=2)[0].endswith(": n_prototypes_wanted was 4 and is 2")
    with edited(tmp_path / "out" / "tokens" / "b.h5") as file:
        file["features"][:] = 0
    assert said(weights=weights[1], n_prototypes=2) == ["slide b is embedded anew: its tokens are others"]


def test_bad_slides_do_not_stop_the_run(slides, tmp_path):
    """No mpp, no slide, broken in the middle: each has its reason in the index, beside what the table says of it."""
    folder = shutil.copytree(slides, tmp_path / "slides")
    write_slide(folder / "no_mpp.tif", mpp=None)
    (folder / "text.svs").write_text("not a slide")
    damage_tiles(write_slide(folder / "broken.tif", 640, seed=3))
    (tmp_path / "table.csv").write_text("slide,label\nno_mpp.tif,benign\n")
    run(folder, tmp_path / "out", table=tmp_path / "table.csv")
    rows = {row.slide: row for row in EMBEDDED.read(tmp_path / "out" / "slides.csv")}
    assert {name for name, row in rows.items() if row.status == "failed"} == {"broken", "no_mpp", "text"}
    assert "default_mpp" in rows["no_mpp"].error and rows["no_mpp"].values == {"label": "benign"}
    assert [rows[name].status for name in "abc"] == ["done"] * 3


def test_only_bad_slides_are_an_error_with_an_index(tmp_path):
    """The one slide has no mpp: the message says what to do, and the index is there."""
    write_slide(tmp_path / "slides" / "x.tif", mpp=None)
    with pytest.raises(BundleError, match="none of 1 slides could be embedded; x: .*default_mpp"):
        run(tmp_path / "slides", tmp_path / "out")
    assert statuses(tmp_path / "out") == {"x": "failed"}


def test_an_encoder_that_does_not_fit_stops_the_run(slides, tmp_path):
    """Tokens of another length than the region encoder's: every slide would fail, and the run says why."""
    weights = write_encoder(tmp_path / "model.pt", token_dim=20)
    with pytest.raises(BundleError, match="takes tokens of length 20, a.h5 has 12"):
        run(slides, tmp_path / "out", weights=weights)


def test_tokens_of_another_run_are_never_removed(slides, tmp_path):
    """keep_tokens false removes what this very run has made, wherever that lies, and leaves the user's alone."""
    mine = tmp_path / "mine"
    run(slides / "a.tif", tmp_path / "first", tokens_dir=mine)
    before = (mine / "a.h5").read_bytes()
    for _ in range(2):  # embedded, then found to be there
        run(slides, tmp_path / "out", tokens_dir=mine, keep_tokens=False)
        assert [path.name for path in mine.glob("*.h5")] == ["a.h5"] and (mine / "a.h5").read_bytes() == before
    assert set(statuses(tmp_path / "out").values()) == {"skipped"}


def test_processes_share_slides(slides, tmp_path, monkeypatch):
    """Each tokenizes and embeds its own; one index comes out."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        run(slides, tmp_path / "out")
    assert statuses(tmp_path / "out") == {"a": "done", "b": "done", "c": "done"}


def test_inputs_are_slides_or_token_files(slides, tmp_path):
    """What a run wrote below its own input is no input; both kinds at once, or none, is an error."""
    folder = shutil.copytree(slides, tmp_path / "slides")
    write_cohort(folder / "out" / "tokens", (1,))
    found_slides = InferenceInputs.find(folder, apart_from=[folder / "out"])
    assert found_slides.are_slides and [ref.slide_id for ref in found_slides.slides] == ["a", "b", "c"]
    with pytest.raises(BundleError, match="holds slides and token files"):
        InferenceInputs.find(folder)
    again = InferenceInputs.find(folder / "out" / "tokens", apart_from=[folder / "out", folder / "out" / "tokens"])
    assert [ref.slide_id for ref in again.refs] == ["slide_0"], "what is asked for is looked at, whoever wrote it"
    tokens = InferenceInputs.find(folder / "out")
    assert not tokens.are_slides and tokens.slides == [] and len(tokens.refs) == 1
    assert not InferenceInputs.find(folder / "out" / "tokens" / "slide_0.h5").are_slides
    (tmp_path / "empty").mkdir()
    for nothing, said in (("empty", "no slide found in .*empty"), ("missing", "missing does not exist")):
        with pytest.raises(BundleError, match=said):
            InferenceInputs.find(tmp_path / nothing)
