"""Slides become token files: the right tokens, whatever goes wrong with other slides."""

import json
import logging
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from full_disk import full_disk
from tiny_slides import PATCH, READ, MeanColors, damage_tiles, write_slide
from torch import nn
from warm import python

from bundle.cohort import TOKENIZED, SlideTable, find_slides
from bundle.core import ROOT, BundleError
from bundle.pipelines import PatchStream, SlidePipeline, TokenProgressHandler, TokenSink
from bundle.slides import open_slide
from bundle.storage import TokenDataset, TokenFile


def tokenizer(folder, out, network=None, *, overwrite=False, table=None, dtype="float16", handlers=(), **options):
    """An engine over a folder of slides."""
    table = SlideTable.read(table)
    stream = PatchStream(
        find_slides(folder, table), out / "tokens", table=table, **{**READ, "batch_size": 40, **options}
    )
    network = MeanColors() if network is None else network
    return SlidePipeline("cpu", stream, network, TokenSink(dtype, overwrite=overwrite), out, val_handlers=handlers)


def statuses(folder):
    """What the table of a run says of each slide, in the order of their names."""
    return [record.status for record in TOKENIZED.read(folder / "slides.csv")]


@pytest.mark.parametrize("encode_background", [False, True])
def test_tokens_are_those_of_the_patches(slides, tmp_path, encode_background):
    """Each stored token is the encoder's answer to its own patch; others are zeros; attributes say how it was made."""
    tokenizer(slides, tmp_path, encode_background=encode_background, dtype="float32").run()
    assert sorted(path.name for path in (tmp_path / "tokens").iterdir()) == ["a.h5", "b.h5", "c.h5"]
    for name in "abc":
        file = TokenFile(tmp_path / "tokens" / f"{name}.h5")
        tokens = file.read()
        with open_slide(slides / f"{name}.tif") as slide:
            for (x, y), mask, grid in zip(file.coords, file.mask, tokens, strict=True):
                for row, column in np.ndindex(mask.shape):
                    if not (mask[row, column] or encode_background):
                        assert not grid[row, column].any()
                        continue
                    patch, _ = slide.read(int(x) + column * PATCH, int(y) + row * PATCH, PATCH, PATCH, 2.0)
                    expected = MeanColors()(torch.from_numpy(np.array(patch)).permute(2, 0, 1)[None])[0]
                    np.testing.assert_allclose(grid[row, column], expected, atol=2e-2)
        attributes = file.header.attributes
        assert attributes["encoder"] == "mean colors sha256:00" and attributes["encode_background"] == encode_background
        assert attributes["slide_path"] == f"{name}.tif" and attributes["region_size_level0"] == 64
        assert attributes["normalization_mean"] == [0.5] * 3 and attributes["dtype"] == "float32"
        assert {"level0_mpp", "level0_width", "level0_height", "reader", "bundle_version"} <= set(attributes)
    records = TOKENIZED.read(tmp_path / "slides.csv")
    assert [record.status for record in records] == ["done"] * 3 and records[0].patches > records[1].patches > 0


@pytest.mark.parametrize(("batch_size", "num_workers"), [(1, 1), (7, 3), (1000, 2)])
def test_batches_and_threads_change_nothing(slides, tmp_path, batch_size, num_workers):
    """However patches are batched and read, the same files result; small batches split regions, large mix slides."""
    tokenizer(slides, tmp_path / "x").run()
    tokenizer(slides, tmp_path / "y", batch_size=batch_size, num_workers=num_workers).run()
    for name in "abc":
        one, other = (TokenFile(tmp_path / run / "tokens" / f"{name}.h5") for run in "xy")
        np.testing.assert_array_equal(one.read(), other.read())
        np.testing.assert_array_equal(one.coords, other.coords)


def test_finished_slides_are_skipped(slides, tmp_path):
    """A second run reads nothing; a removed file alone is made again; overwrite makes all of them anew."""
    tokenizer(slides, tmp_path).run()
    files = [tmp_path / "tokens" / f"{name}.h5" for name in "abc"]
    files[1].unlink()
    made = [files[0].stat().st_mtime_ns, files[2].stat().st_mtime_ns]
    tokenizer(slides, tmp_path).run()
    assert statuses(tmp_path) == ["skipped", "done", "skipped"]
    assert [files[0].stat().st_mtime_ns, files[2].stat().st_mtime_ns] == made
    engine = tokenizer(slides, tmp_path)
    engine.run()
    assert engine.state.iteration == 0
    tokenizer(slides, tmp_path, overwrite="true").run()
    assert files[0].stat().st_mtime_ns > made[0]


