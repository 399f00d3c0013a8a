"""A process that has imported what takes seconds, torch and MONAI, and forks for each step: a third of the time.

It is started by its path with a commit's files on ``PYTHONPATH`` and never imports them itself, so that each step does
so anew, as in a process of its own. A line of JSON in, ``[arguments, stdout, stderr]``; a line out, the exit status.
"""

import json
import os
import runpy
import sys
import traceback
from typing import Any

import matplotlib.pyplot  # noqa: F401
import monai.bundle  # noqa: F401
import sklearn.linear_model  # noqa: F401
import tensorboard  # noqa: F401
import torch.utils.tensorboard  # noqa: F401


def main() -> None:
    """Answer requests until there are no more."""
    strangers = [name for name in sys.modules if name == "bundle" or name.startswith("bundle.")]
    assert not strangers, strangers
    sys.path[0] = os.getcwd()  # as for `python -m`; this file's folder is no place for a commit's imports
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _become(*json.loads(line))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _become(arguments: list[str], stdout: str, stderr: str) -> None:
    """Run ``-m module ...`` or ``-c code`` to its end, as the interpreter would."""
    for stream, path in ((0, os.devnull), (1, stdout), (2, stderr)):
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(handle, stream)
    status: Any = 0
    try:
        kind, what, *rest = arguments
        sys.argv = [what, *rest]
        if kind == "-m":
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        else:
            exec(compile(what, "<step>", "exec"), {"__name__": "__main__"})
    except SystemExit as error:
        status = error.code
        if isinstance(status, str):
            print(status, file=sys.stderr)
    except BaseException:  # said as the interpreter would, then the exit status tells
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status if isinstance(status, int) else int(status is not None))


if __name__ == "__main__":
    main()
