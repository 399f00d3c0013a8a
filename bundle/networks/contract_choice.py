"""Which contract holds for a file of weights: the one it brings, the one of a name, or the one a user states."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from ..core import BundleError
from .architecture import infer_vit_architecture
from .contract_values import as_pixels, as_triple
from .contracts import EncoderContract, named_contract, registry
from .selection import select_backbone
from .weights_files import HUB_FILES, weights_file
from .weights_reading import is_program, read_weights

_log = logging.getLogger(__name__)
_HIPT = "hipt"
_OWN_FIELDS = ("name", "input_px", "resize_px", "interpolation", "output", "dim", "mpp")
# Any mpp outside the range of an encoder's training is warned of, but for what publishers do themselves: they scale
# patches of 256 px to 224, which is 14 % more um/px.
_SLACK = 1.15
_REFUSED = 2.0


@dataclass(frozen=True)
class EncoderChoice:
    """What a user says of a patch encoder beside its file; texts and numbers as they come from a command line.

    Attributes:
        encoder: a name of the registry.
        encoders_file: YAML with further entries.
        mean, std, input_px: in place of the contract's.
    """

    encoder: str | None = None
    encoders_file: str | Path | None = None
    mean: Any = None
    std: Any = None
    input_px: Any = None


def contract_of(path: str | Path, patch_size: int = 256, **choice: Any) -> EncoderContract:
    """The contract by which :func:`~bundle.networks.load_patch_encoder` encodes patches, without making the network.

    Args:
        path: file or folder of the weights.
        patch_size: px on a side of the patches.
        choice: see :class:`EncoderChoice`.

    Raises:
        BundleError: there is none, or the file is missing or broken.
    """
    path, file = Path(path), weights_file(path)
    contents = None if is_program(file) else read_weights(file)
    found = choose_contract(path, file, contents, EncoderChoice(**choice))
    found.at(int(patch_size))
    return found


def known_contract(
    path: str | Path, encoder: str | None = None, encoders_file: str | Path | None = None
) -> tuple[EncoderContract | None, bool]:
    """What is known of a patch encoder without a word of the user but its name, and whether its file says it itself.

    Args:
        path: file or folder of the weights; one that is missing says nothing.
        encoder, encoders_file: see :class:`EncoderChoice`.

    Raises:
        BundleError: the file is broken, or says that it is another model.
    """
    path = Path(path)
    if not path.exists():
        return None, False
    file = weights_file(path)
    # programs and safetensors hold nothing beside their tensors that would describe them
    contents = {} if file.suffix == ".safetensors" or is_program(file) else read_weights(file)
    return _base(path, file, contents, EncoderChoice(encoder, encoders_file)), _stated(file, contents) is not None


def choose_contract(
    path: Path, file: Path, contents: Mapping[str, Any] | None, choice: EncoderChoice
) -> EncoderContract:
    """The contract of a file, never a guess.

    Args:
        path: what the user has named.
        file: the file of weights there.
        contents: what is in it; None: it is a program, TorchScript or ONNX.
        choice: what the user says.

    Raises:
        BundleError: neither the file nor the user says mean and standard deviation.
    """
    base = _base(path, file, contents or {}, choice)
    given = {
        "mean": as_triple(choice.mean, "patch_mean"),
        "std": as_triple(choice.std, "patch_std", above_zero=True),
        "input_px": as_pixels(choice.input_px, "patch_input_px"),
    }
    said: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if base is None:
        base = EncoderContract(file.stem, interpolation="bicubic", output="file" if contents is None else "class")
    for name, value in said.items():
        if getattr(base, name) not in (None, value):
            text = "patch_%s is %s in place of %s, which %s was trained on"
            _log.warning(text, name, value, _own(base, name), base.name)
    if "input_px" in said:
        said["resize_px"] = None
    contract = replace(base, **said)
    if contract.mean is None or contract.std is None:
        raise BundleError(_ask(path, contract))
    return contract


def check_mpp(contract: EncoderContract, patch_size: int, mpp: float | None) -> None:
    """Compare the um/px that the network gets to see with those of its training.

    Args:
        contract: of the encoder.
        patch_size: px of the patches, which may be scaled.
        mpp: um/px at which they are read; None: nobody knows.

    Raises:
        BundleError: it is beyond twice, or below half, of what the encoder was trained on.
    """
    misfit = mpp_misfit(contract, patch_size, mpp)
    if misfit is None:
        return
    if misfit.share > _REFUSED * 1.001:
        raise BundleError(
            f"{misfit.text}, more than twice off: its tokens would mean little. Read patches at {misfit.nearest:.4g} "
            "um/px (--mpp), or give another encoder."
        )
    _log.warning("%s; expect worse tokens", misfit.text)


class MppMisfit(NamedTuple):
    """What is wrong with um/px: in words, by what factor, and the nearest um/px of patches that are well."""

    text: str
    share: float
    nearest: float


def mpp_misfit(contract: EncoderContract, patch_size: int, mpp: float | None) -> MppMisfit | None:
    """Whether um/px lie outside the range of an encoder's training; None: no, or nobody knows.

    Args:
        contract, patch_size, mpp: see :func:`check_mpp`.
    """
    if contract.mpp is None or mpp is None:
        return None
    own = contract.at(patch_size)
    seen = float(mpp) * patch_size / (own.resize_px or own.input_px or patch_size)
    low, high = contract.mpp
    share = max(low / seen, seen / high)
    if share <= _SLACK:
        return None
    span = f"{low:g}" if low == high else f"{low:g} to {high:g}"
    text = f"{contract.name} was trained at {span} um/px and would see {seen:.3g} (mpp {float(mpp):g}"
    text += ")" if seen == float(mpp) else f", patches of {patch_size} px scaled)"
    return MppMisfit(text, share, float(mpp) * min(max(seen, low), high) / seen)


def _base(path: Path, file: Path, contents: Mapping[str, Any], choice: EncoderChoice) -> EncoderContract | None:
    """What file and name say, before the user's numbers."""
    own = _stated(file, contents)
    named = None if choice.encoder in (None, "") else named_contract(str(choice.encoder), choice.encoders_file)
    if own is not None and named is not None:
        raise BundleError(
            f"{file} describes itself (mean {_own(own, 'mean')}, std {_own(own, 'std')}), and patch_encoder says it is "
            f"{named.name}: leave patch_encoder out, or give the file of {named.name}."
        )
    return own or named or _recognized(path, file, contents, choice.encoders_file)


