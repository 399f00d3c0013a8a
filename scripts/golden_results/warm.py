"""A process that has imported what takes seconds, torch and MONAI, and forks for each step: a third of the time.

It is started by its path with a commit's files on ``PYTHONPATH`` and never imports them itself, so that each step does
so anew, as in a process of its own. It is given the steps as JSON and runs in the folder of results.
"""

import json
import os
import runpy
import shutil
import sys
import time
from pathlib import Path

import matplotlib.pyplot  # noqa: F401
import monai.bundle  # noqa: F401
import sklearn.linear_model  # noqa: F401
import tensorboard  # noqa: F401
import torch.utils.tensorboard  # noqa: F401

_ONE_TIME = 1_000_000_000  # seconds since 1970: what is keyed by times of files then agrees between runs


def main() -> None:
    """Run steps (name, arguments, where what it says is kept) one after the other, up to the first that fails."""
    strangers = [name for name in sys.modules if name == "bundle" or name.startswith("bundle.")]
    assert not strangers, strangers
    sys.path[0] = os.getcwd()  # as for `python -m`; this file's folder is no place for a commit's imports
    started, steps = time.monotonic(), json.loads(sys.argv[1])
    for i, (name, arguments, keep) in enumerate(steps, 1):
        print(f"  {i:2d}/{len(steps)} {name} ({time.monotonic() - started:.0f} s)", flush=True)
        log = f"logs/{i:02d}_{name.replace(' ', '_')}"
        child = os.fork()
        if child == 0:
            return _become(arguments, log)  # and end as the interpreter would, by an error too
        _, status = os.waitpid(child, 0)
        if status:
            tail = "\n".join(Path(f"{log}.err").read_text(encoding="utf-8").splitlines()[-12:])
            sys.exit(f"exit status {os.waitstatus_to_exitcode(status)}; the logs are {os.getcwd()}/{log}.*\n{tail}")
        if keep:
            shutil.copyfile(f"{log}.out", keep)
        for path in Path().rglob("*"):
            if path.is_file():
                os.utime(path, (_ONE_TIME, _ONE_TIME))
    print(f"  done ({time.monotonic() - started:.0f} s)", flush=True)


def _become(arguments: list[str], log: str) -> None:
    """Be ``-m module ...`` or ``-c code``, its streams in files."""
    for stream, path in enumerate((os.devnull, f"{log}.out", f"{log}.err")):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644), stream)
    kind, what, *rest = arguments
    sys.argv = [what, *rest]
    if kind == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        exec(compile(what, "<step>", "exec"), {"__name__": "__main__"})


if __name__ == "__main__":
    main()
