"""What is known of a slide before its features are read, and what a token file records of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...cohort import SlideRow
from ...core import SlideError
from ...networks import EncoderContract
from ...slides import SlideReading
from .geometry import Scale, ScaleFinder, in_pixels
from .identity import FeatureKind
from .import_table import ImportRecord
from .known_encoders import KnownEncoders, recorded_contract
from .laying import Laid, patch_length
from .layouts.h5_patches import folder_encoder
from .layouts.layout import FeatureFile, Said


class Look(NamedTuple):
    """A slide by its headers.

    Attributes:
        said: what its file says; lengths in level-0 px.
        scale: of level 0.
        kind: what its features are.
        mpp: um/px of the pixels that were encoded: computed, never that of a magnification.
        layout: of the file.
        slide_file: name of the slide's own file, or of the features' where it is not there.
        model: of the registry, whose contract its encoder has; None where it has none there.
    """

    said: Said
    scale: Scale
    kind: FeatureKind
    mpp: float
    layout: str
    slide_file: str
    model: EncoderContract | None = None


def look_at(
    file: FeatureFile, scales: ScaleFinder, layout: str, encoder: str = "", known: KnownEncoders | None = None
) -> Look:
    """Read what a file says of its features.

    Args:
        file: the slide.
        scales: where its um/px comes from.
        layout: of the file.
        encoder: the one that is asked for, by the name in the file or of its folder; empty: any.
        known: models with contracts; None: none are.

    Raises:
        SlideError: it cannot be read, is empty, of another encoder, of another length than its encoder gives, or does
            not say what is needed; the message says who can.
    """
    said = file.say()
    if said.n_rows == 0:
        raise SlideError(f"slide {file.slide_id}: {file.path} holds no patch: its tool found no tissue, or failed.")
    if not said.encoder:
        raise SlideError(
            f"slide {file.slide_id}: {file.path} does not say which encoder made it; give its name with --encoder."
        )
    if encoder and encoder.removesuffix("_tiles") != said.encoder and encoder != folder_encoder(file.path):
        raise SlideError(f"slide {file.slide_id}: {file.path} holds features of {said.encoder}, not of {encoder}.")
    if said.patch_px is None:
        raise SlideError(
            f"slide {file.slide_id}: neither {file.path} nor a file of coordinates says how many px its patches have; "
            "give the folder of coordinates (--coords_dir), or --patch_size."
        )
    side_px = said.patch_px
    scale = scales.find(file, said)
    said = in_pixels(said, scale.level0_mpp)
    mpp = said.mpp or scale.level0_mpp * patch_length(file, said) / side_px
    kind = FeatureKind(f"{said.encoder} ({layout})", said.dim, round(side_px))
    ref = scales.slides.get(file.slide_id)
    model = None if known is None else known.contract(said.encoder, layout, said.dim, file)
    return Look(said, scale, kind, mpp, layout, file.path.name if ref is None else ref.path.name, model)


def fingerprint(file: FeatureFile, look: Look, xy: NDArray[np.float64]) -> dict[str, Any]:
    """What tells that a slide's features, its coordinates, or the scale that it is read at, are others by now."""
    source = SlideReading(file.path, SlideRow()).record()
    return {
        "slide_id": file.slide_id,
        "source": file.path.name,
        "source_bytes": source["slide_bytes"],
        "source_sample": source["slide_sample"],
        "coords_sha256": hashlib.sha256(np.ascontiguousarray(xy).tobytes()).hexdigest(),
        "level0_mpp": look.scale.level0_mpp,
    }


def attributes(look: Look, laid: Laid) -> dict[str, Any]:
    """What a token file records of where its tokens come from and how they were laid."""
    said, scale, patch, side = look.said, look.scale, laid.patch_level0, laid.rows.shape[1]
    width, height = scale.size or (laid.extent + patch).round().astype(int).tolist()
    return {
        "slide_path": look.slide_file,
        "mpp_source": scale.mpp_source,
        "level0_width": width,
        "level0_height": height,
        "is_size_known": scale.size is not None,
        "read_mpp": look.mpp,
        "encoder": look.kind.encoder,
        **recorded_contract(look.model, look.layout, look.kind.patch_px),
        "patch_size_px": look.kind.patch_px,
        "patch_size_level0": patch,
        "region_size_px": round(side * laid.pitch * look.kind.patch_px / patch),
        "region_size_level0": round(side * laid.pitch, 3),
        "pitch_level0": laid.pitch,
        "pitch_derived": "none" if laid.derived is None else laid.derived,
        "moved_share": laid.n_moved / said.n_rows,
        "moved_px": laid.moved_px,
        "left_out": laid.n_left_out,
        "reader": look.layout,
        "source_dtype": said.dtype,
        "encode_background": bool(said.region_patches) and bool((laid.rows >= 0).all()),  # every patch has a token
    }


def record_of(
    slide_id: str, status: str, look: Look, found: Mapping[str, Any], n_patches: int, n_regions: int
) -> ImportRecord:
    """The line of a slide whose token file was written, or was there, by what the file records.

    Args:
        slide_id: id.
        status: ``done`` or ``skipped``.
        look: by its headers.
        found: what the token file recorded when it was made.
        n_patches, n_regions: of the file.
    """
    pitch = float(found.get("pitch_level0", 0.0))
    return ImportRecord(
        slide_id,
        status,
        look.layout,
        look.kind.encoder,
        look.kind.dim,
        patches=n_patches,
        regions=n_regions,
        left_out=int(found.get("left_out", 0)),
        not_finite=int(found.get("not_finite", 0)),
        moved_share=float(found.get("moved_share", 0.0)),
        moved_px=float(found.get("moved_px", 0.0)),
        pitch_level0=pitch,
        overlap=max(0.0, round(1 - pitch / float(found.get("patch_size_level0", pitch or 1.0)), 3)),
        level0_mpp=look.scale.level0_mpp,
        mpp=look.mpp,
    )