def _stated(file: Path, contents: Mapping[str, Any]) -> EncoderContract | None:
    """The contract of a file of stage one; older ones have mean and std alone."""
    normalization = contents.get("normalization")
    if not isinstance(normalization, Mapping):
        return None
    stated = contents.get("contract")
    told = {name: stated[name] for name in _OWN_FIELDS if name in stated} if isinstance(stated, Mapping) else {}
    name = str(told.pop("name", "stage one"))
    numbers = {key: normalization.get(key) for key in ("mean", "std")}
    return EncoderContract.read(name, {"interpolation": "bicubic", "output": "class", **told, **numbers}, file)


def _recognized(
    path: Path, file: Path, contents: Mapping[str, Any], encoders_file: str | Path | None
) -> EncoderContract | None:
    """The one entry whose file or folder this is; None where none is, or several are."""
    known = registry(encoders_file)
    found = [c for c in known.values() if file.name in c.files or _is_of_repository(file, c.repository)]
    if not found and _is_hipt(contents):
        found = [known[_HIPT]]
    if len(found) != 1:
        return None
    _log.info("%s is taken for %s", path, found[0].name)
    return found[0]


def _is_of_repository(file: Path, repository: str | None) -> bool:
    """A hub's file of weights in a folder that is called as the hub's cache or a download calls it."""
    if repository is None or file.name not in HUB_FILES:
        return False
    folders = [part.lower() for part in file.absolute().parts[:-1]]
    return f"models--{repository.replace('/', '--')}".lower() in folders or folders[-1] == Path(repository).name.lower()


def _is_hipt(contents: Mapping[str, Any]) -> bool:
    """A checkpoint of DINO's script with HIPT's ViT256-16, whatever the file is called."""
    if "args" not in contents or not isinstance(contents.get("teacher"), Mapping):
        return False
    try:
        found = infer_vit_architecture(select_backbone(contents).backbone)
    except BundleError:
        return False
    return [found.get(name) for name in ("kind", "dim", "depth", "patch_size")] == ["patch", 384, 12, 16]


def _own(contract: EncoderContract, name: str) -> Any:
    value = getattr(contract, name)
    return list(value) if isinstance(value, tuple) else value


def _ask(path: Path, contract: EncoderContract) -> str:
    missing = " and ".join(name for name in ("mean", "std") if getattr(contract, name) is None)
    return (
        f"nobody says which {missing} the pixels of {path} need, and with wrong ones its tokens would look right and "
        "be worse. Say them, as its authors do, and the px that it takes where those are not patch_size: --patch_mean "
        "'[0.485, 0.456, 0.406]' --patch_std '[0.229, 0.224, 0.225]' --patch_input_px 224 (these three are an example: "
        "ImageNet's); or name the model (--patch_encoder uni, see docs/encoders.md)."
    )
