"""DICOM: a series is a slide, whatever its files are called and however many lie in one folder."""

import struct

import numpy as np
import pytest

from bundle.cohort import find_slides
from bundle.cohort.dicom_series import dicom_instance
from bundle.slides import open_slide
from scripts.pins.dicom_files import (
    BIG_ENDIAN,
    EXPLICIT,
    IMPLICIT,
    UNDEFINED,
    WHOLE_SLIDE,
    element,
    item,
    write_dicom,
    write_wsi,
)

BLANK = np.full((100, 120, 3), 220, np.uint8)


def test_two_series_in_a_folder_are_two_slides(tmp_path):
    """The second was left out without a word; each is opened with its own levels."""
    pictures = [np.full((200, 260, 3), 180, np.uint8), np.full((140, 300, 3), 90, np.uint8)]
    for name, picture in zip("AB", pictures, strict=True):
        for number, step in ((1, 1), (2, 4)):
            path = tmp_path / "study" / f"{name}_{number}.dcm"
            write_wsi(path, picture[::step, ::step], f"1.2.{ord(name)}", mpp=0.5 * step, number=number)
    found = find_slides(tmp_path)
    assert [ref.slide_id for ref in found] == ["study__A_1", "study__B_1"]
    for ref, picture in zip(found, pictures, strict=True):
        with open_slide(ref.path) as slide:
            assert (slide.reader, slide.mpp, slide.level_downsamples) == ("openslide", 0.5, [1, 4])
            assert np.abs(slide.read(0, 0, *picture.shape[1::-1], 0.5)[0].astype(int) - picture).max() <= 2


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"])
def test_files_that_pydicom_writes(tmp_path, syntax):
    """The header is found in every transfer syntax, behind sequences of either length; pydicom reads our files, too."""
    pydicom = pytest.importorskip("pydicom")
    data = pydicom.Dataset()
    data.SOPClassUID, data.SOPInstanceUID, data.ImageType = WHOLE_SLIDE, "1.2.3.4", ["ORIGINAL", "PRIMARY", "VOLUME"]
    inner = pydicom.Dataset()
    inner.SeriesInstanceUID, inner.CodeMeaning = "9.9.9", "of another"
    data.ReferencedSeriesSequence = pydicom.Sequence([inner])
    data["ReferencedSeriesSequence"].is_undefined_length = True
    data.PatientName, data.SeriesInstanceUID = "A^B", "1.2.840.1"
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = syntax
    pydicom.dcmwrite(tmp_path / "a", data, enforce_file_format=True)
    assert dicom_instance(tmp_path / "a") == ("1.2.840.1", True, True)
    write_wsi(tmp_path / "b.dcm", BLANK, "1.2.840.2", mpp=0.5, number=3)
    read = pydicom.dcmread(tmp_path / "b.dcm")
    assert (read.SeriesInstanceUID, read.TotalPixelMatrixColumns, int(read.InstanceNumber)) == ("1.2.840.2", 120, 3)


def test_one_series_has_its_folder_s_name(tmp_path):
    """With or without a suffix, its label included; files of other kinds in the folder are none."""
    for name, number, kind in (("0", 1, "VOLUME"), ("1", 2, "LABEL"), ("2", 3, "OVERVIEW")):
        write_wsi(tmp_path / "plain" / f"{name}.dcm", BLANK, "1.2.3", number=number, kind=kind)
        write_wsi(tmp_path / "bare" / f"IM{name}", BLANK, "1.2.3", number=number, kind=kind)
        write_wsi(tmp_path / "uid" / f"1.2.840.{name}", BLANK, "1.2.3", number=number, kind=kind)
    write_wsi(tmp_path / "plain" / "label_alone.dcm", BLANK, "1.2.4", kind="LABEL")
    report = [element(8, 0x16, "UI", "1.2.840.10008.5.1.4.1.1.88.22"), element(0x20, 0x0E, "UI", "1.2.9")]
    write_dicom(tmp_path / "plain" / "a_report.dcm", report)
    write_dicom(tmp_path / "bare" / "DICOMDIR", report)
    (tmp_path / "bare" / "README").write_text("no DICOM")
    found = find_slides(tmp_path)
    assert [(ref.slide_id, ref.path.name, ref.relative) for ref in found] == [
        ("bare", "IM0", "bare"),
        ("plain", "0.dcm", "plain"),
        ("uid", "1.2.840.0", "uid"),
    ]


