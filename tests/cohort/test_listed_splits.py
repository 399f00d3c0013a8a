"""Splits in the shapes that CLAM, HIPT and MCAT publish: lists under train, val and test, a file a split."""

import zipfile

import pytest

from bundle.cohort import SlideTable, on_both_sides, read_splits, separated_patients, split_faults
from bundle.core import BundleError

UNITS = ["p1", "p2", "p3", "p4"]
SLIDES = [["p1-a", "p1-b"], ["p2-a"], ["p3-a"], ["p4-a"]]
APART = ["p1-a", "p1-b", "p2-a", "p3-a", "p4-a"]  # a row a slide
OWNERS = ["p1", "p1", "p2", "p3", "p4"]


def published(folder, *texts):
    """A folder of splits_0.csv, splits_1.csv, ... as pandas writes them, and what CLAM leaves beside."""
    folder.mkdir()
    for number, text in enumerate(texts):
        (folder / f"splits_{number}.csv").write_text(text)
        (folder / f"splits_{number}_descriptor.csv").write_text(",train,val,test\nLUAD,1,1,1\n")
    return folder


def sides(splits):
    return {split.name: (split.train.tolist(), split.test.tolist()) for split in splits}


def test_a_folder_of_splits_is_read_as_it_is_published(tmp_path):
    """Columns of unequal length, an index, ids with a suffix and without; each file is a split, 10 after 9."""
    folder = published(
        tmp_path / "tcga",
        ",train,val,test\n0,p1-a.svs,p3-a,p2-a\n1,p1-b,,stranger\n2,p4-a,,\n",
        ",train,val,test\n0,p2-a,,p1-a\n1,p3-a,,p1-b.svs\n",
    )
    (folder / "splits_1.csv").rename(folder / "splits_10.csv")
    (folder / "splits_9.csv").write_text(",train,val,test\n0,p4-a,,p2-a\n")
    found = read_splits(folder, UNITS, SLIDES)
    wanted = {"split 0": ([0, 3], [1]), "split 9": ([3], [1]), "split 10": ([1, 2], [0])}
    assert found.kind == "folds" and sides(found.splits) == wanted and list(wanted) == [s.name for s in found.splits]
    assert found.notes[0] == "1 rows of tcga match no slide of the evaluation, such as stranger."
    assert "The 0 to 1 rows under val of each split" in found.notes[1]


def test_patients_may_be_listed_and_val_may_be_what_is_predicted(tmp_path):
    """HIPT's splits for survival name patients under train and val, and have no test; rows may be slides even then."""
    folder = published(tmp_path / "s", ",train,val\n0,p1,p2\n1,p3,\n", ",train,val\n0,p2,p1\n1,p4,p3\n")
    found = read_splits(folder, UNITS, SLIDES)
    assert sides(found.splits) == {"split 0": ([0, 2], [1]), "split 1": ([1, 3], [0, 2])}
    assert any("those under val are predicted" in note for note in found.notes)
    by_slide = read_splits(folder, APART, [[slide] for slide in APART], OWNERS)
    assert sides(by_slide.splits)["split 0"] == ([0, 1, 3], [2])


def test_one_file_is_a_fixed_split_also_as_true_and_false(tmp_path):
    """CLAM writes each split twice, once as lists and once with True and False."""
    (tmp_path / "splits_0.csv").write_text(",train,val,test\n0,p1-a,p4-a,p2-a\n1,p1-b,,p3-a\n")
    lines = ["p1-a,True,False,False", "p1-b,True,False,False", "p4-a,False,True,False"]
    lines += ["p2-a,False,False,True", "p3-a,False,False,True"]
    (tmp_path / "splits_0_bool.csv").write_text("\n".join([",train,val,test", *lines, ""]))
    for name in ("splits_0.csv", "splits_0_bool.csv"):
        found = read_splits(tmp_path / name, UNITS, SLIDES)
        assert found.kind == "fixed" and sides(found.splits) == {"test": ([0], [1, 2])}


def test_patients_whose_slides_are_parted_are_found(tmp_path):
    """An error by default; the patients who stand on both sides are told by split, those in val besides are not."""
    folder = published(
        tmp_path / "s", ",train,val,test\n0,p1-a,,p1-b\n1,p2-a,,\n", ",train,val,test\n0,p2-a,p1-b,p3-a\n1,p1-a,,\n"
    )
    with pytest.raises(BundleError, match=r"splits_0.csv.*'p1' stand on different sides.*allow_patient_overlap: true"):
        read_splits(folder, UNITS, SLIDES)
    assert separated_patients(folder, UNITS, SLIDES) == ["p1"]
    assert len(split_faults(folder, UNITS, SLIDES)) == 2
    found = read_splits(folder, APART, [[slide] for slide in APART], OWNERS)
    assert on_both_sides(found.splits, OWNERS) == {"split 0": ["p1"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (",train,val,test\n0,p1-a,,p2-a\n1,p3-a,,p1-a\n", "line 3: 'p1-a' stands under train and test"),
        (",train,val,test\n0,x,,y\n", "matches a .* it names x, y; there are"),
        (",train,val,test\n0,p1-a,,\n", "no patient to predict"),
        ("slide,split\np1-a,train\n", "has no columns train and test"),
    ],
)
def test_mistakes_in_published_splits(tmp_path, text, message):
    """Each names the file, and what to mend."""
    with pytest.raises(BundleError, match=message):
        read_splits(published(tmp_path / "s", text), UNITS, SLIDES)
    (tmp_path / "none").mkdir()
    with pytest.raises(BundleError, match="none is a folder without splits_0.csv"):
        read_splits(tmp_path / "none", UNITS, SLIDES)


def test_tables_of_clam_and_hipt_are_slide_tables(tmp_path):
    """slide_id and case_id stand for slide and patient, censorship is the opposite of an event, a zip is unpacked."""
    text = (
        ",case_id,slide_id,oncotree_code,survival_months,censorship\n0,p1,p1-a.svs,X,3.5,1.0\n1,p2,p2-a.svs,Y,2,0.0\n"
    )
    with zipfile.ZipFile(tmp_path / "t.csv.zip", "w") as archive:
        archive.writestr("../t.csv.zip", text)
    table = SlideTable.read(tmp_path / "t.csv.zip")
    slides = ["p1-a", "p2-a"]
    assert table.patients(slides) == ["p1", "p2"] and table.labels(slides, "oncotree_code") == ["X", "Y"]
    assert table.survival(slides, "survival_months", "censorship", is_opposite=True).tolist() == [[3.5, 0], [2, 1]]
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("a.csv", text)
        archive.writestr("b.csv", text)
    (tmp_path / "cut.zip").write_bytes((tmp_path / "t.csv.zip").read_bytes()[:-40])
    for name, why in (("two.zip", "of several files"), ("cut.zip", "cannot be unpacked")):
        with pytest.raises(BundleError, match=rf"{name}.*{why}.*give a CSV file"):
            SlideTable.read(tmp_path / name)
