"""The configs of search and atlas, and the command, as a user starts them."""

import csv
import os
import subprocess

import numpy as np
import pytest
from slide_embeddings import made_up_slide
from tiny_slides import write_slide
from workflows import ROOT, run_config

from bundle.core import BundleError
from bundle.storage import write_embeddings

pytest.importorskip("faiss")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Embeddings of slides at 2 um/px, the slides, and their table."""
    folder = tmp_path_factory.mktemp("cohort")
    for number in range(5):
        size = {"level0_width": 320, "level0_height": 320, "region_size_level0": 160.0, "level0_mpp": 2.0}
        slide = made_up_slide(f"s{number}", 4, 2, seed=number, **size)
        slide.coords[:] = np.array([[0, 0], [160, 0], [0, 160], [160, 160]])
        write_embeddings(slide, folder / "embeddings" / f"s{number}.h5")
        write_slide(folder / "slides" / f"s{number}.tif", seed=number)
    lines = [f"s{number}.tif,{'ab'[number % 2]},p{number}" for number in range(5)]
    (folder / "table.csv").write_text("\n".join(["slide,label,patient", *lines]))
    return folder


def run(config, run_id, **ids):
    run_config(config, run_id=run_id, **{name: str(value) for name, value in ids.items()})


def test_search_by_its_config(cohort, tmp_path):
    """Index and query in one run, then a query alone: page with pictures, table, JSON."""
    given = {"index_dir": tmp_path / "index", "output_dir": tmp_path / "out", "slide_table": cohort / "table.csv"}
    run(
        "search.yaml", "searching", dataset_dir=cohort / "embeddings", query="s0", slides_dir=cohort / "slides", **given
    )
    page = (tmp_path / "out" / "neighbors.html").read_text()
    assert page.count("<h3>") == 4 and page.count("<img") == 4 * 2 * 4 + 1 + 4, "regions, and whole slides"
    run("search.yaml", "querying", query=cohort / "embeddings" / "s1.h5", where="label=a", by="regions", **given)
    rows = list(csv.DictReader((tmp_path / "out" / "results.csv").open()))
    assert {row["label"] for row in rows} == {"a"} and {row["query"] for row in rows} == {"s1"}
    assert (tmp_path / "out" / "results.json").exists()


def test_atlas_by_its_config(cohort, tmp_path):
    """Page and contact sheets, with pictures of the slides."""
    run(
        "atlas.yaml",
        "charting",
        dataset_dir=cohort / "embeddings",
        slides_dir=cohort / "slides",
        slide_table=cohort / "table.csv",
        output_dir=tmp_path,
        n_kinds=3,
    )
    assert "5 slides, 20 regions" in (tmp_path / "atlas.html").read_text()
    assert (tmp_path / "atlas.png").exists() and len(list((tmp_path / "atlas_slides").iterdir())) == 5


def test_users_mistakes_are_their_own(cohort, tmp_path):
    """No embeddings, no query, no index: errors that say what to do."""
    with pytest.raises(Exception) as raised:
        run("search.yaml", "querying", index_dir=tmp_path, query="s0")
    assert isinstance(raised.value, BundleError) or isinstance(raised.value.__cause__, BundleError)
    with pytest.raises(Exception) as raised:
        run("atlas.yaml", "charting", dataset_dir=tmp_path / "nothing", output_dir=tmp_path)
    assert isinstance(raised.value, BundleError) or isinstance(raised.value.__cause__, BundleError)


def command(*words):
    """What scripts/search says, with the real program replaced by one that prints its arguments."""
    return subprocess.run(["bash", str(ROOT / "scripts" / "search"), *map(str, words)], capture_output=True, text=True)


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_the_command_explains_itself(words):
    """Called alone or for help it says how to call it."""
    said = command(*words)
    assert said.returncode == 0 and "scripts/search query INDEX SLIDE" in said.stdout


@pytest.mark.parametrize("words", [["find", "a", "b"], ["index"], ["query", "index"], ["query", "index", "--by"]])
def test_wrong_calls_explain_the_right_one(words):
    """An unknown action or a missing argument: exit status 2 and the usage on stderr."""
    said = command(*words)
    assert said.returncode == 2 and "scripts/search index" in said.stderr


def test_the_command_hands_on_what_it_is_given(tmp_path):
    """Index and query become ids of the config, -k its long name, paths stay relative to the caller's folder."""
    root = tmp_path / "copy"
    (root / "scripts").mkdir(parents=True)
    (root / ".venv" / "bin").mkdir(parents=True)
    (root / "scripts" / "search").write_text((ROOT / "scripts" / "search").read_text())
    (root / "scripts" / "setup").write_text("")
    python = root / ".venv" / "bin" / "python"
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$PWD" "$@"\n')
    os.chmod(python, 0o755)
    script = ["bash", str(root / "scripts" / "search")]
    call = [*script, "query", "idx", "a slide.h5", "-k", "3", "--where", "site=A|B"]
    said = subprocess.run(call, capture_output=True, text=True, cwd=tmp_path, check=True).stdout.splitlines()
    assert said[:5] == [str(tmp_path), "-m", "monai.bundle", "run", "querying"]
    options = dict(zip(said[5::2], said[6::2], strict=True))
    assert options == {
        "--config_file": str(root / "configs" / "search.yaml"),
        "--bundle_root": str(root),
        "--index_dir": "idx",
        "--query": "a slide.h5",
        "--k_neighbors": "3",
        "--where": "site=A|B",
    }
    said = subprocess.run([*script, "index", "e", "i"], capture_output=True, text=True, check=True).stdout.splitlines()
    assert said[4] == "indexing" and said[-4:] == ["--dataset_dir", "e", "--index_dir", "i"]