def test_files_beside_one_another_at_the_top(tmp_path):
    """Without a folder of their own, series are called like their first files; a UID's numbers are no suffix."""
    write_wsi(tmp_path / "1.2.5", BLANK, "1.2.5")
    write_wsi(tmp_path / "b.dcm", BLANK, "1.2.6")
    write_wsi(tmp_path / "c.dcm", BLANK, "1.2.6", number=2)
    assert [ref.slide_id for ref in find_slides(tmp_path)] == ["1.2.5", "b"]


def test_a_known_series_keeps_its_id(tmp_path):
    """Another series comes into its folder: that which was there before is still called like the folder."""
    path = write_wsi(tmp_path / "s" / "a.dcm", BLANK, "1.2.3")
    known = {"s": ("a.dcm", path.stat().st_size)}
    assert [ref.slide_id for ref in find_slides(tmp_path, known=known.get)] == ["s"]
    write_wsi(tmp_path / "s" / "b.dcm", np.zeros((100, 120, 3), np.uint8), "1.2.4")
    assert [ref.slide_id for ref in find_slides(tmp_path, known=known.get)] == ["s", "s__b"]


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
def test_ways_of_writing(tmp_path, syntax):
    """Little and big endian, with kinds of values and without; sequences of lengths that are given or not."""
    how = {"order": ">" if syntax == BIG_ENDIAN else "<", "implicit": syntax == IMPLICIT}
    inner = element(8, 0x1150, "UI", "9.9", **how) + element(0x20, 0x0E, "UI", "no.series", **how)
    ends = [struct.pack(how["order"] + "HHI", 0xFFFE, number, 0) for number in (0xE00D, 0xE0DD)]
    begin = struct.pack(how["order"] + "HHI", 0xFFFE, 0xE000, UNDEFINED)
    elements = [
        element(8, 8, "CS", "ORIGINAL\\PRIMARY\\VOLUME\\NONE", **how),
        element(8, 0x16, "UI", WHOLE_SLIDE, **how),
        element(8, 0x1111, "SQ", begin + inner + ends[0] + ends[1], length=UNDEFINED, **how),
        element(8, 0x1115, "SQ", item(inner, order=how["order"]), **how),
        element(0x20, 0x0E, "UI", "1.2.3", **how),
        element(0x28, 0x10, "US", 5, **how),
    ]
    path = write_dicom(tmp_path / "a", elements, syntax)
    assert dicom_instance(path) == ("1.2.3", True, True)
    elements[0] = element(8, 8, "CS", "ORIGINAL\\PRIMARY\\LABEL\\NONE", **how)
    assert dicom_instance(write_dicom(path, elements, syntax)) == ("1.2.3", True, False)


def test_damaged_headers_are_no_instances(tmp_path):
    """Cut anywhere, or with bytes changed at random: no more than an answer, right or none."""
    whole = write_wsi(tmp_path / "a", BLANK, "1.2.3").read_bytes()[:800]
    random, path = np.random.default_rng(0), tmp_path / "b"
    for trial in range(300):
        data = bytearray(whole[: random.integers(len(whole))] if trial % 2 else whole)
        for _ in range(5 * (trial % 2 == 0)):
            data[random.integers(132, len(data))] = random.integers(256)
        path.write_bytes(bytes(data))
        found = dicom_instance(path)
        assert found is None or isinstance(found.series, str)
