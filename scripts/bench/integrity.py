"""``python -m scripts.bench.integrity``: what comparing tokens with their checksums costs an epoch and inferring."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import yaml

from bundle.core import quietly
from bundle.networks import Encoder, ProjectionHead, RegionDescriber, RegionViT, load_region_encoder
from bundle.pipelines import EmbeddingSink, InferenceInputs, RegionStream, SlidePipeline, SlideRecorder
from bundle.storage import TokenDataset
from bundle.training import TokenImaged

from ..pins.token_files import write_tokens
from . import report
from .learning.training import parse

_IDS = yaml.safe_load(Path(__file__).with_name("epoch.yaml").read_text(encoding="utf-8"))
_TRIES = 3
_OUTER = 1  # of ten pairs in order, the second and the ninth bound the median with 98 %


def epoch(tokens: Path, verify: str) -> None:
    """The first epoch of a run, in which every region is read from its file; a network smaller than the paper's."""
    with TemporaryDirectory() as folder:
        dataset = TokenDataset(tokens, verify=verify)
        parser = parse(dataset, Path(folder), {**_IDS, "prototype_warmup_epochs": 1})  # type: ignore[arg-type]
        parser.get_parsed_content("begin")
        parser.get_parsed_content("train#trainer").run()


def inferring(tokens: Path, weights: Path, verify: str) -> None:
    """Embeddings of all slides with the paper's region encoder."""
    with TemporaryDirectory() as folder:
        source = RegionStream(InferenceInputs.find(tokens), folder, folder, transform=TokenImaged(), verify=verify)
        sink = EmbeddingSink(SlideRecorder(weights))
        SlidePipeline("cpu", source, RegionDescriber(load_region_encoder(weights)), sink, folder).run()


def price(run: Callable[[str], None], n_pairs: int) -> tuple[float, float, float]:
    """Cost with checksums over cost without, in seconds of the processor: median of pairs that take turns, and its
    interval."""
    run("never")
    ratios = []
    for pair in range(n_pairs):
        order = ("never", "first") if pair % 2 else ("first", "never")
        cost = {verify: _cost(run, verify) for verify in order}
        ratios.append(cost["first"] / cost["never"])
    ratios.sort()
    outer = min(_OUTER, (n_pairs - 1) // 2)
    return statistics.median(ratios), ratios[outer], ratios[-1 - outer]


def _cost(run: Callable[[str], None], verify: str) -> float:
    """The least of a few runs: others on the machine only ever add to it."""
    seconds = []
    for _ in range(_TRIES):
        started = time.process_time()
        run(verify)
        seconds.append(time.process_time() - started)
    return min(seconds)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="scripts/benchmark integrity", description=__doc__)
    parser.add_argument("--slides", type=int, default=4)
    parser.add_argument("--regions", type=int, default=32, help="of each slide")
    parser.add_argument("--pairs", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder, quietly():
        tokens, weights = Path(folder, "tokens"), Path(folder, "model.pt")
        for slide in range(options.slides):
            write_tokens(tokens / f"slide_{slide}.h5", options.regions, 384, slide)
        torch.save(Encoder(RegionViT(), ProjectionHead(192)).state_dict(), weights)
        rows = []
        for name, run in (
            ("first epoch", lambda verify: epoch(tokens, verify)),
            ("inferring", lambda verify: inferring(tokens, weights, verify)),
        ):
            median, low, high = price(run, options.pairs)
            rows.append((name, f"{median - 1:+.2%}", f"{low - 1:+.2%} to {high - 1:+.2%}"))
    print(report.table(("", "with checksums", "interval"), rows))


if __name__ == "__main__":
    main()
