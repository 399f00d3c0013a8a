"""The embeddings of a slide, made when they are first asked for: ``configs/inference.yaml`` inside an app."""

from __future__ import annotations

import threading
from functools import lru_cache
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from ..cohort import EMBEDDED, SlideRef
from ..core import KIND_OF, BundleError, FromIds, put_value, user_error
from ..slides import section_named
from ..storage import SlideEmbeddings, read_embeddings
from .label_settings import LabelSettings

_PACKAGE = __name__.split(".")[0]
_KEPT_SLIDES = 32


class SlideService:
    """Embeds slides by running the inference config in this process, one slide at a time, and remembers them.

    What is made lies in ``work_dir`` (tokens, embeddings), so that a slide is encoded once, whatever is asked about it,
    and a new region encoder needs no new tokens.

    Args:
        settings: weights, folders, how slides are read.
    """

    def __init__(self, settings: LabelSettings) -> None:
        self.settings = settings
        self._remembered = lru_cache(_KEPT_SLIDES)(self._embed)
        self._lock = threading.Lock()

    def embeddings(self, path: Path, slide_id: str) -> SlideEmbeddings:
        """The slide's regions; made where they are missing, or where weights or settings are others.

        Args:
            path: the slide.
            slide_id: what tells it from all other slides, by which its files are named; two may share a file name.

        Raises:
            BundleError: the slide cannot be read, has no tissue, or the weights do not fit.
        """
        with self._lock:
            stamps = _stamp(path), _stamp(self.settings.region_encoder_ckpt)
            return self._remembered(
                SlideRef(slide_id, path.absolute(), path.name, section_named(slide_id, path)), stamps
            )

    def _embed(self, slide: SlideRef, stamps: tuple[tuple[int, int], ...]) -> SlideEmbeddings:
        """``stamps`` of slide and weights are there to be remembered by: other files, other embeddings."""
        folder = self.settings.work_dir / "inference"
        ids = {
            **self.settings.how,
            "bundle_root": str(self.settings.bundle_root),
            # the id as an object: a text that begins with $ would be evaluated
            "inputs": {"_target_": "bundle.pipelines.InferenceInputs", "refs": [slide], "are_slides": True},
            "output_dir": str(folder),
            "tokens_dir": str(self.settings.tokens_dir),
            "patch_encoder_ckpt": str(self.settings.patch_encoder_ckpt),
            "region_encoder_ckpt": str(self.settings.region_encoder_ckpt),
        }
        config = ConfigParser.load_config_file(str(self.settings.bundle_root / "configs" / "inference.yaml"))
        del config["imports"], config["from_ids"]  # of a package called bundle, which may be another one here
        parser = ConfigParser(own_targets(config | ids | {"from_ids": None}))
        parser.parse(True)
        put_value(parser, "from_ids", FromIds(parser.config, parser.ref_resolver.get_resolved_content))
        for name in KIND_OF.keys() & ids.keys():  # paths and names as they are: MONAI's parser takes # for its own
            put_value(parser, name, ids[name])
        try:
            evaluator = parser.get_parsed_content("evaluator", instantiate=True)
            evaluator.run()
        except Exception as error:  # MONAI wraps what its config's parts raise
            mistake = user_error(error)
            if mistake is None:
                raise
            raise BundleError(_reason(folder / "slides.csv") or str(mistake)) from error
        return read_embeddings(folder / "embeddings" / f"{slide.slide_id}.h5")


def own_targets(node: Any) -> Any:
    """A config whose ``_target_: bundle.*`` are this very package, whatever name it was imported under.

    Several bundles have a package called ``bundle``; the app imports this one under another name, so that they can
    share a process.
    """
    if isinstance(node, dict):
        return {key: _own_name(value) if key == "_target_" else own_targets(value) for key, value in node.items()}
    return [own_targets(value) for value in node] if isinstance(node, list) else node


def _own_name(target: Any) -> Any:
    is_of_bundle = isinstance(target, str) and target.startswith("bundle.")
    return f"{_PACKAGE}.{target.removeprefix('bundle.')}" if is_of_bundle else target


def _reason(index: Path) -> str:
    """Why the one slide of a run failed, in its own words; empty where the run itself did."""
    rows = EMBEDDED.read(index) if index.is_file() else []
    return rows[0].error if len(rows) == 1 else ""


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError as error:
        raise BundleError(f"{path} cannot be read ({error.strerror}).") from error
    return found.st_mtime_ns, found.st_size
