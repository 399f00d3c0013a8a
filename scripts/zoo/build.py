"""A package from the bundle's files and a model's weights: made aside, checked, then put in its place."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import tempfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from bundle.core import BundleError, link_atomically, scratch_folder, write_text
from bundle.networks import split_state

from .configs import true_metadata, write_configs
from .contents import packaged_files
from .hipt import differences_from_published, export_patch_encoder, export_region_encoder
from .large_files import write_large_files
from .model import RegionModel, read_model, read_patch_encoder, untrained_model, write_model
from .model_card import model_card
from .pages import shipped_text
from .processes import run_in_package
from .torchscript import export_torchscript
from .verification import Check

_TOOLS = Path(__file__).resolve().parents[2]  # where this module is found; a package does not have it
_TIME = (1980, 1, 1, 0, 0, 0)  # the first that a zip can hold
_STORED = {".pt", ".pth", ".ts", ".safetensors", ".png"}  # do not get smaller
_LFS = "".join(f"*.{kind} filter=lfs diff=lfs merge=lfs -text\n" for kind in ("pt", "pth", "safetensors", "ts"))


@dataclass(frozen=True)
class PackageOptions:
    """What goes into a package, and what is done with it.

    Attributes:
        model: ``models/model.pt``, or a checkpoint; None: random weights.
        patch_encoder: ``models/patch_encoder.pt`` of stage one; None: without one.
        weights_url: address below which large files will lie.
        with_slide_ids: ship the ids of the training slides, by which evaluations see whether they test on them.
        notes: Markdown file on the weights' data and results, for the model card.
        schema: copy of the metadata's schema; None: the one beside this module.
        is_verified: try the finished zip.
    """

    model: Path | None
    patch_encoder: Path | None = None
    weights_url: str = ""
    with_slide_ids: bool = False
    notes: Path | None = None
    schema: Path | None = None
    is_verified: bool = True


@dataclass
class Package:
    """What was made: ``folder`` and ``archive``, what to know about it, and what was checked."""

    folder: Path
    archive: Path
    remarks: list[str] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)


def build_package(root: Path, output_dir: Path, options: PackageOptions) -> Package:
    """Make ``<name>_v<version>/``, its zip, ``model_info.json``, ``huggingface/`` and ``hipt/`` in ``output_dir``.

    The same files and weights give the same bytes. What was there under these names is replaced, once all is made and
    checked; until then it stays.

    Raises:
        BundleError: weights are missing or unfit, or a check of the finished package fails.
    """
    model = untrained_model() if options.model is None else read_model(options.model)
    patch_encoder = None if options.patch_encoder is None else read_patch_encoder(options.patch_encoder)
    metadata = true_metadata(json.loads((root / "configs" / "metadata.json").read_text(encoding="utf-8")), model)
    name, title = metadata["name"], f"{metadata['name']}_v{metadata['version']}"
    output_dir.mkdir(parents=True, exist_ok=True)
    package = Package(output_dir / title, output_dir / f"{title}.zip")
    with scratch_folder(output_dir, "packaging") as made:
        _copy_bundle(root, made / title)
        _write_weights(made / title, metadata, model, options, package)
        _write_archive(made / title, made / f"{title}.zip", top=name)
        _write_model_info(made, title, options.weights_url)
        _write_hub_layout(made / title, made / "huggingface", model)
        _write_hipt_files(made / "hipt", model, patch_encoder, package)
        if options.is_verified:
            package.checks = _verify(made / f"{title}.zip", name, options.schema)
        for path in sorted(made.iterdir()):
            _put(path, output_dir / path.name)
    return package


def _copy_bundle(root: Path, folder: Path) -> None:
    names = packaged_files(root)
    files = {*names, "README.md", *(f"models/{name}" for name in ("model.pt", "model_head.pt", "model.ts"))}  # are made
    for name in names:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.suffix == ".md":
            text = (root / name).read_text(encoding="utf-8")
            target.write_text(shipped_text(text, name, files), encoding="utf-8")
        else:
            shutil.copyfile(root / name, target)
        target.chmod(0o755 if (root / name).stat().st_mode & stat.S_IXUSR else 0o644)


def _write_weights(
    folder: Path, metadata: dict[str, Any], model: RegionModel, options: PackageOptions, package: Package
) -> None:
    write_configs(folder / "configs", model)
    write_text(folder / "configs" / "metadata.json", json.dumps(metadata, indent=4, ensure_ascii=False) + "\n")
    remark = write_model(model, folder / "models" / "model.pt", options.with_slide_ids)
    if options.patch_encoder is not None:  # to the byte: token files and model.json know it by its SHA-256
        shutil.copyfile(options.patch_encoder, folder / "models" / "patch_encoder.pt")
    export_torchscript(folder)
    notes = None if options.notes is None else _read_notes(options.notes)
    write_text(folder / "README.md", model_card(metadata, model, options.patch_encoder is not None, notes))
    listed = write_large_files(folder, options.weights_url)
    package.remarks += [*([remark] if remark else []), *_remarks(model, options, listed)]


def _remarks(model: RegionModel, options: PackageOptions, listed: list[str]) -> list[str]:
    found = []
    if not model.is_trained:
        found.append("the weights are RANDOM: there was no trained model, or --untrained was asked for")
    if options.patch_encoder is None:
        found.append("no patch encoder is in it: whoever has slides, not tokens, must bring the one you used")
    if model.slides is not None and not options.with_slide_ids:
        found.append(
            f"the ids of the {len(model.slides)} training slides stay here, as they may tell of patients; "
            "--with_slide_ids ships them, so that evaluations can warn of slides that were trained on"
        )
    if listed and not options.weights_url:
        found.append(f"large_files.yml has no addresses yet ({', '.join(listed)}): --weights_url gives them")
    if options.notes is None and model.is_trained:
        found.append("the model card says nothing on data and results: --notes FILE.md adds it")
    return found


def _read_notes(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(f"the notes {path} cannot be read ({error}); give a Markdown file.") from error


def _write_archive(folder: Path, path: Path, top: str) -> None:
    """Write every file of ``folder`` below ``top/`` into a zip whose bytes depend on the folder's contents alone.

    Args:
        folder: what goes in.
        path: the zip.
        top: name of the folder inside; MONAI looks for the bundle's name.
    """
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.relative_to(folder).parts):
            entry = zipfile.ZipInfo(f"{top}/{file.relative_to(folder).as_posix()}", _TIME)
            entry.create_system = 3  # Unix, so that the modes are read
            entry.external_attr = (0o100755 if file.stat().st_mode & 0o100 else 0o100644) << 16
            entry.compress_type = zipfile.ZIP_STORED if file.suffix in _STORED else zipfile.ZIP_DEFLATED
            archive.writestr(entry, file.read_bytes(), compresslevel=9)


def _write_model_info(made: Path, title: str, weights_url: str) -> None:
    source = f"{weights_url.rstrip('/')}/{title}.zip" if weights_url else ""
    checksum = hashlib.sha1((made / f"{title}.zip").read_bytes(), usedforsecurity=False).hexdigest()
    entry = {title: {"checksum": checksum, "source": source}}
    write_text(made / "model_info.json", json.dumps(entry, indent=4) + "\n")


def _write_hub_layout(folder: Path, hub: Path, model: RegionModel) -> None:
    for path in (p for p in folder.rglob("*") if p.is_file()):
        link_atomically(path, hub / path.relative_to(folder))
    for name, state in zip(("model", "model_head"), split_state(model.state), strict=True):
        save_file(state, hub / f"{name}.safetensors", metadata={"format": "pt"})
        (hub / f"{name}.safetensors").chmod(0o644)
    write_text(hub / ".gitattributes", _LFS)


def _write_hipt_files(folder: Path, model: RegionModel, patch: dict[str, Any] | None, package: Package) -> None:
    paths = [export_region_encoder(model, folder)]
    if patch is not None:
        paths.append(export_patch_encoder(patch, folder))
    for path in paths:
        if differences := differences_from_published(path):
            package.remarks.append(
                f"hipt/{path.name} has HIPT's names, but not its sizes, which HIPT's scripts have built in: "
                f"{', '.join(differences)}"
            )


def _verify(archive: Path, name: str, schema: Path | None) -> list[Check]:
    """Unpack the zip and let its own modules check it, in a process of its own."""
    with scratch_folder(tempfile.gettempdir(), "packaging") as scratch:
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(scratch)
        folder, result = scratch / name, scratch / "result.json"
        arguments = [str(folder), "--json", str(result)]
        arguments += ["--schema", str(schema.resolve())] if schema is not None else []
        failed = run_in_package(folder, "scripts.zoo.verification", *arguments, cwd=scratch, tools=_TOOLS)
        if not result.is_file():
            raise BundleError(f"the finished package cannot be checked: {failed}")
        checks = [Check(**entry) for entry in json.loads(result.read_text(encoding="utf-8"))]
    complaints = [f"{check.name}: {check.detail}" for check in checks if check.outcome == "FAILED"]
    if complaints:
        raise BundleError("the finished package fails, and was not kept. " + " | ".join(complaints))
    return checks


def _put(source: Path, target: Path) -> None:
    if target.is_dir():
        shutil.rmtree(target)
    os.replace(source, target)
