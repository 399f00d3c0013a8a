"""Whole-slide images in DICOM, as small as the standard lets them be, for tests and for the table of formats."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom.encaps import encapsulate

Picture = NDArray[np.uint8]
WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
EXPLICIT, IMPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
_JPEG = "1.2.840.10008.1.2.4.50"


def data_set(**values: Any) -> pydicom.Dataset:
    """A data set of values by their keywords; a value that is a data set becomes a sequence of it."""
    data = pydicom.Dataset()
    for name, value in values.items():
        setattr(data, name, pydicom.Sequence([value]) if isinstance(value, pydicom.Dataset) else value)
    return data


def write_dicom(path: Path, syntax: str = EXPLICIT, open_ended: Sequence[str] = (), **values: Any) -> Path:
    """A file of any values, of a whole slide unless ``SOPClassUID`` is another; ``open_ended`` ones have no length."""
    data = data_set(**{"SOPClassUID": WHOLE_SLIDE, "SOPInstanceUID": "1.2.3", **values})
    for name in open_ended:
        data[name].is_undefined_length = True
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, data, enforce_file_format=True)
    return path


def write_wsi(
    path: Path,
    picture: Picture,
    series: str,
    *,
    mpp: float = 0.5,
    tile: int = 128,
    number: int = 1,
    kind: str = "VOLUME",
) -> Path:
    """A level of a slide, RGB [h, w, 3], in tiles of JPEG."""
    height, width = picture.shape[:2]
    padded = np.pad(picture, ((0, -height % tile), (0, -width % tile), (0, 0)), "edge")
    corners = [(y, x) for y in range(0, height, tile) for x in range(0, width, tile)]
    frames = [_jpeg(padded[y : y + tile, x : x + tile]) for y, x in corners]
    origin, way = ("ORIGINAL", "NONE") if number == 1 else ("DERIVED", "RESAMPLED")
    what: dict[str, Any] = {
        "SOPInstanceUID": f"{series}.{number}",
        "Modality": "SM",
        "ImageType": [origin, "PRIMARY", kind, way],
    }
    what |= {"StudyInstanceUID": "1.2.3.4", "SeriesInstanceUID": series, "InstanceNumber": number}
    stored: dict[str, Any] = {
        "SamplesPerPixel": 3,
        "PhotometricInterpretation": "YBR_FULL_422",
        "PlanarConfiguration": 0,
    }
    stored |= {"NumberOfFrames": len(frames), "Rows": tile, "Columns": tile, "BitsAllocated": 8, "BitsStored": 8}
    stored |= {"HighBit": 7, "PixelRepresentation": 0, "DimensionOrganizationType": "TILED_FULL"}
    whole = {"TotalPixelMatrixColumns": width, "TotalPixelMatrixRows": height, "NumberOfOpticalPaths": 1}
    whole |= {"OpticalPathSequence": data_set(OpticalPathIdentifier="1"), "TotalPixelMatrixFocalPlanes": 1}
    measures = data_set(PixelMeasuresSequence=data_set(PixelSpacing=[mpp / 1000] * 2))
    whole |= {"SharedFunctionalGroupsSequence": measures, "PixelData": encapsulate(frames)}
    return write_dicom(path, _JPEG, ["PixelData"], **what, **stored, **whole)


def _jpeg(picture: Picture) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=95, subsampling=0)
    return file.getvalue()
