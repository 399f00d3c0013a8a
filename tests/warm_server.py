"""The other end of warm.py: a line of JSON a command; it is run in a fork of this process, and its exit code said."""

import json
import os
import runpy
import sys

import monai.bundle  # noqa: F401  what takes the time


def serve():
    """Fork for each line; returns in the child, which is then to run its command."""
    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if child == 0:
            return asked
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(status, flush=True)
    sys.exit(0)


def become(asked):
    """Take over the command's place, variables and files."""
    for number, path, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, asked["out"], os.O_WRONLY),
        (2, asked["err"], os.O_WRONLY),
    ):
        file = os.open(path, flags)
        os.dup2(file, number)
        os.close(file)
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    sys.path[0] = asked["cwd"]
    sys.argv = ["monai.bundle", *asked["argv"]]


become(serve())
runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)
