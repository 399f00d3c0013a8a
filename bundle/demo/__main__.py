"""`python -m bundle.demo --output_dir demo/slides`: draws demo slides."""

import argparse
import logging

from ..core import BundleError
from .arrangements import TASKS
from .demo_slides import make_demo_slides


def main() -> None:
    """Reads the command line and draws."""
    parser = argparse.ArgumentParser(
        prog="python -m bundle.demo",
        description="Draws H&E-like demo slides of two diagnoses that differ in how tissue is arranged, not in color. "
        "Writes pyramidal TIFF slides and slide_table.csv (slide, label, patient, site).",
    )
    parser.add_argument("--output_dir", required=True, help="folder for the slides; made if missing")
    parser.add_argument("--n_slides", type=int, default=24, help="number of slides (default: %(default)s)")
    parser.add_argument(
        "--seed", type=int, default=0, help="the same seed draws the same slides (default: %(default)s)"
    )
    parser.add_argument("--mpp", type=float, default=2.0, help="um per pixel, 0.25 to 4 (default: %(default)s)")
    parser.add_argument(
        "--regions", type=int, default=10, help="about how many 2 mm regions a slide (default: %(default)s)"
    )
    parser.add_argument(
        "--task",
        choices=TASKS,
        default="mixture",
        help="what tells the diagnoses apart. mixture: how often tissue is arranged how; neighbors: which tissues lie "
        "together, in the same amounts (default: %(default)s)",
    )
    parser.add_argument("--n_workers", type=int, default=None, help="processes (default: one for each core)")
    arguments = vars(parser.parse_args())
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        folder = make_demo_slides(**arguments)
    except BundleError as error:
        parser.exit(1, f"{error}\n")
    logging.getLogger(__name__).info("%d slides and slide_table.csv are in %s", arguments["n_slides"], folder)


if __name__ == "__main__":
    main()
