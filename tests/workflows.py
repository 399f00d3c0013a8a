"""Configs as MONAI runs them, for tests."""

from pathlib import Path

from monai.bundle import ConfigWorkflow

ROOT = Path(__file__).parents[1]


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
