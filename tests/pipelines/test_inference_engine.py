"""Token files become embeddings: the right ones, whatever goes wrong with other slides, and again."""

import os
import re
from pathlib import Path

import hipt_files
import numpy as np
import pytest
import torch
from cohorts import write_cohort
from edited_files import edited
from full_disk import full_disk
from inferences import found, inference, statuses
from region_models import write_encoder
from sklearn.cluster import KMeans

from bundle.cohort import EMBEDDED
from bundle.core import BundleError
from bundle.networks import load_region_encoder, write_pretraining
from bundle.pipelines import TokenProgressHandler
from bundle.storage import TokenFile

REGIONS = (3, 9, 1, 5)
DONE = {f"slide_{i}": "done" for i in range(4)}


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    return write_cohort(tmp_path_factory.mktemp("tokens"), REGIONS)


def contents(out):
    return {path.name: path.read_bytes() for path in sorted((Path(out) / "embeddings").iterdir())}


@pytest.mark.parametrize("batch_size", [2, 64])
def test_it_finds_what_the_network_says(tokens, tmp_path, batch_size):
    """Embedding, projection, attention, mean and provenance of every region, however regions are batched."""
    inference(tokens, tmp_path / "out", batch_size=batch_size).run()
    assert statuses(tmp_path / "out") == DONE
    encoder = load_region_encoder(tmp_path / "model.pt")
    for i, n_regions in enumerate(REGIONS):
        file, slide = TokenFile(tokens / f"slide_{i}.h5"), found(tmp_path / "out", f"slide_{i}")
        image = torch.from_numpy(file.read()).float().permute(0, 3, 1, 2)
        with torch.inference_mode():
            np.testing.assert_allclose(slide.features, encoder(image), atol=1e-5)
            np.testing.assert_allclose(slide.projection, encoder.project(image), atol=1e-5)
            np.testing.assert_allclose(slide.attention, encoder.backbone.attention(image), atol=1e-3)
        np.testing.assert_allclose(slide.slide_embedding, slide.features.mean(0), atol=1e-6)
        np.testing.assert_array_equal(slide.coords, file.coords)
        np.testing.assert_array_equal(slide.mask, file.mask)
        assert len(slide) == n_regions and slide.n_prototypes == min(4, n_regions)
        assert slide.attributes["encoder"] == "test" and slide.attributes["slide_path"] == f"slide_{i}.tif"
        assert slide.attributes["region_encoder"].startswith("model sha256:")


def test_bfloat16_changes_little_and_is_recorded(tokens, tmp_path):
    """With amp embeddings have a cosine above 0.999 with float32's; what is stored is float32, rows of unit length."""
    inference(tokens, tmp_path / "out").run()
    inference(tokens, tmp_path / "amp", tmp_path / "model.pt", amp="force").run()  # it may be slow on this CPU
    one, other = found(tmp_path / "out", "slide_1"), found(tmp_path / "amp", "slide_1")
    cosine = (one.features * other.features).sum(1) / np.linalg.norm(one.features, axis=1)
    assert (cosine / np.linalg.norm(other.features, axis=1) > 0.999).all() and (one.features != other.features).any()
    assert other.features.dtype == np.float32 and other.attributes["embedding_amp"] is True
    np.testing.assert_allclose(np.linalg.norm(other.projection, axis=1), 1, atol=1e-5)


def test_prototypes_are_the_clusters_of_the_slide(tokens, tmp_path):
    """K-means as good as scikit-learn's; each region is assigned to its nearest centroid; too few regions: none."""
    inference(tokens, tmp_path / "out", n_prototypes=2, min_regions=3, attention="false").run()
    slide = found(tmp_path / "out", "slide_1")
    best = KMeans(2, n_init=20, random_state=0).fit(slide.projection)
    centers = best.cluster_centers_ / np.linalg.norm(best.cluster_centers_, axis=1, keepdims=True)
    np.testing.assert_allclose((slide.prototypes @ centers.T).max(1), 1, atol=1e-4)
    means = np.stack([slide.projection[slide.assignment == k].mean(0) for k in range(2)])
    distances = np.linalg.norm(slide.projection[:, None] - means, axis=2)
    np.testing.assert_array_equal(distances.argmin(1), slide.assignment)
    lone = found(tmp_path / "out", "slide_2")
    assert lone.n_prototypes == 0 and (lone.assignment == -1).all() and lone.attention is None


