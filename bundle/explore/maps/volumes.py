"""Maps for 3D Slicer and MONAI Label: NIfTI volumes of one section, in mm."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from ...core import write_bytes
from ...storage import SlideEmbeddings
from .layers import Layer, slide_layers
from .map_picture import LUMINANCE
from .map_request import MapRequest
from .token_raster import TokenRaster

_SCANNER = 1  # NIfTI's code for coordinates of the scanner


class NiftiMaps:
    """Writes ``<slide>.<layer>.nii.gz``, [columns, rows, 1], a layer, and the slide in gray, ``<slide>.slide.nii.gz``.

    The slide's x (right) is the patient's left and its y (down) is posterior, in mm from the slide's top-left corner:
    the picture stands as on the slide in the axial view of a radiologist's viewer, and readers that count in LPS (ITK,
    MONAI's ITKReader) see x and y of the slide without any sign. NIfTI itself counts in RAS: its affine has both
    negative. Prototypes are labels (uint16; 0: none, or no tissue), everything else is float32, NaN where there is
    nothing. The slide is gray because MONAI's readers take no colors from NIfTI.
    """

    def __call__(self, slide: SlideEmbeddings, request: MapRequest, folder: Path) -> list[Path]:
        """Write the files and say where."""
        raster = TokenRaster.of(slide)
        spacing = raster.pitch_um / 1000
        x, y = (start * raster.level0_mpp / 1000 for start in raster.origin)
        affine = slide_affine(spacing, x, y)
        paths = []
        for layer in slide_layers(slide, raster, request.layers, request.prototype):
            paths.append(folder / f"{slide.slide_id}.{layer.name}.nii.gz")
            _write(paths[-1], _voxels(layer), affine)
        found = request.thumbnail_of(slide)
        if found is not None:
            picture, mpp = found
            paths.append(folder / f"{slide.slide_id}.slide.nii.gz")
            voxels = (picture @ LUMINANCE).round().astype(np.uint8).T[..., None]
            _write(paths[-1], voxels, slide_affine(mpp / 1000, 0.0, 0.0, spacing))
        return paths


def slide_affine(spacing_mm: float, x_mm: float, y_mm: float, thickness_mm: float | None = None) -> NDArray[np.float64]:
    """Voxel (column, row, 0) -> RAS in mm of its center, [4, 4].

    Args:
        spacing_mm: side of a voxel on the slide.
        x_mm, y_mm: top-left corner of voxel (0, 0) on the slide, from the slide's corner.
        thickness_mm: extent across the slide, which means nothing; None: as ``spacing_mm``.
    """
    affine = np.diag([-spacing_mm, -spacing_mm, spacing_mm if thickness_mm is None else thickness_mm, 1.0])
    affine[:2, 3] = -(x_mm + spacing_mm / 2), -(y_mm + spacing_mm / 2)
    return affine


def _voxels(layer: Layer) -> NDArray[np.generic]:
    across = layer.values.T[..., None]
    return np.nan_to_num(across, nan=0).astype(np.uint16) if layer.kind == "prototypes" else across


def _write(path: Path, voxels: NDArray[np.generic], affine: NDArray[np.float64]) -> None:
    image = nib.Nifti1Image(voxels, affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, _SCANNER)
    image.set_qform(affine, _SCANNER)
    write_bytes(path, gzip.compress(image.to_bytes(), mtime=0))
