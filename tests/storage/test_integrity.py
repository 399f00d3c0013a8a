"""Damage is found and named: flipped bits, NaN, and files that are not what they say."""

import os
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from cohorts import write_cohort
from edited_files import edited
from slide_embeddings import made_up_slide

from bundle.core import BundleError, SettingError
from bundle.storage import TokenDataset, TokenFile, read_embeddings, write_embeddings
from bundle.storage.checksums import checksum, is_finite

N_FLIPS = int(os.environ.get("BIT_FLIPS", "3"))  # of each part


@pytest.fixture
def path(tmp_path):
    """A token file of four regions, 4 x 4 tokens of 8 values."""
    return write_cohort(tmp_path, (4,), dim=8) / "slide_0.h5"


def flip(path: Path, place: int, bit: int) -> None:
    whole = bytearray(path.read_bytes())
    whole[place] ^= 1 << bit
    path.write_bytes(whole)


def places_of(path: Path, part: str) -> range:
    """Bytes of a file that hold a part of it."""
    with h5py.File(path) as file:
        if part == "attributes":
            start = path.read_bytes().index(str(file.attrs["encoder"]).encode())
            return range(start, start + len(file.attrs["encoder"]))
        if file[part].chunks:
            chunk = file[part].id.get_chunk_info(2 if part == "features" else 0)
            return range(chunk.byte_offset, chunk.byte_offset + chunk.size)
        return range(file[part].id.get_offset(), file[part].id.get_offset() + file[part].nbytes)


def flipped(path: Path, part: str) -> Iterator[None]:
    """One bit after another of a part of a file."""
    random, whole, places = np.random.default_rng(0), path.read_bytes(), places_of(path, part)
    for _ in range(N_FLIPS):
        path.write_bytes(whole)
        yield flip(path, int(random.choice(places)), int(random.integers(8)))


@pytest.mark.parametrize("part", ["features", "coords", "mask", "attributes"])
def test_a_flipped_bit_of_tokens_is_named(path, part):
    """Fifty of fifty were trained on without a word."""
    for _ in flipped(path, part):
        with pytest.raises(BundleError) as error:
            TokenFile(path).read()
        assert str(path) in str(error.value) and ("region 2 of" in str(error.value)) == (part == "features")


@pytest.mark.parametrize("part", ["features", "projection", "coords", "mask", "attributes"])
def test_a_flipped_bit_of_embeddings_is_named(tmp_path, part):
    """The file is named, and which of its arrays."""
    path = tmp_path / "a.h5"
    slide = made_up_slide()
    slide.attributes["encoder"] = "vit sha256:0123456789"
    write_embeddings(slide, path)
    for _ in flipped(path, part):
        with pytest.raises(BundleError, match="a.h5"):
            read_embeddings(path)


def contents(path: Path) -> dict:
    """All that a program sees of tokens or embeddings."""
    if path.name.startswith("slide"):
        file = TokenFile(path)
        return {**file.header.attributes, "coords": file.coords, "mask": file.mask, "features": file.read()}
    slide = read_embeddings(path)
    return {**slide.attributes, **{name: getattr(slide, name) for name in ("features", "coords", "mask", "assignment")}}


def test_any_bit_of_any_file_is_found_or_does_no_harm(path, tmp_path):
    """Wherever in the file it is: an error that names it, or the same contents, from a gap that nobody reads."""
    write_embeddings(made_up_slide(), tmp_path / "a.h5")
    random = np.random.default_rng(1)
    for file in (path, tmp_path / "a.h5"):
        whole, before = file.read_bytes(), contents(file)
        for place in random.integers(0, len(whole), 5 * N_FLIPS).tolist():
            file.write_bytes(whole)
            flip(file, place, int(random.integers(8)))
            try:
                np.testing.assert_equal(contents(file), before)
            except BundleError as error:
                assert str(file) in str(error)


def test_a_file_of_before_is_read(path, tmp_path):
    """It has no checksums."""
    tokens = TokenFile(path).read()
    with edited(path):
        pass
    np.testing.assert_array_equal(TokenFile(path, verify="always").read(), tokens)
    slide = made_up_slide()
    write_embeddings(slide, tmp_path / "a.h5")
    with edited(tmp_path / "a.h5"):
        pass
    np.testing.assert_array_equal(read_embeddings(tmp_path / "a.h5").features, slide.features)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_named_in_a_file_of_before(path, tmp_path, value):
    """Training blamed the learning rate, evaluation the weights."""
    with edited(path) as file:
        file["features"][1, 2, 3, 4] = value
    with pytest.raises(BundleError, match="region 1 of token file .*slide_0.h5 holds NaN or infinite"):
        TokenDataset(path)[1]
    write_embeddings(made_up_slide(), tmp_path / "a.h5")
    with edited(tmp_path / "a.h5") as file:
        file["projection"][0, 0] = value
    with pytest.raises(BundleError, match="a.h5 holds NaN or infinite values in its projection"):
        read_embeddings(tmp_path / "a.h5")