def test_a_slide_s_file_depends_on_the_slide_alone(tokens, tmp_path, monkeypatch):
    """Alone, beside others, again, by one process or two: the same bytes."""
    weights = write_encoder(tmp_path / "model.pt")
    inference(tokens, tmp_path / "all", weights).run()
    inference(tokens / "slide_1.h5", tmp_path / "alone", weights).run()
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("1", "0"):
        monkeypatch.setenv("RANK", rank)
        inference(tokens, tmp_path / "two", weights).run()
    everything = contents(tmp_path / "all")
    assert contents(tmp_path / "alone") == {"slide_1.h5": everything["slide_1.h5"]}
    assert contents(tmp_path / "two") == everything
    assert [row.slide for row in EMBEDDED.read(tmp_path / "two" / "slides_1_of_2.csv")] == ["slide_1", "slide_3"]
    assert statuses(tmp_path / "two") == DONE


@pytest.mark.parametrize(
    "change", [{}, {"n_prototypes": 3}, {"attention": False}, {"seed": 1}, {"weights": 7}, {"overwrite": True}]
)
def test_what_is_up_to_date_is_skipped(tokens, tmp_path, change):
    """The same again does nothing; other weights or settings make everything anew."""
    inference(tokens, tmp_path / "out").run()
    before = contents(tmp_path / "out")
    change = dict(change)
    weights = write_encoder(tmp_path / "other.pt", change.pop("weights")) if "weights" in change else None
    engine = inference(tokens, tmp_path / "out", weights or tmp_path / "model.pt", **change)
    engine.run()
    is_same = not (change or weights)
    assert set(statuses(tmp_path / "out").values()) == {"skipped" if is_same else "done"}
    assert engine.progress.done == 4 and (engine.progress.rows == 0) == is_same
    assert (contents(tmp_path / "out") == before) == (is_same or "overwrite" in change)
    assert [row.regions for row in EMBEDDED.read(tmp_path / "out" / "slides.csv")] == list(REGIONS)


def test_what_is_lost_damaged_or_of_other_tokens_is_made_again(tmp_path):
    """A removed file, one cut short, and one whose tokens have changed; the fourth stays."""
    tokens = write_cohort(tmp_path / "tokens", REGIONS)
    inference(tokens, tmp_path / "out").run()
    files = [tmp_path / "out" / "embeddings" / f"slide_{i}.h5" for i in range(4)]
    files[0].unlink()
    os.truncate(files[1], 900)
    write_cohort(tmp_path / "new", REGIONS, seed=5)
    os.replace(tmp_path / "new" / "slide_2.h5", tokens / "slide_2.h5")
    inference(tokens, tmp_path / "out", tmp_path / "model.pt").run()
    assert list(statuses(tmp_path / "out").values()) == ["done", "done", "done", "skipped"]