def test_a_corrected_scale_is_heeded(slides, tmp_path, caplog):
    """A slide whose mpp the table has corrected is made anew; another tissue setting is said, and files are kept."""
    tokenizer(slides, tmp_path).run()
    first = {name: TokenFile(tmp_path / "tokens" / f"{name}.h5").header.attributes["level0_mpp"] for name in "ab"}
    (tmp_path / "table.csv").write_text(f"slide,mpp\na,{1.5 * first['a']}\nb,{first['b']}\n")
    with caplog.at_level(logging.WARNING):
        tokenizer(slides, tmp_path, table=tmp_path / "table.csv", min_tissue=0.2, max_enlarge=1.5).run()
    assert statuses(tmp_path) == ["done", "skipped", "skipped"]
    assert TokenFile(tmp_path / "tokens" / "a.h5").header.attributes["level0_mpp"] == pytest.approx(1.5 * first["a"])
    assert "it was read at 2 um/px, the slide table says 3" in caplog.text
    assert "slide b are kept although" in caplog.text


def made_anew(engine, caplog):
    """Slides that a run made tokens of, although there were some; each is named with its file and a reason."""
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        engine.run()
    done = [record.slide for record in TOKENIZED.read(engine.output_dir / "slides.csv") if record.status == "done"]
    said = [text for text in caplog.messages if "tokenized anew" in text]
    assert [text.split()[1] for text in said] == done
    assert all(f"{name}.h5 replaced: it" in text for name, text in zip(done, said, strict=True))
    return done


def test_another_default_mpp_is_heeded(slides, tmp_path, caplog):
    """It changed nothing once tokens were there. Slides that say their mpp themselves are left alone."""
    folder = shutil.copytree(slides, tmp_path / "slides")
    write_slide(folder / "silent.tif", mpp=None)
    tokenizer(folder, tmp_path, default_mpp=2.0).run()
    for default_mpp, anew in ((2.0, []), (None, []), (3.0, ["silent"]), (3.0, [])):
        assert made_anew(tokenizer(folder, tmp_path, default_mpp=default_mpp, max_enlarge=2), caplog) == anew
    header = TokenFile(tmp_path / "tokens" / "silent.h5").header.attributes
    assert (header["level0_mpp"], header["mpp_source"]) == (3.0, "default_mpp")
    (folder / "b.tif").write_bytes((folder / "c.tif").read_bytes())
    assert made_anew(tokenizer(folder, tmp_path), caplog) == ["b"], "another slide has come under its name"


def test_another_region_of_interest_is_heeded(slides, tmp_path, caplog):
    """Drawn, changed, withdrawn: tokens follow. A run without the table keeps them and says so; a drawing that cannot
    be used costs no tokens."""
    table, drawing = tmp_path / "table.csv", tmp_path / "roi.geojson"

    def draw(left, right):
        corners = [[left, 0], [right, 0], [right, 320], [left, 320], [left, 0]]
        drawing.write_text(json.dumps({"type": "Polygon", "coordinates": [corners] if right else []}))
        table.write_text("slide,roi\na,roi.geojson\nc,\n")

    tokens = tmp_path / "tokens" / "a.h5"
    tokenizer(slides, tmp_path).run()
    n_all = len(TokenFile(tokens))
    for left, right in ((0, 128), (192, 320)):
        draw(left, right)
        assert made_anew(tokenizer(slides, tmp_path, table=table), caplog) == ["a"]
        assert made_anew(tokenizer(slides, tmp_path, table=table), caplog) == []
        x = TokenFile(tokens).coords[:, 0]
        assert 0 < len(x) < n_all and left - 64 <= x.min() and x.max() <= right, "up to the next region"
    assert made_anew(tokenizer(slides, tmp_path), caplog) == []
    assert "slide a are kept although they were made with a region of interest, roi.geojson" in caplog.text
    draw(0, 0)
    before = tokens.read_bytes()
    tokenizer(slides, tmp_path, table=table).run()
    assert statuses(tmp_path) == ["failed", "skipped", "skipped"]
    assert tokens.read_bytes() == before
    table.write_text("slide,roi\na,\n")
    assert made_anew(tokenizer(slides, tmp_path, table=table), caplog) == ["a"] and len(TokenFile(tokens)) == n_all


def test_damaged_token_files_are_made_again(slides, tmp_path):
    """A finished file that was damaged later does not count as finished."""
    tokenizer(slides, tmp_path).run()
    os.truncate(tmp_path / "tokens" / "a.h5", 3000)
    tokenizer(slides, tmp_path).run()
    assert statuses(tmp_path) == ["done", "skipped", "skipped"]
    assert len(TokenDataset(tmp_path / "tokens").slide_ids) == 3