def test_what_is_compared_when(path):
    """``first``: once; ``always``: each time; ``never``: neither header nor regions."""
    files = {verify: TokenFile(path, verify=verify) for verify in ("first", "always", "never")}
    for file in files.values():
        file.read([0])
    before = path.stat()
    with path.open("r+b") as handle:
        handle.seek(files["first"].offset(0))
        handle.write(b"\1")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    files["first"].read([0])
    files["never"].read([0])
    with pytest.raises(BundleError, match="region 0"):
        files["always"].read([0])
    with pytest.raises(BundleError, match="region 0"):
        TokenFile(path).verify()
    flip(path, places_of(path, "coords")[0], 0)
    with pytest.raises(BundleError, match="what it records"):
        TokenFile(path)
    assert len(TokenFile(path, verify="never")) == 4
    with pytest.raises(SettingError, match="verify is 'sometimes'"):
        TokenFile(path, verify="sometimes")


def test_arithmetic_of_checks():
    """CRC-32 as everybody has it; finite as NumPy says, for any float."""
    assert checksum(np.frombuffer(b"123456789", np.uint8)) == 0xCBF43926  # the check value of CRC-32/ISO-HDLC
    for dtype in (np.float16, np.float32, np.float64):
        largest = np.array([np.finfo(dtype).max, -np.finfo(dtype).max, -0.0, 0.0, 1.0], dtype)
        assert is_finite(largest) and is_finite(largest[:0])
        for value in (np.nan, -np.nan, np.inf, -np.inf):
            assert not is_finite(np.append(largest, np.array(value, dtype)))


def replaced(file: h5py.File, how: str) -> None:
    """Something else in the place of ``features``."""
    values = file["features"][:]
    del file["features"]
    if how == "external":
        file["features"] = h5py.ExternalLink("elsewhere.h5", "/secret")
    elif how == "soft":
        file["kept"] = values
        file["features"] = h5py.SoftLink("/kept")
    elif how == "dangling":
        file["features"] = h5py.SoftLink("/nothing")
    elif how == "virtual":
        layout = h5py.VirtualLayout(values.shape, values.dtype)
        layout[:] = h5py.VirtualSource("elsewhere.h5", "features", shape=values.shape)
        file.create_virtual_dataset("features", layout)
    elif how == "stored outside":
        file.create_dataset("features", values.shape, values.dtype, external=[("elsewhere.bin", 0, values.nbytes)])
    elif how == "filter":
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk((1, *values.shape[1:]))
        properties.set_filter(32015, h5py.h5z.FLAG_OPTIONAL)
        space, kind = h5py.h5s.create_simple(values.shape), h5py.h5t.py_create(values.dtype)
        h5py.h5d.create(file.id, b"features", kind, space, dcpl=properties)
    elif how == "group":
        file.create_group("features")
    elif how == "text":
        file["features"] = np.full(values.shape, b"x")
    elif how == "scalar":
        file["features"] = np.float16(1)
    elif how == "empty":
        file["features"] = h5py.Empty("f2")
    elif how == "zero":
        file["features"] = values[..., :0]
    elif how == "huge":
        file.create_dataset("features", (4, 1 << 20, 1 << 20, 8), "f2", chunks=(1, 1, 1, 8))


HOSTILE = {
    "external": "link to another file", "soft": "link to '/kept'", "dangling": "link to|lacks features",
    "virtual": "virtual data set", "stored outside": "values in another file", "filter": "filter 32015",
    "group": "is a group", "text": "no numbers", "scalar": r"features \(\)", "empty": "no numbers",
    "zero": "none of them empty", "huge": "expected|more than any slide",
}  # fmt: skip


@pytest.mark.parametrize("how", HOSTILE)
def test_what_is_no_data_set_of_its_own_is_refused(path, tmp_path, how):
    """One message that names the file, for tokens and embeddings; nothing outside is opened."""
    write_embeddings(made_up_slide(), tmp_path / "a.h5")
    for file, read in ((path, TokenFile), (tmp_path / "a.h5", read_embeddings)):
        with edited(file) as opened:
            replaced(opened, how)
        if how in ("scalar", "zero") and read is read_embeddings:
            continue  # arrays of embeddings may be of any size
        with pytest.raises(BundleError, match=HOSTILE[how]) as error:
            read(file)
        assert str(file) in str(error.value)


def test_masks_beyond_measure_take_no_memory(path):
    """Shapes that agree, and are more than any slide has: they were a MemoryError."""
    with edited(path) as file:
        for name in ("features", "coords", "mask"):
            del file[name]
        file.create_dataset("features", (1 << 40, 16, 16, 8), "f2", chunks=(1, 16, 16, 8))
        file.create_dataset("coords", (1 << 40, 2), "i8", chunks=(1024, 2))
        file.create_dataset("mask", (1 << 40, 16, 16), "?", chunks=(64, 16, 16))
    with pytest.raises(BundleError, match="slide_0.h5 is refused: its 'mask' says"):
        TokenFile(path)


def test_checksums_beyond_measure_take_no_memory(path):
    """A sparse data set of 2^40 numbers in a file of some kB; the rest of a folder is read all the same."""
    with h5py.File(path, "a") as file:
        del file["region_checksums"]
        file.create_dataset("region_checksums", (1 << 40,), "u4", chunks=(1024,))
    with pytest.raises(BundleError, match="slide_0.h5 is damaged"):
        TokenFile(path)