def test_bad_token_files_do_not_stop_the_run(tmp_path, monkeypatch):
    """Cut short, no token file, tokens of another length, unreadable in the middle: each is reported."""
    tokens = write_cohort(tmp_path / "tokens", REGIONS)
    write_cohort(tmp_path / "others", (2,), dim=20)
    os.replace(tmp_path / "others" / "slide_0.h5", tokens / "other_length.h5")
    os.truncate(tokens / "slide_0.h5", 3000)
    (tokens / "text.h5").write_text("no file of tokens")
    read = TokenFile.read_into

    def breaks(self, regions, *arguments):
        if self.path.name == "slide_3.h5" and list(regions) != [0]:
            raise BundleError("region 2 of slide_3.h5 cannot be read")
        return read(self, regions, *arguments)

    monkeypatch.setattr(TokenFile, "read_into", breaks)
    inference(tokens, tmp_path / "out", batch_size=2).run()
    rows = {row.slide: row for row in EMBEDDED.read(tmp_path / "out" / "slides.csv")}
    assert {name: row.status for name, row in rows.items()} == {
        "other_length": "failed",
        "slide_0": "failed",
        "slide_1": "done",
        "slide_2": "done",
        "slide_3": "failed",
        "text": "failed",
    }
    assert "takes tokens of length 12, other_length.h5 has 20" in rows["other_length"].error
    assert "region 2 of slide_3.h5" in rows["slide_3"].error and rows["slide_3"].file == ""
    assert sorted(contents(tmp_path / "out")) == ["slide_1.h5", "slide_2.h5"]


def test_no_good_slide_is_an_error(tokens, tmp_path):
    """Weights that diverged fail every slide: the run says so, and still writes its index."""
    weights = write_encoder(tmp_path / "model.pt")
    state = torch.load(weights, weights_only=True)
    state["backbone.norm.weight"][0] = torch.nan
    torch.save(state, weights)
    with pytest.raises(BundleError, match="none of 4 slides could be embedded; slide_0: its embeddings are not finite"):
        inference(tokens, tmp_path / "out", weights).run()
    assert set(statuses(tmp_path / "out").values()) == {"failed"}


def test_an_interrupted_run_goes_on(tokens, tmp_path):
    """Ctrl-C leaves complete files only and an index of what waits; the next run makes the rest."""
    inference(tokens, tmp_path / "whole").run()
    network = load_region_encoder(tmp_path / "model.pt")
    attend, calls = network.backbone.encode_and_attend, []

    def interrupting(grid, mask):
        calls.append(grid)
        if len(calls) > 4:
            raise KeyboardInterrupt
        return attend(grid, mask)

    network.backbone.encode_and_attend = interrupting
    with pytest.raises(KeyboardInterrupt):
        inference(tokens, tmp_path / "out", tmp_path / "model.pt", network, batch_size=4).run()
    assert list(statuses(tmp_path / "out").values()) == ["done", "done", "waiting", "waiting"]
    inference(tokens, tmp_path / "out", tmp_path / "model.pt", batch_size=4).run()
    assert list(statuses(tmp_path / "out").values()) == ["skipped", "skipped", "done", "done"]
    assert sorted(contents(tmp_path / "out")) == sorted(contents(tmp_path / "whole"))


def test_a_full_disk_stops_the_run(tokens, tmp_path):
    """Nothing of an unfinished file remains, and the message names it."""
    engine = inference(tokens, tmp_path / "out")
    with full_disk(4000), pytest.raises(BundleError, match="embeddings cannot be written to .*slide_0.h5"):
        engine.run()
    assert contents(tmp_path / "out") == {} and set(statuses(tmp_path / "out").values()) == {"waiting"}


def test_other_tokens_than_in_training_are_refused_or_warned_of_once(tokens, tmp_path, caplog):
    """Tokens of another encoder, um/px or size than the weights say are an error that names both, or a warning where
    that is asked for, or where they may be the same: an encoder by its name alone, um/px within 5 %."""
    weights = write_encoder(tmp_path / "model.pt")
    for about, said, is_certain in (
        ({"patch_encoder": "a sha256:1", "mpp": 0.5}, "tokens of a sha256:1, and slide_0.h5 has those of test", False),
        ({"patch_encoder": "other"}, "tokens of other, and slide_0.h5 has those of test", True),
        ({"mpp": 0.52}, "at 0.52 um/px, and slide_0.h5 has patches at 0.5", False),
        ({"mpp": 1.0}, "at 1 um/px, and slide_0.h5 has patches at 0.5", True),
        ({"patch_size": 128}, "of 128 px, and slide_0.h5 has patches of 256", True),
        ({"region_patches": 8}, "of 8 x 8 patches, and slide_0.h5 has regions of 16 x 16", True),
    ):
        write_pretraining(weights, [], about)
        if is_certain:
            with pytest.raises(BundleError, match="none of 4 slides could be embedded.*" + re.escape(said)):
                inference(tokens, tmp_path / "out", weights, overwrite=True).run()
        caplog.clear()
        inference(tokens, tmp_path / "out", weights, overwrite=True, allow_other_tokens=is_certain).run()
        assert [said in record.message for record in caplog.records if "was trained on" in record.message] == [True]
    write_pretraining(weights, [], {"patch_encoder": "test", "mpp": 0.5})
    caplog.clear()
    inference(tokens, tmp_path / "out", weights, overwrite=True).run()
    assert "was trained on" not in caplog.text


