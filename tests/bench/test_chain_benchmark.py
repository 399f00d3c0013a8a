"""The benchmark of the whole chain: which slides it takes, and what its page says."""

import sys

import pytest

from scripts.bench import chain


def test_slides_are_spread_and_their_rows_found(tmp_path):
    """Every second of six slides, as links; the table's column ``image`` is the slide; other slides' rows go, and a
    label of one patient."""
    folder = tmp_path / "slides"
    folder.mkdir()
    for name in "abcdef":
        (folder / f"{name}.tif").write_bytes(b"")
    rows = "".join(f"{name}.tif,{label}\n" for name, label in zip("abcdef", "xxxyyx", strict=True))
    (folder / "manifest.csv").write_text(f"image,class\n{rows}")
    chosen = chain.pick(folder, 3, tmp_path / "chosen")
    chain.write_table(folder / "manifest.csv", chosen, tmp_path / "table.csv", "class")
    assert (tmp_path / "table.csv").read_text().split() == ["slide,class", "a.tif,x", "c.tif,x", "e.tif,"]
    with pytest.raises(SystemExit, match="holds 6 slides, 7 are asked for"):
        chain.pick(folder, 7, tmp_path / "more")


def test_the_page_tells_shares_and_growth():
    """Half of the seconds are half, twice as long for twice the patches is the power 1, the largest memory counts."""
    runs = [
        {
            "slides": n,
            "regions": n,
            "patches": 100 * n,
            "load": 0.0,
            "beside": {"TRIDENT: seg": {"seconds": n, "peak_mib": 1}},
        }
        | {"steps": {"tokenize": {"seconds": 3.0 * n, "peak_mib": n}, "train": {"seconds": 3.0 * n, "peak_mib": 9}}}
        for n in (1, 2)
    ]
    text = chain.page({"runs": runs, "label": "class", "epochs": 2, "cores": 2, "threads": 1, "load": 0.1})
    assert "| tokenize | 3.0 s (50%) | 6.0 s (50%) | 1.00 | 2 |" in text and "was quiet" in text
    assert (
        "| **all** | **6.0 s** | **12.0 s** | 1.00 | 9 |" in text and "| TRIDENT: seg | 1.0 s | 2.0 s | 1.00 |" in text
    )


def test_without_slides_it_is_skipped_aloud(monkeypatch, capsys, tmp_path):
    """It says so and ends well."""
    monkeypatch.setattr(sys, "argv", ["chain", "--slides", str(tmp_path / "none")])
    assert chain.main() == 0 and "skipped: no folder of slides" in capsys.readouterr().err
