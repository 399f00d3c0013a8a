"""`python -m bundle.demo --output_dir demo/slides`: draws demo slides; its options are those of `make_demo_slides`."""

import logging
import sys

import fire  # type: ignore[import-untyped]

from ..core import BundleError
from .demo_slides import make_demo_slides

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        fire.Fire(make_demo_slides, serialize=lambda folder: f"slides and slide_table.csv are in {folder}")
    except BundleError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
