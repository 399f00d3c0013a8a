"""What ran out is said in one message: what was asked for, what there is, what to do; no traceback."""

import errno
import os
import signal

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from bundle.core import BundleError, ran_out
from bundle.core.command_line import _say_user_errors_plainly

GPU = "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 139.80 GiB."


class Dying(Dataset):
    """Its reading process ends as the system ends one: /dev/shm full (SIGBUS), memory out (SIGKILL), or by an error."""

    def __init__(self, fault):
        self.fault = fault

    def __len__(self):
        return 2

    def __getitem__(self, index):
        if isinstance(self.fault, int):
            os.kill(os.getpid(), self.fault)
        raise self.fault


def loaded(fault):
    return lambda: list(DataLoader(Dying(fault), num_workers=1))


def fails(error):
    def fail():
        raise error

    return fail


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "last.pt")
CASES = {
    "torch": (lambda: torch.empty(1 << 50), "memory ran out; 4.5 PB were asked for; .* are free: lower --batch_size"),
    "numpy": (lambda: np.empty(1 << 50), "memory ran out; 8.00 PiB were asked for; .* are free: lower --batch_size"),
    "python": (lambda: bytearray(1 << 50), "memory ran out; [0-9.]+ [A-Z]B are free: lower --batch_size"),
    "gpu": (fails(torch.OutOfMemoryError(GPU)), "memory of the GPU ran out; 2.50 GiB were asked for.*: lower --b"),
    "shm": (loaded(signal.SIGBUS), "/dev/shm, by which .* ran out; .* of .* are free: give --num_workers 0"),
    "killed": (loaded(signal.SIGKILL), "a reading process was killed from outside.* are free: lower --num_workers"),
    "reading": (loaded(MemoryError()), "memory ran out; [0-9.]+ [A-Z]B are free"),
    "onednn": (fails(RuntimeError("could not create a primitive")), "memory ran out; [0-9.]+ [A-Z]B are free"),
    "threads": (fails(RuntimeError("can't start new thread")), "no further thread .* are free: lower --num_workers"),
    "disk": (fails(FULL), "no room to write last.pt; .* of .* are free: free some, or choose another folder"),
    "reading, disk": (loaded(FULL), "no room to write"),
    "files": (fails(OSError(errno.EMFILE, "Too many open files")), "too many files are open at once: raise the limit"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_ran_out_is_said(case, capsys):
    """Each by a fault as the system makes it, under what MONAI wraps around it; what is kept is said as well."""
    fault, message = CASES[case]
    with pytest.raises((RuntimeError, MemoryError, OSError)) as raised:
        try:
            fault()
        except Exception as error:
            raise RuntimeError("Failed to instantiate component") from error
    _say_user_errors_plainly(RuntimeError, raised.value, None)
    said = capsys.readouterr().err
    assert said.startswith("\nStopped: ") and said.count("\n") == 2 and "are kept" in said
    with pytest.raises(BundleError, match=message):
        raise BundleError(said)


def test_other_errors_are_other_errors():
    """Nothing of ours, and no file that is missing, is taken for a lack of something."""
    for error in (RuntimeError("shapes differ"), FileNotFoundError(2, "No such file", "a"), BundleError("memory")):
        assert ran_out(error) is None
