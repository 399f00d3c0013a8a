"""DICOM: a series is a slide, whatever its files are called and however many lie in one folder."""

import numpy as np
import pytest

from bundle.cohort import find_slides
from bundle.cohort.dicom_series import dicom_instance
from bundle.slides import open_slide
from scripts.pins.dicom_files import BIG_ENDIAN, EXPLICIT, IMPLICIT, data_set, write_dicom, write_wsi

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


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
def test_ways_of_writing(tmp_path, syntax):
    """Little and big endian, with kinds of values and without; behind sequences and items of lengths given or not."""
    inner = data_set(SeriesInstanceUID="9.9.9", CodeMeaning="of another")
    data = {"ReferencedSeriesSequence": inner, "ReferencedStudySequence": data_set(SOPClassUID="9.9")}
    data |= {"ReferencedImageSequence": data_set(SeriesInstanceUID="9.8"), "SeriesInstanceUID": "1.2.3"}
    inner.is_undefined_length_sequence_item = True
    ends = ["ReferencedSeriesSequence", "ReferencedStudySequence"]
    for kind in ("VOLUME", "LABEL"):
        path = write_dicom(
            tmp_path / "a", syntax, ends, ImageType=["ORIGINAL", "PRIMARY", kind], PatientName="A^B", **data
        )
        assert dicom_instance(path) == ("1.2.3", True, kind == "VOLUME")


def test_one_series_has_its_folder_s_name(tmp_path):
    """With or without a suffix, its label included; files of other kinds in the folder are none."""
    for name, number, kind in (("0", 1, "VOLUME"), ("1", 2, "LABEL"), ("2", 3, "OVERVIEW")):
        write_wsi(tmp_path / "plain" / f"{name}.dcm", BLANK, "1.2.3", number=number, kind=kind)
        write_wsi(tmp_path / "bare" / f"IM{name}", BLANK, "1.2.3", number=number, kind=kind)
        write_wsi(tmp_path / "uid" / f"1.2.840.{name}", BLANK, "1.2.3", number=number, kind=kind)
    write_wsi(tmp_path / "plain" / "label_alone.dcm", BLANK, "1.2.4", kind="LABEL")
    for name in ("plain/a_report.dcm", "bare/DICOMDIR"):
        write_dicom(tmp_path / name, SOPClassUID="1.2.840.10008.5.1.4.1.1.88.22", SeriesInstanceUID="1.2.9")
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
