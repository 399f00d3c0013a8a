"""Configs as MONAI runs them, for tests."""

from pathlib import Path

import pytest
from monai.bundle import ConfigWorkflow

from bundle.core import ROOT, user_error


def workflow(*files, kind="infer", root=ROOT, **ids):
    """A config with its mixins and ids, initialized; paths may be ``Path``."""
    given = {"bundle_root": root, **ids}
    given = {name: str(value) if isinstance(value, Path) else value for name, value in given.items()}
    files = [str(root / "configs" / name) for name in files]
    made = ConfigWorkflow(files, workflow_type=kind, logging_file=False, **given)
    made.initialize()
    return made


def run_config(*files, **ids):
    """What the steps of a run return."""
    return workflow(*files, **ids).run()


def refused(do, *arguments, **ids) -> str:
    """The one message that it ends with."""
    with pytest.raises(Exception) as caught:
        do(*arguments, **ids)
    mistake = user_error(caught.value)
    assert mistake is not None, caught.value
    return str(mistake)
