"""``python -m scripts.bench``: each part beside a slow restatement of the published way, in one run."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

GROUPS = ("loss", "step", "recluster", "matching", "store", "reading", "encoder", "widths", "importing")


def main() -> None:
    """Measure groups, each in a process of its own, and write tables and pictures."""
    options = _parse()
    if options.measure:
        _measure(options)
        return
    folder: Path = options.output
    folder.mkdir(parents=True, exist_ok=True)
    for threads in options.threads:
        for group in options.groups:
            target = folder / "raw" / f"{options.device}-{threads}-{group}.json"
            if options.resume and target.exists():
                continue
            print(f"{group}, {threads} thread(s)", flush=True)
            call = [sys.executable, "-m", "scripts.bench", group, "--measure", str(target)]
            call += ["--device", options.device, "--threads", str(threads), "--rounds", str(options.rounds)]
            environment = os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
            if subprocess.run(call, env=environment, check=False).returncode:
                print(f"{group} failed; the others go on", file=sys.stderr)
    _write(folder, options.device)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/benchmark", description=__doc__)
    parser.add_argument("groups", nargs="*", default=list(GROUPS), metavar="GROUP", help=f"of {', '.join(GROUPS)}")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="each is measured by itself")
    parser.add_argument("--rounds", type=int, default=7, help="in each of which all ways run in turn")
    parser.add_argument("--output", type=Path, default=Path("docs/benchmarks"), help="folder of tables and pictures")
    parser.add_argument("--resume", action="store_true", help="keep what is there, measure what is missing")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    unknown = set(options.groups) - set(GROUPS)
    if unknown:
        parser.error(f"no group {', '.join(sorted(unknown))}: choose from {', '.join(GROUPS)}")
    return options


def _measure(options: argparse.Namespace) -> None:
    import torch

    from .measure import measure

    threads = options.threads[0]
    torch.set_num_threads(threads)
    before = _ratios(options.measure)
    results: list[dict[str, Any]] = []
    cases = importlib.import_module(f"scripts.bench.{options.groups[0]}").cases(options.device, threads)
    for case, timings in zip(cases, measure(cases, options.rounds, options.device), strict=True):
        fields = {name: getattr(case, name) for name in ("group", "title", "work", "unit", "goal", "note")}
        told = [timing._asdict() | {"before": before.get((case.title, timing.name))} for timing in timings]
        results.append(fields | {"timings": told})
    options.measure.parent.mkdir(parents=True, exist_ok=True)
    machine = {
        "device": _device(options.device),
        "torch": torch.__version__,
        "threads": threads,
        "rounds": options.rounds,
    }
    options.measure.write_text(json.dumps(machine | {"results": results}, indent=1) + "\n")


def _ratios(path: Path) -> dict[tuple[str, str], float]:
    """Of the table that is replaced, by title of the case and way."""
    results = json.loads(path.read_text())["results"] if path.exists() else []
    return {(result["title"], each["name"]): each["ratio"] for result in results for each in result["timings"]}


def _device(device: str) -> str:
    if device == "cuda":
        import torch

        return torch.cuda.get_device_name()
    table = Path("/proc/cpuinfo")
    lines = table.read_text().splitlines() if table.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    flags = next((line for line in lines if line.startswith("flags")), "")
    extra = [name.upper() for name in ("avx512_bf16", "amx_bf16") if name in flags]
    return ", ".join([names[0] if names else platform.processor() or platform.machine(), *extra])


def _write(folder: Path, device: str) -> None:
    """Join the raw results of a device: one page, one picture a number of threads."""
    from .report import markdown, picture

    runs: dict[int, list[dict[str, Any]]] = {}
    for group in GROUPS:
        for path in sorted(folder.glob(f"raw/{device}-*-{group}.json")):
            run = json.loads(path.read_text())
            runs.setdefault(run["threads"], []).append(run)
    lines = [
        f"# Benchmarks, {device}",
        "",
        "Before: in the table that this one has replaced, perhaps of another machine.",
        "",
    ]
    for threads, parts in sorted(runs.items()):
        results = [result for part in parts for result in part["results"]]
        rounds = " or ".join(map(str, sorted({part["rounds"] for part in parts})))
        about = f"{parts[0]['device']}; torch {parts[0]['torch']}; {threads} thread(s); {rounds} rounds"
        name = f"{device}-{threads}.png"
        picture(results, about).savefig(folder / name, dpi=130)
        lines += [f"## {threads} thread(s)", "", f"{about}.", "", f"![times as fast as the reference]({name})", ""]
        lines += [markdown(results)]
    (folder / f"{device}.md").write_text("\n".join(lines).rstrip() + "\n")


if __name__ == "__main__":
    main()
