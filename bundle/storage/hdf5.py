"""HDF5 files of strangers: nothing that leads out of a file is followed, and nothing without measure is read."""

from __future__ import annotations

import math
from itertools import accumulate
from pathlib import Path

import h5py

from ..core import BundleError

_MOST_BYTES = 1 << 31  # of a data set that is read whole, and of a region
# gzip, shuffle, fletcher32, szip, nbit, scaleoffset, lzf: of any other HDF5 would load a library from the disk
_FILTERS = {1, 2, 3, 4, 5, 6, 32000}


def own_dataset(file: h5py.File, name: str, path: Path, kinds: str) -> h5py.Dataset:
    """A data set whose values lie in this very file.

    Args:
        file: open to read.
        name: of the data set, from the file's root.
        path: of the file, for messages.
        kinds: of numbers that are allowed, letters of :attr:`numpy.dtype.kind`.

    Raises:
        BundleError: it is a link, a group, a virtual data set, stored outside, packed by a filter that HDF5 does not
            bring along, or of values of another kind.
    """
    for part in accumulate(name.strip("/").split("/"), "{}/{}".format):  # a, a/b and a/b/c of a/b/c
        link = file.get(part, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            raise _refused(path, part, f"is a link to another file, {link.filename!r}")
        if isinstance(link, h5py.SoftLink):
            raise _refused(path, part, f"is a link to {link.path!r}")
    found = file[name]
    if not isinstance(found, h5py.Dataset):
        raise _refused(path, name, f"is a {type(found).__name__.lower()}, not a data set")
    if found.is_virtual:
        raise _refused(path, name, "is a virtual data set, whose values lie in other files")
    if found.external:
        raise _refused(path, name, f"has its values in another file, {found.external[0][0]!r}")
    properties = found.id.get_create_plist()
    filters = [properties.get_filter(number) for number in range(properties.get_nfilters())]
    if others := [number for number, *_ in filters if number not in _FILTERS]:
        raise _refused(path, name, f"is packed by filter {others[0]} of HDF5, which no file of this bundle has")
    if found.shape is None or found.dtype.kind not in kinds:
        raise _refused(path, name, f"holds {found.dtype} of shape {found.shape}, no numbers that belong there")
    return found


def insist_on_size(path: Path, name: str, shape: tuple[int, ...], itemsize: int) -> None:
    """Before memory is taken for it.

    Raises:
        BundleError: no slide has that much.
    """
    if math.prod(shape) * itemsize > _MOST_BYTES:
        raise _refused(path, name, f"says that its shape is {shape}, more than any slide has")


def _refused(path: Path, name: str, why: str) -> BundleError:
    return BundleError(f"{path} is refused: its {name!r} {why}. Copy the file again, or make it anew.")
