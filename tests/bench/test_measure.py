"""The stop watch and what it writes."""

import json
import os
import sys
import time

import pytest
import torch
from warm import run_python

from scripts.bench.measure import Case, Variant, measure
from scripts.bench.report import markdown, picture
from scripts.bench.scaling import exponent, measured, table
from scripts.bench.scaling import picture as scaling_picture


@pytest.fixture
def case(monkeypatch):
    """Two ways, the second four times as fast, on a clock that only they move."""
    now = [0.0]

    def way(seconds):
        def run():
            now[0] += seconds

        return run

    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    variants = [Variant("slow", "reference", way(0.2)), Variant("quick", "ours", way(0.05))]
    return Case("group", "waiting", variants, work=10, unit="naps", goal={"quick": 2.0}, note="Zzz.")


def test_ratios_are_of_the_same_round(case):
    """A way that takes a quarter of the time is four times as fast; the reference is exactly 1."""
    ((slow, quick),) = measure([case], rounds=3)
    assert slow[2:6] == pytest.approx((0.2, 1.0, 1.0, 1.0))
    assert quick[2:6] == pytest.approx((0.05, 4.0, 4.0, 4.0))


def test_peak_memory_is_seen_and_only_its_own():
    """40 MiB that a run takes and gives back are its peak; the next run that takes none shows none."""
    takes = Variant("takes", "reference", lambda: torch.ones(10 << 20).sum())
    nothing = Variant("nothing", "ours", lambda: torch.ones(1))
    ((first, second),) = measure([Case("memory", "", [takes, nothing])], rounds=1)
    if first.peak_mib is None:
        pytest.skip("this system does not tell the peak of a process's memory")
    assert 38 < first.peak_mib < 60
    assert second.peak_mib < 8


def test_table_and_picture_hold_every_way(case):
    """Every way has its line with rate, ratio and whether its goal was met, and its bar."""
    fields = {name: getattr(case, name) for name in ("group", "title", "work", "unit", "goal", "note")}
    timings = [timing._asdict() | {"before": 1.25} for timing in measure([case], rounds=2)[0]]
    results = [fields | {"timings": timings}]
    text = markdown(results)
    assert "| 1.25 | >= 2: met |" in text
    assert "naps/s" in text and "**quick**" in text and ">= 2: met" in text and "Zzz." in text
    labels = [label.get_text() for label in picture(results, "title").axes[0].get_yticklabels()]
    assert labels == ["slow", "quick"]


def test_exponent_is_the_power():
    """Seconds that grow with x^1.5 have the exponent 1.5."""
    assert exponent([1, 10, 100, 1000], [x**1.5 for x in (1, 10, 100, 1000)]) == pytest.approx(1.5)


def test_scaling_measures_every_series():
    """The quick run of all series ends in a table and a picture with both axes."""
    found = measured(quick=True)
    text = table(found)
    assert "matching, 24 directions" in text and "recall@1" in text and "speed-up" in text
    epoch = found["epoch"]
    assert "| reading, 10 crops, s |" in text and epoch["bytes"][1] >= epoch["regions"][1] * 16 * 16 * 384 * 2 > 0
    assert measured(before=found) == found
    assert [axes.get_xlabel() for axes in scaling_picture(found).axes] == ["slides", "K"]
    assert [row["recall"] for row in found["large"]] == [1.0, 1.0]
    assert all(row["seconds"] > row["preparation"] > 0 for row in found["large"])


def test_command_writes_its_files(tmp_path):
    """`python -m scripts.bench.epoch` writes table and numbers; a wrong group is refused by name."""
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    call = [sys.executable, "-m", "scripts.bench.epoch", "--slides", "4", "--regions", "8", "--output", str(tmp_path)]
    done = run_python(call, env=environment)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "raw" / "epoch.json").read_text())
    assert found["regions"] == 32 and 0 < found["K-means"] < found["epoch"]
    assert "whole re-clustering" in (tmp_path / "epoch.md").read_text()
    refused = run_python([sys.executable, "-m", "scripts.bench", "los"], env=environment)
    assert refused.returncode == 2 and "no group los" in refused.stderr