def test_a_damaged_region_is_made_again_where_files_are_read_whole(slides, tmp_path):
    """Its header is good: only ``verify`` always looks further."""
    tokenizer(slides, tmp_path).run()
    path = tmp_path / "tokens" / "a.h5"
    before, whole, offset = TokenFile(path).read(), path.read_bytes(), TokenFile(path).offset(1)
    path.write_bytes(whole[:offset] + bytes([whole[offset] ^ 1]) + whole[offset + 1 :])
    for verify, status in (("first", "skipped"), ("always", "done")):
        engine = tokenizer(slides, tmp_path)
        engine.sink.verify = verify
        engine.run()
        assert statuses(tmp_path) == [status, "skipped", "skipped"]
    np.testing.assert_array_equal(TokenFile(path).read(), before)


@pytest.mark.parametrize("name", ["a", "c"])
def test_a_slide_that_is_overwritten_while_it_is_read_is_not_done(slides, tmp_path, name):
    """By itself or by another: its tokens may be half of one and half of the other; the next run makes them."""
    folder = shutil.copytree(slides, tmp_path / "slides")

    class Overwriting(MeanColors):
        def forward(self, image):
            if len(image) > 1:  # not the first, blank patch
                shutil.copy(slides / f"{name}.tif", folder / "a.tif")
            return super().forward(image)

    tokenizer(folder, tmp_path, Overwriting(), num_workers=1).run()
    record = TOKENIZED.read(tmp_path / "slides.csv")[0]
    assert record.status == "failed" and "a.tif was overwritten" in record.error
    assert not (tmp_path / "tokens" / "a.h5").exists()
    tokenizer(folder, tmp_path).run()
    assert len(TokenFile(tmp_path / "tokens" / "a.h5")) == len(TokenFile(tmp_path / "tokens" / f"{name}.h5"))


@pytest.mark.parametrize(
    ("change", "message"), [({"mpp": 4.0}, "mpp 2.0, this run would use 4.0"), ({}, "encoder mean")]
)
def test_one_folder_holds_one_kind_of_tokens(slides, tmp_path, change, message):
    """Files of another encoder or mpp in the folder stop the run before it reads a slide, and both are named."""
    tokenizer(slides, tmp_path).run()
    network = MeanColors()
    network.name, network.sha256 = ("mean colors", "00") if change else ("others", "11")
    with pytest.raises(BundleError, match=f"holds tokens of another kind: a.h5 was made with {message}"):
        tokenizer(slides, tmp_path, network, **change).run()


def test_bad_slides_do_not_stop_the_run(slides, tmp_path, caplog):
    """No mpp, no slide at all, no tissue, broken in the middle: each is reported, the others are complete."""
    caplog.set_level(logging.INFO)
    folder = tmp_path / "slides"
    for name in ("a", "c"):
        (folder / f"{name}.tif").parent.mkdir(exist_ok=True)
        (folder / f"{name}.tif").write_bytes((slides / f"{name}.tif").read_bytes())
    write_slide(folder / "b_no_mpp.tif", mpp=None)
    (folder / "b_text.svs").write_text("not a slide")
    damage_tiles(write_slide(folder / "b_broken.tif", 640, seed=3))
    tokenizer(folder, tmp_path, batch_size=100).run()
    records = {record.slide: record for record in TOKENIZED.read(tmp_path / "slides.csv")}
    failed = {name for name, record in records.items() if record.status == "failed"}
    assert failed == {"b_no_mpp", "b_text", "b_broken"}
    assert all(records[name].error for name in failed) and "default_mpp" in records["b_no_mpp"].error
    assert sorted(path.name for path in (tmp_path / "tokens").iterdir()) == ["a.h5", "c.h5"]
    tokenizer(slides, tmp_path / "alone").run()
    for name in ("a", "c"):
        alone = TokenFile(tmp_path / "alone" / "tokens" / f"{name}.h5")
        np.testing.assert_array_equal(TokenFile(tmp_path / "tokens" / f"{name}.h5").read(), alone.read())
    assert "5 slides: 3 failed, 2 done" in caplog.text


def test_no_good_slide_is_an_error(tmp_path):
    """A run in which every slide failed ends with an error that says why, and still writes its table."""
    write_slide(tmp_path / "slides" / "x.tif", mpp=None)
    with pytest.raises(BundleError, match="none of 1 slides could be tokenized; x: .*default_mpp"):
        tokenizer(tmp_path / "slides", tmp_path).run()
    assert statuses(tmp_path) == ["failed"]


