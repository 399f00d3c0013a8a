"""``python -m scripts.bench.checks``: the share of a run's time that is spent in what looks for faults.

Two trees that are timed in turn differ by the noise of the machine, which is several percent; what the checks
themselves take is known to a tenth of one. Every function of the modules below is timed where it is called, once where
one calls another. Some of them did their work before there were checks (weights have to be read), so that the share is
an upper bound.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib
import inspect
import io
import logging
import pkgutil
import shutil
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any, NamedTuple

import torch
from monai.bundle import run
from torch import nn

import bundle
from bundle.core import quietly
from bundle.demo.demo_slides import make_demo_slides
from bundle.networks import Encoder, ProjectionHead, RegionViT

from ..pins.token_files import write_tokens
from . import report

_MODULES = {
    "checksums, NaN in tokens": ("storage.checksums",),
    "NaN in training, stops, plans": tuple(
        f"training.handlers.{name}" for name in ("divergence", "midway", "stop", "left_out", "plan")
    )
    + ("core.signals", "core.stopping", "prototypes.outlook"),
    "locks, files kept whole": (
        *("core.claims", "core.lock", "core.atomic", "core.earlier", "pipelines.token_claims"),
    ),
    "memory and disk": ("core.scarcity", "core.memory"),
    "values as typed, TIFF chains": ("core.as_typed", "core.kinds", "slides.tiff_chain"),
    "YAML and weights, reading included": (
        *("core.foreign", "networks.weights_reading", "networks.token_kind", "networks.stated_reading"),
    ),
}
_NETWORK: dict[str, Any] = {"embed_dim": 64, "depth": 2, "n_heads": 4, "out_dim": 2048, "hidden_dim": 256}
_NETWORK |= {"bottleneck_dim": 64, "n_local": 4, "batch_size": 32, "max_epochs": 2, "prototype_warmup_epochs": 1}
_TRIES = 5


class Stopwatch:
    """Seconds of the main thread, by the kind of check; what a check calls is its own."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._is_inside = False

    def timed(self, kind: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function``, whose time is counted as ``kind``'s."""

        @functools.wraps(function)
        def measured(*args: Any, **kwargs: Any) -> Any:
            if self._is_inside:
                return function(*args, **kwargs)
            self._is_inside, started = True, time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                self._is_inside = False
                self.seconds[kind] += time.thread_time() - started

        return measured

    def watch(self) -> None:
        """Time all functions and methods of the checks' modules, wherever they have been imported to."""
        for found in pkgutil.walk_packages(bundle.__path__, "bundle."):
            if ".serving" not in found.name and not found.name.endswith(("__main__", "softmax_kernel", "installed")):
                importlib.import_module(found.name)
        replaced: dict[Any, Callable[..., Any]] = {}
        for kind, names in _MODULES.items():
            for name in names:
                replaced |= self._watch_module(kind, importlib.import_module(f"bundle.{name}"))
        for module in [module for name, module in sys.modules.items() if name.startswith("bundle.")]:
            for name, value in list(vars(module).items()):
                if inspect.isfunction(value) and value in replaced:
                    setattr(module, name, replaced[value])

    def _watch_module(self, kind: str, module: ModuleType) -> dict[Any, Callable[..., Any]]:
        """Put timed methods in place of a module's; its functions are returned, each with its timed one."""
        for owner in [value for value in vars(module).values() if inspect.isclass(value)]:
            for name, method in list(vars(owner).items()):
                if owner.__module__ == module.__name__ and _is_own(method, module.__name__):
                    setattr(owner, name, self.timed(kind, method))
        own = [value for value in vars(module).values() if _is_own(value, module.__name__)]
        return {value: self.timed(kind, value) for value in own}


def _is_own(value: Any, module: str) -> bool:
    """A plain function of the module: generators and decorated ones would be timed when made, not when run."""
    is_plain = inspect.isfunction(value) and not hasattr(value, "__wrapped__")
    return is_plain and value.__module__ == module and not inspect.isgeneratorfunction(value)


def make_inputs(folder: Path) -> None:
    """Small slides, a patch encoder of two layers, tokens of the paper's size, and weights of its region encoder."""
    make_demo_slides(folder / "slides", n_slides=8, mpp=4.0, regions=8, seed=3, n_workers=1)
    encoder = nn.Sequential(nn.Conv2d(3, 64, 4, 4), nn.GELU(), nn.Conv2d(64, 64, 8), nn.Flatten())
    torch.jit.trace(encoder.eval(), torch.zeros(2, 3, 32, 32)).save(str(folder / "patch_encoder.ts"))
    for slide in range(4):
        write_tokens(folder / "tokens" / f"slide_{slide}.h5", 32, 384, slide)
    torch.save(Encoder(RegionViT(), ProjectionHead(192)).state_dict(), folder / "model.pt")


def commands(folder: Path) -> dict[str, Callable[[], Any]]:
    """What is measured, by name."""
    out, tokens = str(folder / "out"), str(folder / "tokens")
    patches: dict[str, Any] = {"patch_encoder_ckpt": str(folder / "patch_encoder.ts"), "mpp": 4.0, "patch_size": 32}
    patches |= {"patch_mean": [0.5] * 3, "patch_std": [0.5] * 3}
    return {
        "training, two epochs": lambda: run(
            **{"run_id": "training", "config_file": "configs/train.yaml", "dataset_dir": tokens, "device": "cpu"},
            **{"output_dir": out, "model_path": f"{out}/model.pt", "min_regions": 2, **_NETWORK},
        ),
        "tokenizing": lambda: run(
            **{"run_id": "tokenizing", "config_file": "configs/tokenize.yaml", "dataset_dir": str(folder / "slides")},
            **{"tokens_dir": f"{out}/tokens", "output_dir": out, "device": "cpu", **patches},
        ),
        "inferring": lambda: run(
            **{"run_id": "inferring", "config_file": "configs/inference.yaml", "dataset_dir": tokens},
            **{"region_encoder_ckpt": str(folder / "model.pt"), "output_dir": out, "device": "cpu"},
        ),
    }


class Cost(NamedTuple):
    """Of one run: share of the checks, seconds of the processor, seconds by kind of check."""

    share: float
    seconds: float
    by_kind: dict[str, float]


def costs(watch: Stopwatch, command: Callable[[], Any], out: Path, n_runs: int) -> list[Cost]:
    """Of ``n_runs`` runs, the cheapest share first; one run before them, which imports and warms, is not counted."""
    found = []
    for _ in range(n_runs + 1):
        shutil.rmtree(out, ignore_errors=True)
        watch.seconds.clear()
        started = time.process_time()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            command()
        seconds = time.process_time() - started
        found.append(Cost(sum(watch.seconds.values()) / seconds, seconds, dict(watch.seconds)))
    return sorted(found[1:], key=lambda cost: cost.share)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="scripts/benchmark checks", description=__doc__)
    parser.add_argument("--tries", type=int, default=_TRIES, help="runs of each command; the median is told")
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.CRITICAL)
    watch, rows, parts = Stopwatch(), [], []
    with TemporaryDirectory() as name, quietly():
        folder = Path(name)
        make_inputs(folder)
        watch.watch()
        for command, function in commands(folder).items():
            found = costs(watch, function, folder / "out", options.tries)
            median, middle = statistics.median(cost.share for cost in found), found[len(found) // 2]
            span = f"{found[0].share:.2%} to {found[-1].share:.2%}"
            rows.append([command, f"{median:.2%}", span, f"{middle.seconds:.1f}"])
            parts.append([command, *(f"{middle.by_kind.get(kind, 0) / middle.seconds:.2%}" for kind in _MODULES)])
    print(report.table(["", "share of checks", "least to most", "seconds of the processor"], rows))
    print(report.table(["", *_MODULES], parts))


if __name__ == "__main__":
    main()
