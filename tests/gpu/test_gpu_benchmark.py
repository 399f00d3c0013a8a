"""The page of a GPU, dry: sections at tiny sizes, on a pretended GPU, where no compiler and no profiler is."""

import json

import pytest
import torch

from scripts.bench import gpu, gpu_trials
from scripts.bench.bound import Bound, Rates
from scripts.bench.tokenizing import Profile

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available() or torch.version.cuda is not None,
    reason="a real GPU is measured by scripts/benchmark gpu itself; there is no pretended one",
)


def test_every_section_has_its_rows(tmp_path, monkeypatch):
    """Steps, a graph and trials have numbers; a section that was not asked for is not measured."""
    monkeypatch.setattr(gpu_trials, "make_demo_slides", lambda *_, **__: None)
    monkeypatch.setattr(gpu_trials, "profile", lambda *_: Profile(2.0, 0.1, 0.1, 1.7, 0.1, 0.0, 0.0, 8, 5.0))
    sections = ["step", "graph", "norm", "loss", "tokenizing"]
    gpu.main([*sections, "--tiny", "--output", str(tmp_path)])
    found = {name: json.loads((tmp_path / "raw" / f"gpu-{name}.json").read_text()) for name in sections}
    measured = {name: {row["name"] for row in rows if "failed" not in row} for name, rows in found.items()}
    assert {"rates", "bound", "eager", "reference, bf16", "reference, fp32"} <= measured["step"]
    assert "graph" in measured["graph"] and {"plain", "ours"} <= measured["loss"] and "as they are" in measured["norm"]
    assert measured["tokenizing"] == {"bare encoder", "tokenizing"}
    text = (tmp_path / "gpu.md").read_text()
    assert text.startswith("# One GPU\n\npretended GPU; ") and text.count("| graph |") == 1
    assert "## What saves launches\n\nnot measured\n" in text


def test_a_section_that_fails_leaves_the_others(tmp_path, monkeypatch):
    """The rows that it had before stay as well."""

    def broken(size):
        yield {"name": "as they are", "ms": [1.0]}
        raise RuntimeError("the card has gone")

    monkeypatch.setitem(gpu.SECTIONS, "norm", (broken, 1))
    gpu.main(["norm", "attention", "--tiny", "--output", str(tmp_path)])
    text = (tmp_path / "gpu.md").read_text()
    assert "| as they are | 1.000 |" in text and "RuntimeError: the card has gone" in text
    assert "| SDPA, heads padded to 64 |" in text


def test_the_bound_is_products_or_bytes():
    """A product by its operations, a sum by its bytes, a change in place read and written, a view for nothing."""
    x = torch.ones(64, 64, device="cuda", dtype=torch.bfloat16)
    wide = torch.ones(1000, device="cuda")
    for run, operations, n_bytes in (
        (lambda: x @ x, 2 * 64**3, 3 * 64 * 64 * 2),
        (lambda: wide + wide, 0, 3 * 4000),
        (lambda: wide.mul_(2), 0, 2 * 4000),
        (lambda: wide.copy_(wide.view(1000)), 0, 2 * 4000),
        (lambda: torch._foreach_mul_([wide, wide], 2.0), 0, 4 * 4000),
        (lambda: wide.view(10, 100).T, 0, 0),
    ):
        with Bound(Rates(1e6, 1e6, 1e9)) as bound:
            run()
        assert (bound.operations, bound.bytes) == (operations, n_bytes)
        assert bound.seconds == pytest.approx(max(operations / 1e6, n_bytes / 1e9))
