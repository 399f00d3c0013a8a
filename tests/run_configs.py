"""Configs run in this process, as MONAI's workflow runs them."""

from monai.bundle import ConfigWorkflow

from bundle.core import CONFIGS, ROOT


def workflow(*configs, run_id="run", **ids) -> ConfigWorkflow:
    """The workflow of files of ``configs/`` with these ids, to be run."""
    files = [str(CONFIGS / name) for name in configs]
    options = {"workflow_type": "infer", "run_id": run_id, "logging_file": False, "bundle_root": str(ROOT)}
    made = ConfigWorkflow(files if len(files) > 1 else files[0], **{**options, **ids})
    made.initialize()
    return made


def run_config(*configs, run_id="run", **ids) -> list:
    """What the steps of a run return."""
    return workflow(*configs, run_id=run_id, **ids).run()