def test_a_full_disk_stops_the_run(slides, tmp_path):
    """What does not fit is removed, what is finished is kept, and the message names the file."""
    tokenizer(slides, tmp_path).run()
    for name in "ac":
        (tmp_path / "tokens" / f"{name}.h5").unlink()
    with full_disk(9000), pytest.raises(BundleError, match="no room to write .*a.h5"):
        tokenizer(slides, tmp_path).run()
    assert [path.name for path in (tmp_path / "tokens").iterdir()] == ["b.h5"]
    assert statuses(tmp_path) == ["failed", "skipped", "waiting"]


class Interrupting(MeanColors):
    """Stops at the third batch, as Ctrl-C does."""

    calls = 0

    def forward(self, image):
        self.calls += 1
        if self.calls > 3:
            raise KeyboardInterrupt
        return super().forward(image)


def test_an_interrupted_run_goes_on(slides, tmp_path):
    """Ctrl-C leaves finished files only, and the next run completes the folder."""
    with pytest.raises(KeyboardInterrupt):
        tokenizer(slides, tmp_path, Interrupting(), batch_size=8).run()
    assert all(path.suffix == ".h5" for path in (tmp_path / "tokens").glob("*"))
    tokenizer(slides, tmp_path).run()
    assert len(TokenDataset(tmp_path / "tokens").slide_ids) == 3


def test_tokens_that_are_not_finite_fail_their_slide(slides, tmp_path):
    """An encoder that overflows is reported slide by slide, and nothing of it is stored."""

    class Overflowing(MeanColors):
        def forward(self, image):
            return super().forward(image) * 1e6

    with pytest.raises(BundleError, match="not finite as float16.*float32"):
        tokenizer(slides, tmp_path, Overflowing()).run()
    assert list((tmp_path / "tokens").iterdir()) == []


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (lambda self, image: image.float(), r"makes \[1, 3, 16, 16\] of one patch"),
        (lambda self, image: image.reshape(7, -1), "does not take patches of 16 px"),
    ],
)
def test_an_encoder_that_does_not_fit_is_found_first(slides, tmp_path, forward, message):
    """The encoder is tried on one blank patch before any slide is read."""
    network = type("Odd", (nn.Module,), {"forward": forward})()
    with pytest.raises(BundleError, match=message):
        tokenizer(slides, tmp_path, network).run()
    assert not (tmp_path / "tokens").exists()


def test_a_folder_that_cannot_be_written_is_found_first(slides, tmp_path):
    """A file in the place of the folder stops the run before any slide is read."""
    (tmp_path / "tokens").touch()
    with pytest.raises(BundleError, match="token files cannot be written to .*tokens: .* another tokens_dir"):
        tokenizer(slides, tmp_path).run()


def test_progress_ends_at_all_slides(slides, tmp_path, capsys, monkeypatch):
    """The bar counts slides, and arrives."""
    monkeypatch.setattr("bundle.core.progress._is_terminal", lambda file: True)
    tokenizer(slides, tmp_path, handlers=[TokenProgressHandler(disable=False)]).run()
    shown = capsys.readouterr().err
    assert "3.0/3 slides" in shown and "patches/s" in shown


SHARE = """
import sys
sys.path[:0] = sys.argv[1:3]
from pathlib import Path
from test_tokenizer import tokenizer
tokenizer(Path(sys.argv[3]), Path(sys.argv[4])).run()
"""


@pytest.mark.slow
def test_two_processes_share_the_slides(slides, tmp_path):
    """Under torchrun's variables each process makes its own slides, and the last one merges the tables."""
    paths = [str(ROOT), str(ROOT / "tests"), str(slides), str(tmp_path)]
    environment = {**os.environ, "WORLD_SIZE": "2", "PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen([python(), "-c", SHARE, *paths], env={**environment, "RANK": str(rank)}) for rank in (0, 1)
    ]
    assert [process.wait(120) for process in processes] == [0, 0]
    for rank, names in ((0, ["a", "c"]), (1, ["b"])):
        assert [record.slide for record in TOKENIZED.read(tmp_path / f"slides_{rank}_of_2.csv")] == names
    assert statuses(tmp_path) == ["done"] * 3
    tokenizer(slides, tmp_path / "one").run()
    for name in "abc":
        two, one = (TokenFile(folder / "tokens" / f"{name}.h5").read() for folder in (tmp_path, tmp_path / "one"))
        np.testing.assert_array_equal(two, one)