def test_published_weights_on_tokens_without_background_are_warned_of(tmp_path, caplog):
    """HIPT's region encoder has seen encoded background, as its file's arguments tell."""
    body, top = hipt_files.region_backbone(32, 2, 12), hipt_files.head(32, 64, 16, 40)
    hipt_files.save_checkpoint(tmp_path / "vit4k.pth", body, top)
    inference(write_cohort(tmp_path / "tokens", (2, 1)), tmp_path / "out", tmp_path / "vit4k.pth").run()
    assert ["encoded background" in record.message for record in caplog.records].count(True) == 1


def test_what_a_killed_run_left_is_removed(tokens, tmp_path):
    """A part of two days ago goes, one of today may be another machine's and stays."""
    folder = tmp_path / "out" / "embeddings"
    folder.mkdir(parents=True)
    old, new = folder / ".slide_0.h5.1.tmp", folder / ".slide_0.h5.2.tmp"
    for part in (old, new):
        part.touch()
    os.utime(old, (0, 0))
    inference(tokens, tmp_path / "out").run()
    assert not old.exists() and new.exists()


def test_a_token_file_without_places_is_refused(tmp_path):
    """Files of another maker may lack what maps need: named, with what to do."""
    tokens = write_cohort(tmp_path / "tokens", (2,))
    with edited(tokens / "slide_0.h5") as file:
        del file.attrs["level0_mpp"]
    with pytest.raises(BundleError, match="does not record level0_mpp; tokenize"):
        inference(tokens, tmp_path / "out").run()


def test_progress_ends_at_all_slides(tokens, tmp_path, capsys, monkeypatch):
    """The bar counts slides and regions, and arrives."""
    monkeypatch.setattr("bundle.core.progress._is_terminal", lambda file: True)
    bar = TokenProgressHandler(what="embedding", unit="regions", disable=False)
    inference(tokens, tmp_path / "out", val_handlers=[bar]).run()
    shown = capsys.readouterr().err
    assert "embedding: 4.0/4 slides" in shown and "regions/s" in shown


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells a process's peak memory")
def test_memory_does_not_grow_with_the_slide(tmp_path):
    """A slide of three times as many regions, 80 MB of tokens more, takes the memory of a few batches more at most."""
    peaks = []
    weights = write_encoder(tmp_path / "model.pt", token_dim=384)
    inference(write_cohort(tmp_path / "first", (40,), dim=384), tmp_path / "out", weights).run()  # buffers are made
    for n_regions in (200, 600):  # both fill what is read ahead
        tokens = write_cohort(tmp_path / f"tokens_{n_regions}", (n_regions,), dim=384)
        engine = inference(tokens, tmp_path / f"out_{n_regions}", weights, batch_size=20, attention=False)
        Path("/proc/self/clear_refs").write_text("5")
        before = memory("VmRSS")
        engine.run()
        peaks.append(memory("VmHWM") - before)
    assert peaks[1] < peaks[0] + 40e6, peaks


def memory(what):
    """Bytes, from the system's own account of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(what)).split()[1])
