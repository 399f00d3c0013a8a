"""Stands in for the Model Zoo's module of this name: the two functions that our unit tests take from it."""

import os
import subprocess

from monai.bundle import ConfigParser


def check_workflow(workflow, check_properties=False):
    """Initialize, check, run, finalize."""
    workflow.initialize()
    if check_properties and workflow.check_properties():
        raise ValueError("properties are missing")
    workflow.run()
    workflow.finalize()


def export_config_and_run_mgpu_cmd(
    config_file, meta_file, override_dict, output_path, logging_file=None, ngpu=2, check_config=False
):
    """Merge configs and overrides into one file and start it in several processes."""
    parser = ConfigParser()
    parser.read_config(config_file)
    parser.update(pairs=override_dict)
    ConfigParser.export_config_file(parser.config, output_path, indent=4)
    call = ["torchrun", "--standalone", "--nnodes=1", f"--nproc_per_node={ngpu}", "-m", "monai.bundle", "run"]
    call += ["--config_file", output_path, "--meta_file", meta_file, "--logging_file", logging_file]
    subprocess.check_call(call, env=os.environ | {"PYTHONPATH": override_dict["bundle_root"]})
