"""Slide vectors of other tools: every layout gives the same numbers, and what is none is refused by name."""

import h5py
import numpy as np
import pytest
import torch

from bundle.core import BundleError
from bundle.evaluation import read_slide_vectors

SLIDES = ["slide_0", "S1.2", "b__slide_3"]
ROWS = ["slide_0.svs", "S1.2", "b/slide_3.tif"]
PATHS = ["slide_0.svs", "S1.2.tif", "slide_3.tif"]
VECTORS = np.array([[0.5, -1, 2], [3, 4, 5.25], [-0.125, 0, 1]], np.float32)


def write(folder, layout, slides=SLIDES, vectors=VECTORS):
    """Vectors as one of the tools writes them; the path to give."""
    if layout == "csv":
        path = folder / "v.csv"
        lines = [f"{s},{','.join(map(str, v.tolist()))}" for s, v in zip(ROWS, vectors, strict=True)]
        path.write_text("\n".join(["slide,f0,f1,f2", *lines, ""]))
        return path
    for slide, vector in zip(slides, vectors, strict=True):
        if layout.startswith("h5"):
            with h5py.File(folder / f"{slide}.h5", "w") as file:
                file["features"] = vector[None] if layout == "h5 row" else vector
        elif layout == "npy":
            np.save(folder / f"{slide}.npy", vector.astype(np.float16))
        else:
            torch.save(torch.from_numpy(vector)[None], folder / f"{slide}.pt")
    return folder


@pytest.mark.parametrize("layout", ["csv", "h5", "h5 row", "npy", "pt"])
def test_every_layout_gives_the_vectors(tmp_path, layout):
    """A table, HDF5 as TRIDENT writes it ([d] or [1, d]), NumPy's and torch's files; in the order of the slides."""
    order = [2, 0, 1]
    path = write(tmp_path, layout)
    found = read_slide_vectors({"X": path}, [SLIDES[i] for i in order], [PATHS[i] for i in order])
    np.testing.assert_array_equal(found["X"], VECTORS[order])
    assert found["X"].dtype == np.float32


def test_no_vectors_are_no_encoders():
    """The default."""
    assert read_slide_vectors(None, SLIDES) == {}


def test_slides_without_a_vector_are_named(tmp_path):
    """Those that are needed: five names and the count. What no patient needs may lack one, and is NaN."""
    path = write(tmp_path, "csv")
    more = [*SLIDES, *(f"lost_{i}" for i in range(7))]
    with pytest.raises(BundleError, match=r"X: 7 of 10 slides have no vector .*lost_0, .*, lost_4, \.\.\."):
        read_slide_vectors({"X": path}, more)
    found = read_slide_vectors({"X": path}, more, patients=[SLIDES[:1], SLIDES[1:]])["X"]
    np.testing.assert_array_equal(found[:3], VECTORS)
    assert np.isnan(found[3:]).all()
    with pytest.raises(BundleError, match="1 of 2 slides .*lost_3"):
        read_slide_vectors({"X": path}, more, patients=[["slide_0", "lost_3"]])


def _csv(text):
    return lambda folder: (folder / "v.csv").write_text(text) and folder / "v.csv"


def _files(**values):
    def made(folder):
        for name, value in values.items():
            np.save(folder / f"{name}.npy", value)
        return folder

    return made


def _h5(name, value):
    def made(folder):
        with h5py.File(folder / "slide_0.h5", "w") as file:
            file[name] = value
        return folder

    return made


def _pickled(folder):
    np.save(folder / "slide_0.npy", np.array([{"a": 1}], object), allow_pickle=True)
    return folder


def _damaged(folder):
    (folder / "slide_0.pt").write_bytes(b"no tensor")
    return folder


def _twice(folder):
    torch.save(torch.zeros(3), write(folder, "npy") / "slide_0.pt")
    return folder


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_csv("name,f0\nslide_0,1\n"), "holds no slide vectors .*name, f0"),
        (_csv("slide\nslide_0\n"), "holds no slide vectors"),
        (_csv("slide,f0,label\nslide_0,1,tumor\n"), "line 2: a cell is no number .*tumor"),
        (_csv("slide,f0\nslide_0,1\nslide_0,2\n"), "line 3: slide 'slide_0'"),
        (_csv("slide,f0\n,1\n"), "line 2: slide ''"),
        (_csv("slide,f0\nslide_0,nan\n"), "slide_0 is not finite"),
        (lambda folder: folder / "lost.csv", "lost.csv cannot be read"),
        (lambda folder: folder, "no file ends with .h5"),
        (_h5("features", np.zeros((40, 3))), r"shape \(40, 3\).*configs/import.yaml"),
        (_h5("vector", np.zeros(3)), "slide_0.h5 cannot be read"),
        (_files(slide_0=np.zeros(3), b=np.zeros(4)), "b has 4 elements, that of slide_0 3|slide_0 3"),
        (_files(slide_0=np.zeros(0)), r"shape \(0,\)"),
        (_pickled, "slide_0.npy cannot be read .*allow_pickle=False"),
        (_damaged, "slide_0.pt cannot be read"),
        (_twice, "two files of vectors for slide_0"),
    ],
)
def test_what_holds_no_vectors_is_refused(tmp_path, make, message):
    """Columns, cells, lengths, features of patches, pickles, damage: the file is named, and what to do."""
    with pytest.raises(BundleError, match=message):
        read_slide_vectors({"X": make(tmp_path)}, ["slide_0"])


@pytest.mark.parametrize("paths", ["vectors.csv", {"X": None}])
def test_a_path_without_a_name_is_refused(paths):
    """What results are to call it has to be said."""
    with pytest.raises(BundleError, match="give a name and a CSV or folder"):
        read_slide_vectors(paths, SLIDES)
