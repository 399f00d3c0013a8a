"""``python -m scripts.zoo.verification FOLDER``: MONAI's own checks of an unpacked package, offline.

Run with the package on the path (``PYTHONPATH=FOLDER``), so that its own modules are what is tried.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import io
import json
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from monai.bundle import ckpt_export, load, onnx_export, verify_metadata, verify_net_in_out
from monai.data import load_net_with_metadata
from torch import Tensor

from bundle.core import BundleError, scratch_folder, write_text
from bundle.networks import Encoder, insist_on_head, load_region_encoder

from .rules import broken_rules

TOLERANCE = 1e-4  # largest difference between forms of one network


class Check(NamedTuple):
    """One thing that was looked at. ``outcome``: passed, FAILED, or skipped (``detail`` says why)."""

    name: str
    outcome: str
    detail: str


class _Skip(Exception):
    """There is no way to check this here."""


def verify_package(folder: str | Path, schema: str | Path | None = None) -> list[Check]:
    """Try everything that others will do with a package.

    Args:
        folder: an unpacked package, called by the bundle's name; nothing is written into it.
        schema: a copy of the metadata's schema; None: the one beside this module, of the name that the metadata says.
    """
    folder = Path(folder).resolve()
    checks: dict[str, Callable[[Path], str]] = {
        "the Model Zoo's rules": _rules,
        "verify_metadata": partial(verify_metadata_of, schema=schema),
        "verify_net_in_out": _net_in_out,
        "ckpt_export": _ckpt_export,
        "models/model.ts": _torchscript,
        "projection head": _head,
        "onnx_export": _onnx,
        "monai.bundle.load": _load,
    }
    return [_tried(name, check, folder) for name, check in checks.items()]


def _tried(name: str, check: Callable[[Path], str], folder: Path) -> Check:
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Check(name, "passed", check(folder))
    except _Skip as reason:
        return Check(name, "skipped", str(reason))
    except Exception as error:  # whatever breaks here would break at the user's
        where = traceback.extract_tb(error.__traceback__)[-1]
        return Check(name, "FAILED", f"{type(error).__name__} in {where.name}: {error}")


def _rules(folder: Path) -> str:
    broken = broken_rules(folder)
    if broken:
        raise BundleError("; ".join(broken))
    return "files, names, versions, headings, links, sizes"


def verify_metadata_of(folder: Path, schema: str | Path | None = None) -> str:
    """Let MONAI compare a package's metadata with the schema; the name of its file is returned.

    Raises:
        BundleError: no copy of that version is at hand.
    """
    named = _read_metadata(folder)["schema"]
    path = Path(__file__).parent / Path(named).name if schema is None else Path(schema)
    if not path.is_file():  # MONAI would download it, to this place
        raise BundleError(f"there is no copy of the schema {named} at {path}; --schema FILE names one")
    verify_metadata(meta_file=str(folder / "configs" / "metadata.json"), filepath=str(path))
    return path.name


def _net_in_out(folder: Path) -> str:
    verify_net_in_out(net_id="network_def", device="cpu", **_files(folder))
    token_dim, dim = _shapes(folder)
    return f"image [1, {token_dim}, 16, 16] to pred [1, {dim}]"


def _ckpt_export(folder: Path) -> str:
    with scratch_folder(tempfile.gettempdir(), "packaging") as scratch:
        path = scratch / "model.ts"
        ckpt_export(net_id="network_def", filepath=str(path), ckpt_file=str(_weights(folder)), **_files(folder))
        return _compared(folder, torch.jit.load(path))


def _torchscript(folder: Path) -> str:
    module, metadata, _ = load_net_with_metadata(str(folder / "models" / "model.ts"))
    if metadata["network_data_format"] != _read_metadata(folder)["network_data_format"]:
        raise BundleError("models/model.ts carries another metadata.json than the package")
    return _compared(folder, module)


@torch.inference_mode()
def _compared(folder: Path, module: Any) -> str:
    encoder, batch = _encoder(folder), _batch(folder)
    mask = torch.rand(len(batch), *batch.shape[2:]) < 0.5
    parts = {
        "forward": (module(batch), encoder(batch)),
        "forward with a mask": (module(batch, mask), encoder(batch, mask)),
    }
    return ", ".join(f"{name} within {_difference(*pair):.1e} of eager" for name, pair in parts.items())


@torch.inference_mode()
def _head(folder: Path) -> str:
    """The two files of weights are of one encoder, and ``project`` is what ``forward`` gives through the head."""
    encoder, batch = load_region_encoder(_weights(folder), takes_centered=True), _batch(folder)
    insist_on_head(encoder, _weights(folder))
    unit = encoder.project(batch)
    _difference(unit, encoder.project_embedding(_encoder(folder)(batch)))
    return f"[B, {unit.shape[1]}] of length 1 within {_difference(unit.norm(dim=1), torch.ones(len(unit))):.1e}"


def _onnx(folder: Path) -> str:
    absent = [name for name in ("onnx", "onnxruntime", "onnxscript") if importlib.util.find_spec(name) is None]
    if absent:
        raise _Skip(f"{', '.join(absent)} not installed: ONNX NOT tried (pip install {' '.join(absent)})")
    with scratch_folder(tempfile.gettempdir(), "packaging") as scratch:
        path = str(scratch / "model.onnx")
        onnx_export(net_id="network_def", filepath=path, ckpt_file=str(_weights(folder)), **_files(folder))
        session = importlib.import_module("onnxruntime").InferenceSession(path, providers=["CPUExecutionProvider"])
        image = _batch(folder)[:1]
        found = session.run(None, {session.get_inputs()[0].name: image.numpy()})[0]
    with torch.inference_mode():
        expected = _encoder(folder)(image)
    return f"onnxruntime within {_difference(torch.from_numpy(found), expected):.1e} of eager"


def _load(folder: Path) -> str:
    held = torch.load(_weights(folder), map_location="cpu", weights_only=True)
    expected = {name: tensor for name, tensor in held.items() if not name.startswith("head.")}  # in files of before
    for kind in ("train", "inference"):
        network = load(folder.name, bundle_dir=folder.parent, workflow_type=kind, device="cpu")
        if not isinstance(network, torch.nn.Module):
            raise BundleError(f"load(workflow_type={kind!r}) gives a {type(network).__name__}, not a network")
        state = network.state_dict()
        different = [name for name in expected if name not in state or not torch.equal(state[name], expected[name])]
        if different or state.keys() - expected.keys() - {"head_sha256", "mask_missing"}:  # which those do not have
            raise BundleError(f"load(workflow_type={kind!r}) leaves {len(different)} tensors unloaded: {different[:3]}")
    return f"workflow types train and inference, {len(expected)} tensors each"


def _files(folder: Path) -> dict[str, Any]:
    names = {"config_file": "configs/inference.json", "meta_file": "configs/metadata.json"}
    return {key: str(folder / name) for key, name in names.items()} | {"bundle_root": str(folder)}


def _weights(folder: Path) -> Path:
    return folder / "models" / "model.pt"


def _encoder(folder: Path) -> Encoder:
    return load_region_encoder(_weights(folder), takes_centered=True, with_head=False)


def _read_metadata(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "configs" / "metadata.json").read_text(encoding="utf-8"))


def _shapes(folder: Path) -> tuple[int, int]:
    formats = _read_metadata(folder)["network_data_format"]
    return formats["inputs"]["image"]["num_channels"], formats["outputs"]["pred"]["num_channels"]


def _batch(folder: Path) -> Tensor:
    return torch.randn(3, _shapes(folder)[0], 16, 16, generator=torch.Generator().manual_seed(0))


def _difference(found: Tensor, expected: Tensor) -> float:
    if found.shape != expected.shape:
        raise BundleError(f"shape {list(found.shape)} instead of {list(expected.shape)}")
    largest = float((found - expected).abs().max())
    if not largest <= TOLERANCE:
        raise BundleError(f"off by {largest:.1e}, more than {TOLERANCE:.0e}")
    return largest


def table(checks: list[Check]) -> Iterator[str]:
    """A line a check."""
    for check in checks:
        yield f"  {check.outcome:<8} {check.name:<22} {check.detail}"


def main() -> None:
    """Check a package and say what was found; exit status 1 where something failed."""
    parser = argparse.ArgumentParser(prog="python -m scripts.zoo.verification", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--schema", type=Path, help="a copy of the schema; default: the one beside this module")
    parser.add_argument("--json", type=Path, help="write the result there, too")
    options = parser.parse_args()
    checks = verify_package(options.folder, options.schema)
    print("\n".join(table(checks)))
    if options.json:
        write_text(options.json, json.dumps([check._asdict() for check in checks], indent=1) + "\n")
    sys.exit(any(check.outcome == "FAILED" for check in checks))


if __name__ == "__main__":
    main()
