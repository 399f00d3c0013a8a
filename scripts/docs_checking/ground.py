"""What the commands of the pages find: the demo, run once, and files in the layouts of other tools; a folder a page."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..pins import foreign_features as theirs
from ..pins.changes import copy_repository
from ..pins.records import made_once, read_rows
from .printed import ROOT
from .quick_python import link_environment

_ONE_TIME = 1_000_000_000  # of all files of the repository's copies: nothing looks newer than .venv
_CHOSEN = tuple(f"demo_{number:02d}" for number in range(12))
N_FEATURES = 6
_SIZE = (20000, 18000)  # level-0 px of slides whose features other tools have made
_MPP = 0.25


class Ground:
    """A folder: the demo, files of others, and ``pages/<page>``.

    Args:
        folder: of all of it.
        demo: a folder in which ``slpd demo`` has run; None: it is run here.
    """

    def __init__(self, folder: Path, demo: Path | None = None) -> None:
        self.folder = folder.resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        if demo is not None:
            made_once(self.folder / "demo", lambda place: shutil.copytree(demo, place))
        self._makers: dict[str, Callable[[Path], Any]] = {
            "demo": _run_demo,
            "cohort": self._choose_slides,
            "features": _write_features,
            "feature_slides": _write_feature_slides,
            "quick_slides": _draw_slides,
            "index": self._make_index,
            "slides.csv": self._write_table,
            "splits.csv": self._write_splits,
            "titan": self._write_vectors,
            "patch_encoder.pt": lambda place: shutil.copy(ROOT / "models" / "demo_patch_encoder.pt", place),
            "about.md": lambda place: place.write_text("Weights of the demo, to try things with.\n", encoding="utf-8"),
        }

    def source(self, name: str) -> Path:
        """A file or folder of the ground; made where it is missing."""
        top, _, rest = name.partition("/")
        return made_once(self.folder / top, self._makers[top]) / rest

    def page_folder(self, page: str, files: dict[str, str | None], is_fresh: bool) -> Path:
        """The folder of a page: the repository, and what its commands find there."""
        place = self.folder / "pages" / page.removesuffix(".md").replace("/", "_")
        if is_fresh:
            shutil.rmtree(place, ignore_errors=True)
        if not place.exists():
            copy_repository(place)
            for path in place.rglob("*"):
                os.utime(path, (_ONE_TIME, _ONE_TIME))
            self.put(place, files)
        link_environment(place)
        return place

    def put(self, place: Path, files: dict[str, str | None]) -> None:
        """Names in a page's folder, each a copy of something of the ground, or nothing."""
        for name, source in files.items():
            own = place / name
            shutil.rmtree(own) if own.is_dir() else own.unlink(missing_ok=True)
            if source is not None:
                own.parent.mkdir(parents=True, exist_ok=True)
                found = self.source(source)
                shutil.copytree(found, own) if found.is_dir() else shutil.copy2(found, own)

    def _choose_slides(self, place: Path) -> None:
        """The demo's results with some of its slides, so that each command takes seconds."""
        shutil.copytree(self.source("demo"), place)
        for path in [*place.rglob("*.tif"), *place.rglob("*.h5")]:
            if not path.name.startswith(_CHOSEN):
                path.unlink()

    def _write_table(self, place: Path) -> None:
        """One table for all slides: those of the demo, the larger ones, and those of other tools' features."""
        rows = [{**row, "mpp": "4"} for row in read_rows(self.source("demo/slides/slide_table.csv"))]
        classes = sorted({row["label"] for row in rows})
        for number in range(N_FEATURES):
            own = {"slide": f"theirs_{number}", "patient": f"theirs_{number}", "site": "site_d", "mpp": str(_MPP)}
            rows.append({**own, "label": classes[number % 2]})
        for row in read_rows(self.source("quick_slides/slide_table.csv")):
            rows.append({**row, **{name: f"quick_{row[name]}" for name in ("slide", "patient")}, "mpp": "2"})
        with open(place, "w", newline="", encoding="utf-8") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(["slide", "label", "diagnosis", "patient", "site", "mpp"])
            table.writerows([r["slide"], r["label"], r["label"], r["patient"], r["site"], r["mpp"]] for r in rows)

    def _write_splits(self, place: Path) -> None:
        patients = sorted({row["patient"] for row in read_rows(self.source("demo/slides/slide_table.csv"))})
        lines = [f"{patient},{'test' if number % 3 == 0 else 'train'}" for number, patient in enumerate(patients)]
        place.write_text("\n".join(["patient,split", *lines, ""]), encoding="utf-8")

    def _write_vectors(self, place: Path) -> None:
        """A vector a slide, as another tool would give."""
        import h5py

        place.mkdir()
        for number, path in enumerate(sorted(self.source("cohort/tokens").glob("*.h5"))):
            with h5py.File(place / path.name, "w") as file:
                file["features"] = np.random.default_rng(number).standard_normal(32, np.float32)

    def _make_index(self, place: Path) -> None:
        embeddings = self.source("cohort/eval/inference/embeddings")
        _slpd("search", "--dataset_dir", embeddings, "--index_dir", place, "--slide_table", self.source("slides.csv"))


