"""``python -m scripts.bench.tokenizing``: where tokenizing's time goes, and how long the encoder has no batch.

``configs/tokenize.yaml`` runs as it is published. The main thread waits for a batch, encodes, and writes; threads open
slides (their tissue, their grid) and read patches meanwhile. Their seconds are the processor's, so that what they wait
for one another counts once.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any, NamedTuple, cast

import torch
from ignite.engine import Events
from monai.bundle import ConfigParser

from bundle.core import CONFIGS, ROOT, quietly
from bundle.demo.demo_slides import make_demo_slides
from bundle.networks import PatchViT
from bundle.pipelines import PatchStream, SlidePipeline

from . import report

_DEMO_MPP = 2.0  # um/px
GOAL = 0.10  # of the wall time, at most, without a batch


class Profile(NamedTuple):
    """Seconds of one run.

    Attributes:
        wall: from the first slide's opening to the last file.
        first: until the first batch is there.
        waiting: for each later batch, together.
        encoding, writing: in the main thread.
        opening, reading: processor seconds of the threads.
        patches: encoded.
        bare: patches a second of the encoder alone, whole batches from the host's memory.
    """

    wall: float
    first: float
    waiting: float
    encoding: float
    writing: float
    opening: float
    reading: float
    patches: int
    bare: float

    @property
    def of_bare(self) -> float:
        """Share of the encoder's bare rate that the whole run reaches."""
        return self.patches / self.wall / self.bare

    @property
    def without_batch(self) -> float:
        """Share of the wall time in which the encoder has no batch."""
        return (self.first + self.waiting) / self.wall


class _Clock:
    """Seconds by part, from several threads."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._lock = Lock()

    def timed(self, part: str, function: Callable[..., Any], now: Callable[[], float]) -> Callable[..., Any]:
        @functools.wraps(function)
        def measured(*args: Any, **kwargs: Any) -> Any:
            started = now()
            try:
                return function(*args, **kwargs)
            finally:
                with self._lock:
                    self.seconds[part] += now() - started

        return measured


def profile(slides: Path, encoder: Path, ids: dict[str, Any]) -> Profile:
    """One run over a folder of slides.

    Args:
        slides: the folder.
        encoder: weights of the patch encoder.
        ids: of ``configs/tokenize.yaml``.
    """
    with TemporaryDirectory() as folder, quietly():
        parser = ConfigParser(ConfigParser.load_config_files([str(CONFIGS / "tokenize.yaml")]))
        given = {"dataset_dir": slides, "patch_encoder_ckpt": encoder, "tokens_dir": folder, "output_dir": folder}
        for name, value in ({**given, "bundle_root": ROOT}).items():
            parser[name] = str(value)
        for name, value in ids.items():
            parser[name] = value
        pipeline, clock, waits = parser.get_parsed_content("evaluator"), _Clock(), list[float]()
        pipeline.encode = clock.timed("encoding", pipeline.encode, time.perf_counter)
        pipeline.sink.add = clock.timed("writing", pipeline.sink.add, time.perf_counter)
        pipeline.source.open = clock.timed("opening", pipeline.source.open, time.thread_time)
        pipeline.source.read = clock.timed("reading", pipeline.source.read, time.thread_time)
        since: list[float] = []
        pipeline.add_event_handler(Events.GET_BATCH_STARTED, lambda: since.append(time.perf_counter()))
        pipeline.add_event_handler(Events.GET_BATCH_COMPLETED, lambda: waits.append(time.perf_counter() - since.pop()))
        started = time.perf_counter()
        pipeline.run()
        wall = time.perf_counter() - started
        n_patches = sum(outcome.patches for outcome in pipeline.outcomes)
        bare = _bare_rate(pipeline)
    parts = clock.seconds
    main_thread, threads = (parts["encoding"], parts["writing"]), (parts["opening"], parts["reading"])
    return Profile(wall, waits[0], sum(waits[1:]), *main_thread, *threads, n_patches, bare)


def _bare_rate(pipeline: SlidePipeline) -> float:
    """Patches a second of the network alone. On a CPU, where larger batches are no quicker, at most 32 at once."""
    source, device = cast(PatchStream, pipeline.source), pipeline.state.device
    n, side, n_batches = source.batch_size, source.how.patch_size, 0
    n = n if source.fill_up or device.type == "cuda" else min(n, 32)
    image = torch.randint(256, (n, side, side, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    SlidePipeline.encode(pipeline, image).cpu()
    started = time.perf_counter()
    while time.perf_counter() - started < 1:
        tokens = SlidePipeline.encode(pipeline, image)
        n_batches += 1
        if n_batches % 8 == 0:  # a GPU is not sent more than it does
            tokens.cpu()
    tokens.cpu()
    return n * n_batches / (time.perf_counter() - started)


def write_vit_s(path: Path, mpp: float = 0.5) -> None:
    """A ViT-S/16 as stage one writes it, of random weights, for patches of 256 px."""
    torch.manual_seed(0)
    backbone = PatchViT()
    normalization = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    contract = {"name": "stage one", "input_px": 256, "mpp": mpp, "dim": 384}
    parts = {"teacher": backbone.state_dict(), "architecture": backbone.architecture}
    torch.save({**parts, "normalization": normalization, "contract": contract}, path)


def table(profiles: Sequence[tuple[str, Profile]]) -> str:
    """Shares of the wall time, a row a run, and whether the goal is met."""
    head = [
        "",
        "patches",
        "a second",
        "of bare rate",
        "first batch",
        "waiting",
        "encoding",
        "writing",
        "opening*",
        "reading*",
    ]
    rows = []
    for name, found in profiles:
        parts = (found.first, found.waiting, found.encoding, found.writing, found.opening, found.reading)
        met = "met" if found.without_batch < GOAL else "missed"
        shares = (f"{part / found.wall:.1%}" for part in parts)
        rate = f"{found.patches / found.wall:.0f}"
        rows.append(
            (name, f"{found.patches:,}", rate, f"{found.of_bare:.0%}", *shares, f"{found.without_batch:.1%} ({met})")
        )
    said = f"Shares of the wall time; * of threads beside it. Goal: without a batch for less than {GOAL:.0%}."
    return f"{report.table([*head, 'no batch'], rows)}\n\n{said}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="scripts/benchmark tokenizing", description=__doc__)
    parser.add_argument("--slides", type=Path, help="folder of slides; without: eight demo slides")
    parser.add_argument("--encoder", type=Path, help="weights; without: the demo's small one, and a ViT-S/16")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--num_workers", type=int, default=4)
    parser.add_argument("--compile", action="store_true", help="the encoder, and batches filled up")
    parser.add_argument("--batch_within", default="slide")
    parser.add_argument("--tries", type=int, default=3, help="of each; shown is that of median waiting")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        slides = options.slides or Path(folder, "slides")
        if options.slides is None:
            make_demo_slides(slides, n_slides=8, mpp=_DEMO_MPP)
        write_vit_s(Path(folder, "vit_s16.pt"), _DEMO_MPP if options.slides is None else 0.5)
        own = {"demo's encoder": ROOT / "models" / "demo_patch_encoder.pt", "ViT-S/16": Path(folder, "vit_s16.pt")}
        encoders = own if options.encoder is None else {options.encoder.name: options.encoder}
        found = []
        for name, path in encoders.items():
            ids = {name: getattr(options, name) for name in ("device", "num_workers", "compile", "batch_within")}
            tries = sorted((profile(slides, path, ids) for _ in range(options.tries)), key=lambda p: p.without_batch)
            found.append((name, tries[len(tries) // 2]))
    print(table(found))


if __name__ == "__main__":
    main()
