"""Starting a run: what MONAI's own command would be, the few lines before and after it, and the run itself."""

from __future__ import annotations

import os
import runpy
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..core.kinds import NOT_GIVEN
from ..core.places import CONFIGS, ROOT
from .commands import Command
from .words import Words

_SEVERAL = "multi_gpu_train.yaml"  # what training needs besides torchrun


def monai_words(command: Command, read: Words, values: Mapping[str, str]) -> list[str]:
    """The words behind ``python -m monai.bundle`` that stand for a subcommand."""
    run_id = command.run_id
    if command.without_first and command.first not in values:
        run_id = command.without_first
    elif command.without_data and "dataset_dir" not in read.values and not Path(values["dataset_dir"]).exists():
        run_id = command.without_data
    is_shared_training = read.processes > 1 and command.run_id == "training"
    configs = [command.path, *([CONFIGS / _SEVERAL] if is_shared_training else []), *read.mixins]
    shown = str(configs[0]) if len(configs) == 1 else str([str(path) for path in configs])
    ids = [f"--{name}={word}" for name, word in read.values.items()]
    return ["run", run_id, f"--config_file={shown}", f"--bundle_root={read.work_dir}", *ids]


def equal_command(words: Sequence[str], processes: int = 1) -> str:
    """The same as a line of a shell."""
    start = f"torchrun --standalone --nproc_per_node={processes}" if processes > 1 else "python"
    return f"PYTHONPATH={shlex.quote(str(ROOT))} {start} -m monai.bundle {shlex.join(words)}"


def run_here(words: Sequence[str]) -> None:
    """``python -m monai.bundle`` with these words, in this process; returns when the run is done."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    sys.argv = ["monai.bundle", *words]
    runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)


def run_shared(command: str, words: Sequence[str], processes: int) -> None:
    """The subcommand again, in several processes of torchrun; this process becomes it."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    start = [sys.executable, "-P", "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    # Processes that save when they are told need the signal, and the time.
    start += ["--signals-to-handle", "SIGTERM,SIGINT,SIGUSR1", "--shutdown-timeout", "300"]
    os.execve(sys.executable, [*start, "-m", "bundle.console", command, *words], {**os.environ, "PYTHONPATH": path})


def made_places(command: Command, values: Mapping[str, str]) -> list[Path]:
    """Where a run writes to."""
    words = (values.get(name, "") for name in command.made)
    return [Path(word) for word in words if word not in NOT_GIVEN]
