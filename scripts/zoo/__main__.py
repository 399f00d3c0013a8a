"""``python -m scripts.zoo``: make a package, say what it holds and what was checked."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from bundle.core import ROOT, BundleError

from .build import Package, PackageOptions, build_package
from .contents import size_of
from .verification import table


def main() -> None:
    """Read the command line and package."""
    parser = _parser()
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    chosen = PackageOptions(
        model=None if options.untrained else options.model,
        patch_encoder=chosen_patch_encoder(options.patch_encoder, None if options.untrained else ROOT / "models"),
        weights_url=options.weights_url,
        with_slide_ids=options.with_slide_ids,
        notes=options.notes,
        schema=options.schema,
        is_verified=not options.no_verify,
    )
    try:
        package = build_package(ROOT, options.output_dir, chosen)
    except BundleError as error:
        parser.exit(1, f"Stopped: {error}\n")
    print("\n".join(_summary(package, options.output_dir)))


def chosen_patch_encoder(given: Path | None, models: Path | None) -> Path | None:
    """The file that is packaged beside the model.

    Args:
        given: what the user asked for; "none" leaves it out.
        models: folder whose ``patch_encoder.pt`` is taken where nothing was asked for; None: no folder.
    """
    if given is not None:
        return None if str(given).lower() == "none" else given
    default = None if models is None else models / "patch_encoder.pt"
    return default if default is not None and default.is_file() else None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/package", description="Packages the bundle with trained weights.")
    add = parser.add_argument
    add("--model", type=Path, default=ROOT / "models" / "model.pt", help="weights; default: models/model.pt")
    add("--untrained", action="store_true", help="random weights, to try the packaging; the card says so")
    add(
        "--patch_encoder",
        type=Path,
        help="of stage one; default: models/patch_encoder.pt where it exists; none: leave out",
    )
    add("--output_dir", type=Path, default=ROOT / "dist", help="default: dist")
    add("--weights_url", default="", help="address of the folder in which files over 25 MB and the zip will lie")
    add("--with_slide_ids", action="store_true", help="ship the ids of the training slides (models/model.json)")
    add("--notes", type=Path, help="Markdown file on the weights' data and results, for the model card")
    add("--schema", type=Path, help="another version of the metadata's schema than the one beside this command")
    add("--no_verify", action="store_true", help="do not try the finished zip")
    return parser


def _summary(package: Package, output_dir: Path) -> list[str]:
    lines = [
        f"{package.folder}  {size_of(package.folder) / 1e6:.1f} MB, for the Model Zoo's models/",
        f"{package.archive}  {package.archive.stat().st_size / 1e6:.1f} MB, for monai.bundle download",
        f"{output_dir / 'model_info.json'}  the zip's line for the Model Zoo's list",
        f"{output_dir / 'huggingface'}  for a model hub",
        f"{output_dir / 'hipt'}  the encoders under HIPT's names",
        "",
        "checked on the unpacked zip:",
        *(table(package.checks) if package.checks else ["  nothing (--no_verify)"]),
    ]
    return [*lines, *(["", "to know:", *(f"  - {remark}" for remark in package.remarks)] if package.remarks else [])]


if __name__ == "__main__":
    main()
