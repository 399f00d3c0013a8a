"""What warm.py's executable does: the server forks a process for these arguments, files, folder and variables."""

import json
import os
import signal
import socket
import sys


def main():
    """Returns the process's exit status, or ends by the signal that ended it."""
    address, *words = sys.argv[1:]
    files = [int(name) for name in os.listdir("/proc/self/fd")]
    files = [number for number in files if os.path.exists(f"/proc/self/fd/{number}")]  # but for that of the listing
    asked = {"words": words, "cwd": os.getcwd(), "env": dict(os.environ), "files": files}
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(address)
        socket.send_fds(link, [b" "], files)
        link.sendall(json.dumps(asked).encode() + b"\n")
        status = int(link.recv(16) or b"1")
    if status < 0:
        signal.signal(-status, signal.SIG_DFL) if -status != signal.SIGKILL else None
        os.kill(os.getpid(), -status)
    return status


sys.exit(main())
