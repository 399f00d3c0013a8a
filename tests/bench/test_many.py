"""The benchmark of very many slides, with few of them."""

import pytest

from scripts.bench import many
from scripts.bench.many_simulated import PARTS


def test_a_folder_is_opened_and_counted(tmp_path):
    """All files are opened the first time; what the page says of it."""
    many.write_files(range(3), tmp_path)
    found = many.start_of("training", tmp_path)
    assert found["opened"] == 3 and 6 <= found["regions"] <= 18 and 0 < found["handles"] <= 4
    starts = {"first, training": found, "manifest": {"MB": 1.0}}
    simulated = {"clustering": {"10": {"seconds": 0.5}, "20": {}}}
    text = many.as_text({"files": 3, "starts": starts, "regions_a_slide": 20, "simulated": simulated})
    assert "| first, training |" in text and "| 10 | 0.5 |" in text and "| 20 | - |" in text


@pytest.mark.parametrize("part", PARTS)
def test_parts_are_measured(part):
    """Each part of a run says its seconds and memory."""
    found = many.simulated(part, 12)
    assert found["seconds"] > 0 and found["GiB"] >= 0
