"""``python -m monai.bundle ...`` forked from a process that has imported MONAI, which is most of a small run."""

import atexit
import json
import os
import select
import subprocess
import sys
from pathlib import Path
from tempfile import NamedTemporaryFile

import torch

_SERVER = Path(__file__).with_name("warm_server.py")
_MODULE = ["-m", "monai.bundle"]
_servers: list[subprocess.Popen] = []


def run_bundle(command, cwd, env=None, timeout=300):
    """Run ``[python, -m, monai.bundle, ...]`` to its end, as ``subprocess.run`` does with its output captured as text.

    The command's process is forked from one that has imported MONAI, which saves some nine seconds; all else is its
    own. With a CUDA build of torch it is started anew, since CUDA does not outlive a fork.
    """
    assert command[:3] == [sys.executable, *_MODULE], command
    if torch.version.cuda is not None or not hasattr(os, "fork"):
        return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=timeout)
    with NamedTemporaryFile("r", errors="replace") as out, NamedTemporaryFile("r", errors="replace") as err:
        server = _server()
        request = {"argv": command[3:], "cwd": str(cwd), "env": dict(os.environ if env is None else env)}
        server.stdin.write(json.dumps({**request, "out": out.name, "err": err.name}) + "\n")
        server.stdin.flush()
        if not select.select([server.stdout], [], [], timeout)[0]:
            _stop()
            raise subprocess.TimeoutExpired(command, timeout)
        code = int(server.stdout.readline())
        return subprocess.CompletedProcess(command, code, out.read(), err.read())


def _server():
    if not _servers or _servers[0].poll() is not None:
        _servers[:] = [
            subprocess.Popen([sys.executable, _SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        ]
    return _servers[0]


def _stop():
    for server in _servers:
        server.kill()
        server.communicate()
    _servers.clear()


atexit.register(_stop)
