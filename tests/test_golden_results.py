"""The comparison of two commits' results: what it must notice, and what it must not mistake for a difference."""

import gzip
import json
import os
import sys

import h5py
import nibabel
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from safetensors.torch import save_file

from scripts.golden_results.compare import compare_folders
from scripts.golden_results.runs import Bench, RunError, results_of
from scripts.golden_results.steps import Paths, fingerprint, module_of, steps_for

ARRAY = np.arange(12, dtype=np.float32).reshape(3, 4)


def _write_hdf5(path, array):
    with h5py.File(path, "w") as file:
        file["features"] = array
        file.attrs["bundle_version"] = str(np.random.default_rng().integers(10**9))


def _write_tensorboard(path, array):
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(path.parent))
    writer.add_scalar("epoch/loss", float(array[0, 1]), 3)
    writer.add_scalar("epoch/seconds", np.random.default_rng().random(), 3)
    writer.close()


def _write_nifti(path, array):
    image = nibabel.Nifti1Image(array, np.eye(4))
    path.write_bytes(gzip.compress(image.to_bytes(), mtime=np.random.default_rng().integers(10**9)))


WRITERS = {
    "tokens/a.h5": _write_hdf5,
    "inference/a.npz": lambda path, array: np.savez(path, features=array),
    "maps/a.png": lambda path, array: Image.fromarray(array.astype(np.uint8)).save(path),
    "maps/a.ome.tiff": lambda path, array: tifffile.imwrite(path, array, ome=False),
    "maps/a.nii.gz": _write_nifti,
    "maps/a.geojson": lambda path, array: path.write_text(json.dumps({"features": [{"at": array.tolist()}]})),
    "slpd/history.csv": lambda path, array: path.write_text(f"loss,seconds\n{array[0, 1]},{os.urandom(4).hex()}\n"),
    "slpd/last.pt": lambda path, array: torch.save({"teacher": {"weight": torch.from_numpy(array)}}, path),
    "slpd/events": _write_tensorboard,
    "search/part.safetensors": lambda path, array: save_file({"x": torch.from_numpy(array)}, path),
    "search/index.html": lambda path, array: path.write_text(f"<p>{path.parent.parent}: {array[0, 1]}</p>"),
}


def _folders(tmp_path, name, first, second):
    for side, array in (("a", first), ("b", second)):
        (tmp_path / side / name).parent.mkdir(parents=True)
        WRITERS[name](tmp_path / side / name, array)
    return tmp_path / "a", tmp_path / "b"


@pytest.mark.parametrize("name", WRITERS)
def test_only_what_is_exempt_differs(tmp_path, name):
    """Times, versions, paths and durations aside, the same content is the same."""
    found = compare_folders(*_folders(tmp_path, name, ARRAY, ARRAY))
    assert found.differences == [] and found.n_files == 1


@pytest.mark.parametrize("name", WRITERS)
def test_a_changed_number_is_noticed(tmp_path, name):
    """One value that is 2 larger is found in every kind of file, with its size."""
    changed = ARRAY.copy()
    changed[0, 1] += 2
    found = compare_folders(*_folders(tmp_path, name, ARRAY, changed))
    assert [difference.largest for difference in found.differences] == [2.0]


def test_the_last_bit_counts(tmp_path):
    """Values one rounding apart differ."""
    found = compare_folders(*_folders(tmp_path, "inference/a.npz", ARRAY, np.nextafter(ARRAY, np.float32(np.inf))))
    assert len(found.differences) == 1


def test_what_is_missing_is_noticed(tmp_path):
    """A file, and an item of a file, that one side lacks are differences."""
    first, second = _folders(tmp_path, "inference/a.npz", ARRAY, ARRAY)
    (first / "more.txt").write_text("x")
    np.savez(second / "inference" / "a.npz", features=ARRAY, more=ARRAY)
    found = {(d.path, d.item, d.what) for d in compare_folders(first, second).differences}
    assert found == {("more.txt", "", "only in first"), ("inference/a.npz", "more", "only in second")}


def test_start_scripts_are_read(tmp_path):
    """The module that a start script hands over to is found where it is today, and may move."""
    script = tmp_path / "package"
    script.write_text('python -m monai.bundle run x\nexec .venv/bin/python -m scripts.zoo "$@"\n')
    assert module_of(script) == "scripts.zoo"
    script.write_text("echo\n")
    with pytest.raises(ValueError, match="starts no module"):
        module_of(script)


def test_the_chain_is_built_from_this_tree(request):
    """Every step has its arguments; without a scanner's slide its step is left out."""
    paths = Paths(request.config.rootpath)
    assert all(step.arguments for step in steps_for(paths))
    assert "tokenize the real slide" not in {step.name for step in steps_for(paths)}
    assert len(fingerprint(paths)) == 64


def test_what_is_no_commit_is_said(tmp_path, request):
    """An unknown name stops before anything is run."""
    bench = Bench(request.config.rootpath, tmp_path / sys.executable, tmp_path)
    with pytest.raises(RunError, match="no-such-name"):
        results_of(bench, "no-such-name", None, None)
