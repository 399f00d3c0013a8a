"""Python processes forked from one that has imported MONAI, which is most of what a small process does."""

import atexit
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

_CLIENT, _SERVER = (Path(__file__).with_name(f"warm_{name}.py") for name in ("client", "server"))
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}  # one thread and no GPU
_running: list[tuple[subprocess.Popen, tempfile.TemporaryDirectory]] = []


def python() -> str:
    """What takes the command lines of ``sys.executable`` (``-m``, ``-c`` or a script) and is some nine seconds quicker.

    The process that answers is forked from one that has imported MONAI; all else is its own: arguments, folder,
    variables, files, search path. Its exit status or signal is that of this executable, and it ends when this one
    does. With a CUDA build of torch, which does not outlive a fork, and where there is no pidfd, it is
    ``sys.executable`` itself.
    """
    if torch.version.cuda is not None or not hasattr(os, "pidfd_open"):
        return sys.executable
    if not _running or _running[0][0].poll() is not None:
        _stop()
        _running.append(_start())
    return f"{_running[0][1].name}/python"


def run_python(command, cwd=None, env=None, timeout=600):
    """Run ``[sys.executable, ...]`` to its end, as ``subprocess.run`` does with its output captured as text.

    What runs is ``python()``, and so are the processes that torchrun starts for it.
    """
    assert command[0] == sys.executable, command
    env = {**(os.environ if env is None else env), "PYTHON_EXEC": python()}
    return subprocess.run([python(), *command[1:]], cwd=cwd, env=env, capture_output=True, text=True, timeout=timeout)


def _start():
    folder = tempfile.TemporaryDirectory()
    address, executable = f"{folder.name}/socket", Path(folder.name, "python")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(64)
        words = [sys.executable, "-P", str(_SERVER), str(listener.fileno())]
        server = subprocess.Popen(words, stdin=subprocess.PIPE, pass_fds=[listener.fileno()])
    executable.write_text(f"#!/bin/sh\nexec '{sys.executable}' -I -S '{_CLIENT}' '{address}' \"$@\"\n")
    executable.chmod(0o755)
    return server, folder


def _stop():
    for server, folder in _running:
        server.communicate()  # its input ends, so it does
        folder.cleanup()
    _running.clear()


atexit.register(_stop)
