"""``python -m scripts.bench.chain``: the whole chain as ``slpd run`` runs it, and how it grows with the slides.

Files to tokens with the demo's small patch encoder, a short SLPD training (``configs/demo_train.yaml``, epochs as
said), an evaluation by patient, embeddings and an atlas; each step is the command that ``slpd run --dry_run`` prints,
in a process of its own, which is timed from its start to its end. Where a checkout of TRIDENT is named, its own command
finds tissue and patches of the same slides, in its own Python: nothing of it is used here.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from bundle.cohort import TOKENIZED
from bundle.console.chains import slide_steps
from bundle.core import ROOT
from bundle.pipelines import PatchStream
from bundle.slides import find_slides

from ..pins.records import read_rows, write_rows
from . import report
from .processes import CommandError, run_measured
from .scaling import exponent

_COUNTS = (6, 12, 24)
_MPP, _PATCH_PX = 2.016, 32  # as the demo's encoder sees the atlas's slides


def pick(slides: Path, n_slides: int, folder: Path) -> Path:
    """A folder with links to evenly spread ones of the slides by name, and to the files beside a link's target none.

    Raises:
        SystemExit: there are fewer.
    """
    found = sorted(path for path in slides.iterdir() if path.suffix.lower() in (".tif", ".tiff", ".svs"))
    if len(found) < n_slides:
        raise SystemExit(f"{slides} holds {len(found)} slides, {n_slides} are asked for: give other --counts.")
    folder.mkdir(parents=True)
    for i in range(n_slides):
        path = found[i * len(found) // n_slides].resolve()
        (folder / path.name).symlink_to(path)
    return folder


def write_table(source: Path, slides: Path, path: Path, label: str) -> None:
    """The slide table of some slides, its column ``image`` called ``slide``.

    Labels of a single patient, of which nothing can be learned, are left out.

    Raises:
        SystemExit: a slide has no row.
    """
    rows: list[dict[str, Any]]
    rows = [{"slide": row.pop("image", row.get("slide")), **row} for row in read_rows(source)]
    here = {entry.name for entry in slides.iterdir()}
    rows = [row for row in rows if row["slide"] in here]
    if len(rows) != len(here):
        raise SystemExit(f"{source} names {len(rows)} of {len(here)} slides; it needs a row for each, by file name.")
    patients = defaultdict[str, set[str]](set)
    for row in rows:
        patients[row[label]].add(row.get("patient", row["slide"]))
    write_rows(path, [{**row, label: row[label] if len(patients[row[label]]) > 1 else ""} for row in rows])


def measured(n_slides: int, options: argparse.Namespace, folder: Path, before: dict[str, Any]) -> dict[str, Any]:
    """One chain in an empty folder: what each step took, and how much there was of it.

    Args:
        n_slides: evenly spread ones of the folder.
        options: of :func:`main`.
        folder: empty.
        before: what an earlier call has found, which is kept.
    """
    slides = pick(options.slides, n_slides, folder / "slides")
    found = before or _chain(slides, n_slides, options, folder)
    if options.trident and not found["beside"]:
        found["beside"] = _beside(options, slides, folder)
    return found


def _chain(slides: Path, n_slides: int, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    table, work = folder / "table.csv", folder / "work"
    write_table(options.table or options.slides / "manifest.csv", slides, table, options.label)
    ids = {"quick": "true", "patch_encoder_ckpt": str(ROOT / "models" / "demo_patch_encoder.pt"), "device": "cpu"}
    ids |= {"slide_table": str(table), "label": options.label, "mpp": str(_MPP), "patch_size": str(_PATCH_PX)}
    ids |= {"max_epochs": str(options.epochs), "prototype_warmup_epochs": str(options.epochs // 2)}
    took: dict[str, Any] = {}
    for step in slide_steps(str(slides), work, ids):
        words = [sys.executable, "-m", "bundle.console", step.command, *step.words]
        print(f"{time.strftime('%H:%M:%S')} {n_slides} slides: {step.command}", flush=True)
        try:
            took[step.command] = run_measured(words, folder / "log.txt")._asdict()
        except CommandError as error:
            raise SystemExit(f"{error}\n{(folder / 'log.txt').read_text()[-2000:]}") from error
    outcomes = TOKENIZED.read(work / "eval" / "tokenize" / "slides.csv")
    size = {"regions": sum(row.regions for row in outcomes), "patches": sum(row.patches for row in outcomes)}
    return {"slides": n_slides, **size, "steps": took, "load": os.getloadavg()[0], "beside": {}}


def _beside(options: argparse.Namespace, slides: Path, folder: Path) -> dict[str, Any]:
    """What finding tissue (TRIDENT: by Otsu's threshold, without weights) and the patches' places takes, both ways."""
    ours = [sys.executable, "-m", "scripts.bench.chain", "--tissue_of", str(slides)]
    words = [str(options.trident_python), str(options.trident / "run_batch_of_slides.py"), "--wsi_dir", str(slides)]
    words += ["--job_dir", str(folder / "trident"), "--segmenter", "otsu", "--mag", "5", "--patch_size", str(_PATCH_PX)]
    words += ["--max_workers", "0", "--task"]
    ways = {"ours: tissue and places": ours, "TRIDENT: seg": [*words, "seg"], "TRIDENT: coords": [*words, "coords"]}
    found = {}
    for name, command in ways.items():
        print(f"{time.strftime('%H:%M:%S')} {name}", flush=True)
        try:
            found[name] = run_measured(command, folder / "beside.txt")._asdict()
        except CommandError as error:  # what is measured stays
            print(f"{name} is left out: {error}\n{(folder / 'beside.txt').read_text()[-2000:]}", flush=True)
    return found


def _find_tissue(slides: Path) -> None:
    """Tissue and regions of slides one by one, as tokenizing finds them."""
    stream = PatchStream(find_slides(slides), slides / "none", mpp=_MPP, patch_size=_PATCH_PX)
    for job in stream.jobs:
        stream.open(job).close()


def tables(found: dict[str, Any]) -> str:
    """Markdown: wall time and share of each step, peak memory, and how all of it grows."""
    runs = found["runs"]
    steps = list(runs[0]["steps"])
    totals = [sum(step["seconds"] for step in run["steps"].values()) for run in runs]
    head = ["", *(f"{run['slides']} slides" for run in runs), "exponent", "most memory, MiB"]
    rows = []
    for step in steps:
        used = [run["steps"][step] for run in runs]
        cells = [
            f"{use['seconds']:.1f} s ({use['seconds'] / total:.0%})" for use, total in zip(used, totals, strict=True)
        ]
        rows.append([step, *cells, _grows(runs, [use["seconds"] for use in used]), _most(used)])
    most = _most([use for run in runs for use in run["steps"].values()])
    rows.append(["**all**", *(f"**{total:.1f} s**" for total in totals), _grows(runs, totals), most])
    seen = [run for run in runs if run["beside"]]
    for way in seen[0]["beside"] if seen else ():
        used = [run["beside"][way] for run in seen]
        told = [f"{run['beside'][way]['seconds']:.1f} s" if run in seen else "" for run in runs]
        rows.append([way, *told, _grows(seen, [use["seconds"] for use in used]), _most(used)])
    sizes = [[name, *(f"{run[name]:,}" for run in runs), "", ""] for name in ("regions", "patches")]
    return report.table(head, sizes + rows)


def _most(used: Sequence[dict[str, float]]) -> str:
    return f"{max(use['peak_mib'] for use in used):,.0f}"


def _grows(runs: Sequence[dict[str, Any]], seconds: Sequence[float]) -> str:
    return f"{exponent([run['patches'] for run in runs], seconds):.2f}" if len(runs) > 1 else ""


def page(found: dict[str, Any]) -> str:
    """``chain.md``."""
    warmup = found["epochs"] // 2
    about = (
        f"Slides at {_MPP} um/px with the demo's patch encoder (patches of {_PATCH_PX} px, {_MPP * _PATCH_PX:.0f} um), "
        f"{found['epochs']} epochs of `configs/demo_train.yaml`, the last {found['epochs'] - warmup} with prototypes, "
        f"an evaluation of `{found['label']}`, embeddings and an atlas, as `slpd run --quick` runs them. Each step is "
        "a process of its own; its seconds count from its start, imports included. Exponents are over patches; memory "
        "is of a step's largest process."
    )
    about += " `scripts/benchmark chain --slides SLIDES` makes this page of any folder with a table."
    loads = ", ".join(f"{run['load']:.1f}" for run in found["runs"])
    state = "quiet" if found["load"] < 0.5 else "perhaps busy with other work, which makes seconds too many"
    machine = f"{found['threads']} thread(s) on {found['cores']} cores. The machine was {state}: load "
    machine += f"{found['load']:.1f} in the minute before, {loads} after each."
    return f"# The whole chain\n\n{about}\n\n{machine}\n\n{tables(found)}"


def main() -> int:
    """Measure and write ``chain.md`` and the raw numbers."""
    parser = argparse.ArgumentParser(prog="scripts/benchmark chain", description=__doc__)
    parser.add_argument("--slides", type=Path, help="folder of slides; without one this is skipped")
    parser.add_argument("--table", type=Path, help="CSV with a row a slide; without: manifest.csv beside the slides")
    parser.add_argument("--label", default="class", help="the table's column that is evaluated")
    parser.add_argument("--counts", type=int, nargs="+", default=list(_COUNTS), help="slides of each chain")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--resume", action="store_true", help="keep the chains that were measured before")
    parser.add_argument("--trident", type=Path, help="a checkout of TRIDENT, which is run beside it")
    parser.add_argument(
        "--trident_python", type=Path, default=Path(sys.executable), help="Python that has what it needs"
    )
    parser.add_argument("--output", type=Path, default=Path("docs/benchmarks"))
    parser.add_argument("--tissue_of", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.tissue_of is not None:
        _find_tissue(options.tissue_of)
        return 0
    if options.slides is None or not options.slides.is_dir():
        print(f"skipped: no folder of slides ({options.slides}); give one with --slides", file=sys.stderr)
        return 0
    raw = options.output / "raw" / "chain.json"
    before = json.loads(raw.read_text())["runs"] if options.resume and raw.exists() else []
    about = {"label": options.label, "epochs": options.epochs, "cores": os.cpu_count(), "load": os.getloadavg()[0]}
    about["threads"] = torch.get_num_threads()
    found: dict[str, Any] = {**about, "runs": []}
    for n_slides in options.counts:
        with TemporaryDirectory() as folder:
            done: dict[str, Any] = next((run for run in before if run["slides"] == n_slides), {})
            found["runs"].append(measured(n_slides, options, Path(folder), done))
        report.keep(options.output, "chain", found, page(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
