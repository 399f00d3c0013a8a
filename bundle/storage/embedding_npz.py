"""The same record as one ``.npz``, for scripts that want NumPy and nothing else."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np

from .. import __version__
from ..core import BundleError, write_bytes
from .embedding_record import SlideEmbeddings

_ARRAYS = ("features", "projection", "coords", "mask", "slide_embedding", "prototypes", "assignment", "attention")


def write_npz(slide: SlideEmbeddings, path: str | Path) -> None:
    """Write the arrays under their names, and ``attributes``: a JSON text. It loads without ``allow_pickle``.

    Raises:
        BundleError: the file cannot be written; nothing of it remains.
    """
    path = Path(path)
    found = {name: getattr(slide, name) for name in _ARRAYS}
    attributes = {**slide.attributes, "slide_id": slide.slide_id, "bundle_version": __version__}
    arrays = {name: values for name, values in found.items() if values is not None}
    arrays["attributes"] = np.array(json.dumps(attributes, sort_keys=True))
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, packed.getvalue())
    except OSError as error:
        raise BundleError(
            f"embeddings cannot be written to {path} ({error.strerror}): make room, or choose another output_dir; "
            "finished slides are kept."
        ) from error
