"""``python -m scripts.bench.learning``: train all methods on planted cohorts, and write tables and a plot."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from tqdm.auto import tqdm

from bundle.core import BundleError, write_text

from .cohorts import LEVELS, PlantedTokens, Size, make_cohort
from .methods import ABLATIONS, ASSIGNED, PLAIN, REGIONAL, SETTINGS, SHIFTED, SHIFTED_ABLATIONS, Method
from .plot import plot, plot_pairs
from .probes import probe
from .results import BASELINES, Results
from .table import tables
from .training import train, untrained

_METHODS = {
    "pair": [PLAIN[0], PLAIN[3]],
    "plain": PLAIN,
    "shifted": SHIFTED,
    "regional": REGIONAL,
    "region-shift": REGIONAL[:2],
    "assigned": ASSIGNED[:1],
    "region-shift-assigned": ASSIGNED[1:],
    "ablations": ABLATIONS,
    "shifted-ablations": SHIFTED_ABLATIONS,
}
_ALL = [*PLAIN, *SHIFTED, *REGIONAL, *ASSIGNED, *ABLATIONS, *SHIFTED_ABLATIONS]
_QUICK = {"max_epochs": 2, "batch_size": 8, "lr": 0.1, "prototype_warmup_epochs": 1, "lr_warmup_epochs": 1}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for and not yet there, then write ``results.md`` and two plots of all there is."""
    options = _options(arguments)
    torch.set_num_threads(options.threads)
    settings, size = (
        {**SETTINGS, **_changes(options.set)},
        Size(options.slides, tuple(options.regions), options.held_out),
    )
    if options.quick:
        options.seeds, options.levels, options.methods = 1, ["medium"], ["plain", "shifted"]
        settings, size = {**settings, **_QUICK}, Size(8, (4, 6), 8)
    methods = [method for group in options.methods for method in _METHODS[group]]
    try:
        results = Results(options.output, {**settings, **size._asdict()})
        _run_all(results, methods, options, settings, size)
    except BundleError as error:
        print(f"Stopped: {error}", file=sys.stderr)
        return 1
    text = tables(results, _ALL)
    write_text(options.output / "results.md", text)
    plot(results, [*PLAIN, *SHIFTED], options.output / "learning.png")
    plot_pairs(results, _ALL, options.output / "pairs.png")
    print(text)
    return 0


def _run_all(
    results: Results, methods: Sequence[Method], options: argparse.Namespace, settings: dict[str, Any], size: Size
) -> None:
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    cohorts = [(level, seed) for level in options.levels for seed in seeds]
    with tqdm(total=len(cohorts) * len(methods), unit="run") as bar:
        for level, seed in cohorts:
            data = make_cohort(level, seed, size)
            folder = results.cohort_folder(level, seed)
            _baselines(results, level, seed, data, settings)
            for method in methods:
                bar.set_description(f"{level} {seed} {method.name}")
                results.once(level, seed, method.name, partial(train, method, data, seed, folder, settings))
                bar.update()


def _baselines(results: Results, level: str, seed: int, data: PlantedTokens, settings: dict[str, Any]) -> None:
    oracle, mean_token, first = BASELINES
    folder, rest = results.cohort_folder(level, seed), data.held_out
    results.once(level, seed, oracle, lambda: {"scores": probe(rest.oracle(), rest)})
    results.once(level, seed, mean_token, lambda: {"scores": probe(rest.mean_tokens(), rest)})
    results.once(level, seed, first, lambda: {"scores": probe(untrained(data, seed, folder, settings), rest)})


def _changes(words: Sequence[str]) -> dict[str, Any]:
    return {name: yaml.safe_load(value) for name, _, value in (word.partition("=") for word in words)}


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.bench.learning",
        description="Slide-level kNN and probes of what DINO, its prototype terms and SLPD learn on planted cohorts. "
        "A run that is finished is not repeated, one that was killed goes on.",
    )
    parser.add_argument(
        "--output", type=Path, required=True, help="folder of runs, results.md, learning.png and pairs.png"
    )
    parser.add_argument("--seeds", type=int, default=5, help="cohorts, each trained on once a method (5)")
    parser.add_argument("--first_seed", type=int, default=0, help="of them (0)")
    parser.add_argument("--levels", nargs="+", choices=LEVELS, default=["medium", "hard"], help="medium hard")
    parser.add_argument(
        "--methods",
        nargs="+",
        choices=_METHODS,
        default=["plain", "shifted"],
        help="plain shifted; pair, region-shift: DINO and SLPD alone",
    )
    parser.add_argument("--slides", type=int, default=Size().n_slides, help="of a cohort, trained on (64)")
    parser.add_argument(
        "--regions", type=int, nargs=2, default=Size().regions, help="least and most of a slide (14 22)"
    )
    parser.add_argument("--held_out", type=int, default=Size().n_held_out, help="further slides, for the scores (128)")
    parser.add_argument("--set", nargs="*", default=[], metavar="ID=VALUE", help="other ids of configs/train.yaml")
    parser.add_argument("--threads", type=int, default=1, help="of torch (1); two runs side by side are quicker")
    parser.add_argument("--quick", action="store_true", help="one tiny cohort, two epochs: does it work?")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
