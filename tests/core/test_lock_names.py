"""Who writes to a folder is named, also in the moment in which it begins."""

import os
import socket
import threading

import pytest

from bundle.core import BundleError
from bundle.core.lock import LOCK, writer_lock

OURS = f"process {os.getpid()} on {socket.gethostname()}\n"
THEIRS = f"process {2**22 + 1} on {socket.gethostname()}\n"  # a number beyond those that Linux gives to processes


@pytest.mark.parametrize(
    ("before", "after"), [("", OURS), (THEIRS, OURS), (THEIRS, THEIRS)], ids=["none", "another", "unseen"]
)  # workers of a test run have other processes, and have to name tests alike
def test_a_name_that_is_not_written_yet_is_waited_for(tmp_path, before, after):
    """A second run, a moment after the first had got the lock, was told of "another process", or of the one before. A
    process that cannot be seen is told of, too: those of a container have numbers of their own."""
    fcntl = pytest.importorskip("fcntl")
    with (tmp_path / LOCK).open("w") as file:
        file.write(before)
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        writer = threading.Timer(0.2, (tmp_path / LOCK).write_text, [after])
        writer.start()
        said = f"is being written by {after.strip()}: wait"
        with pytest.raises(BundleError, match=said), writer_lock(tmp_path, "run", "dir"):
            pass
        writer.join()
