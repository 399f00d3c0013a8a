"""Who writes to a folder is named, also in the moment in which it begins."""

import os
import socket
import threading

import pytest

from bundle.core import BundleError
from bundle.core.lock import LOCK, writer_lock

GONE = 2**22 + 1  # a number beyond those that Linux gives to processes


@pytest.mark.parametrize("before", ["", f"process {GONE} on {socket.gethostname()}\n"])
def test_a_name_that_is_not_written_yet_is_waited_for(tmp_path, before):
    """A second run, a moment after the first had got the lock, was told of "another process", or of the one before."""
    fcntl = pytest.importorskip("fcntl")
    name = f"process {os.getpid()} on {socket.gethostname()}"
    with (tmp_path / LOCK).open("w") as file:
        file.write(before)
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        writer = threading.Timer(0.2, (tmp_path / LOCK).write_text, [f"{name}\n"])
        writer.start()
        with pytest.raises(BundleError, match=f"is being written by {name}: wait"), writer_lock(tmp_path, "run", "dir"):
            pass
        writer.join()


def test_a_name_of_a_process_that_cannot_be_seen_is_told(tmp_path):
    """Processes of a container have numbers of their own."""
    fcntl = pytest.importorskip("fcntl")
    name = f"process {GONE} on {socket.gethostname()}"
    with (tmp_path / LOCK).open("w") as file:
        file.write(name)
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(BundleError, match=name), writer_lock(tmp_path, "run", "dir"):
            pass