def _slpd(*words: object) -> None:
    subprocess.run(["bash", str(ROOT / "scripts" / "slpd"), *map(str, words)], check=True, stdout=subprocess.DEVNULL)


def _run_demo(place: Path) -> None:
    print("the demo, some minutes; --demo FOLDER takes one that is there", flush=True)
    subprocess.run(["bash", str(ROOT / "scripts" / "slpd"), "demo", str(place)], check=True)


def _draw_slides(place: Path) -> None:
    """Slides for the small patch encoder of ``--quick``, which looks at 2 um/px."""
    from bundle.demo.demo_slides import make_demo_slides

    make_demo_slides(place, n_slides=8, seed=3, mpp=2.0, regions=3, task="neighbors", n_workers=1)
    for path in place.glob("*.tif"):
        path.rename(path.with_name(f"quick_{path.name}"))


def _write_features(place: Path) -> None:
    """Layouts of other tools."""
    for number in range(N_FEATURES):
        name, xy = f"theirs_{number}", theirs.lattice(number)
        of = partial(theirs.features, len(xy), number)
        theirs.write_trident(place / "trident" / f"{name}.h5", xy, of(1024), encoder="uni_v1")
        theirs.write_atlas(place / "atlas" / "patches" / f"{name}.h5", xy, {"uni_v1": of(1024)})
        theirs.write_clam(place / "clam", name, xy, of(1024))
        theirs.write_stamp(place / "stamp" / f"{name}.h5", xy, of(24))
        theirs.write_slide2vec(place / "slide2vec", name, xy, of(2560))
        theirs.write_plain(place / "plain" / f"{name}.h5", xy, of(24))
        _write_hipt(place, name, number)


def _write_hipt(place: Path, name: str, number: int) -> None:
    """HIPT's: all regions of a slide in one tensor, their places in a table beside."""
    import torch

    corners = [(column * 8192, row * 8192) for row in range(2) for column in range(2)]
    values = theirs.features(len(corners) * 256, number, 384).reshape(len(corners), 256, -1)
    for folder in ("hipt", "hipt_names"):
        (place / folder).mkdir(exist_ok=True)
    torch.save(torch.from_numpy(values), place / "hipt" / f"{name}.pt")
    lines = ["x,y", *(f"{x},{y}" for x, y in corners), ""]
    (place / "hipt_names" / f"{name}.csv").write_text("\n".join(lines), encoding="utf-8")


def _write_feature_slides(place: Path) -> None:
    """Empty slides of the size that those features are of; headers alone are read."""
    import tifffile

    place.mkdir()
    width, height = _SIZE
    side = 2048
    blank = np.full((side, side, 3), 240, np.uint8)
    tiles = (blank for _ in range(-(-height // side) * -(-width // side)))
    first = place / "theirs_0.tif"
    tifffile.imwrite(
        first, tiles, shape=(height, width, 3), dtype=np.uint8, tile=(side, side), compression="zlib",
        photometric="rgb", resolution=(1e4 / _MPP, 1e4 / _MPP), resolutionunit="CENTIMETER",
    )  # fmt: skip
    for number in range(1, N_FEATURES):
        shutil.copy(first, place / f"theirs_{number}.tif")
