"""Encoder contracts: which pixels a patch encoder expects, and what it gives back."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from ..core import SettingError, read_yaml_file
from .contract_values import as_flag, as_names, as_pixels, as_range, as_triple, as_word
from .vit_architectures import VIT_ARCHITECTURES

_REGISTRY = Path(__file__).with_name("encoders.yaml")
INTERPOLATIONS = ("bicubic", "bilinear")
OUTPUTS = ("class", "class+mean", "pooled", "file")


@dataclass(frozen=True)
class EncoderContract:
    """What a patch encoder was trained on and gives; None where nobody has said so.

    Attributes:
        name: what messages and tables call it.
        input_px: px on a side of what the network sees; None: the patch as it is.
        resize_px: px that a patch is scaled to before ``input_px`` are cut from its center; None: ``input_px``.
        mean, std: normalization of the three channels, pixels in [0, 1].
        interpolation: of the scaling, with antialiasing: ``bicubic`` or ``bilinear``.
        output: what a token is: ``class`` (the class token after the final norm), ``class+mean`` (the mean of the patch
            tokens behind it), ``pooled`` (another pooling of its own), ``file`` (what the program in the file gives).
        dim: values of a token.
        mpp: um/px at which it was trained, lowest and highest.
        license: in a word.
        gated: its file is handed out only after one's consent.
        repository: where its file comes from.
        files: names by which its file is recognized.
        architecture: of the network, for files that hold weights alone, see
            :func:`~bundle.networks.build_vit_variant`; those of ``family: dino`` are read off their shapes.
    """

    name: str
    input_px: int | None = None
    resize_px: int | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    interpolation: str | None = None
    output: str | None = None
    dim: int | None = None
    mpp: tuple[float, float] | None = None
    license: str | None = None
    gated: bool | None = None
    repository: str | None = None
    files: tuple[str, ...] = ()
    architecture: Mapping[str, Any] | None = None

    @classmethod
    def read(cls, name: str, entry: Any, source: str | Path) -> EncoderContract:
        """A contract from plain values.

        Args:
            name: the entry's.
            entry: values by the names of the attributes above; what is left out is unknown.
            source: where they stand, for the error.

        Raises:
            SettingError: a name that nobody knows, or a value that is none.
        """
        if not isinstance(entry, Mapping):
            raise SettingError(f"encoder {name} of {source} is {entry!r}; give names and values below it.")
        known = {field.name for field in fields(cls)} - {"name"}
        for key in entry:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, n=2) or sorted(known)
                raise SettingError(f"encoder {name} of {source} says {key}, which nobody knows: {', '.join(near)}?")
        where = f"of encoder {name} in {source}"
        return cls(
            name=str(name),
            **{key: as_pixels(entry.get(key), f"{key} {where}") for key in ("input_px", "resize_px", "dim")},
            mean=as_triple(entry.get("mean"), f"mean {where}"),
            std=as_triple(entry.get("std"), f"std {where}", above_zero=True),
            interpolation=as_word(entry.get("interpolation"), f"interpolation {where}", INTERPOLATIONS),
            output=as_word(entry.get("output"), f"output {where}", OUTPUTS),
            mpp=as_range(entry.get("mpp"), f"mpp {where}"),
            license=as_word(entry.get("license"), f"license {where}"),
            gated=as_flag(entry.get("gated"), f"gated {where}"),
            repository=as_word(entry.get("repository"), f"repository {where}"),
            files=as_names(entry.get("files"), f"files {where}"),
            architecture=_architecture(str(name), entry.get("architecture"), where),
        )

    def at(self, patch_size: int) -> EncoderContract:
        """What holds for patches of ``patch_size`` px: the input in px, an interpolation only where one is scaled.

        Raises:
            SettingError: patches would have to be scaled, and nobody has said how.
        """
        input_px = patch_size if self.input_px is None else self.input_px
        scaled_px = input_px if self.resize_px is None else self.resize_px
        is_scaled = scaled_px != patch_size
        if is_scaled and self.interpolation is None:
            raise SettingError(
                f"{self.name} takes {scaled_px} px, patches have {patch_size} px, and nobody has said how it scales "
                f"them. Read patches of {scaled_px} px (--patch_size {scaled_px}), have them encoded as they are "
                f"(--patch_input_px {patch_size}), or say its interpolation (bicubic, bilinear) in a file of encoders "
                "of your own (--encoders_file, docs/encoders.md)."
            )
        if scaled_px < input_px:
            raise SettingError(f"{self.name} scales to {scaled_px} px, from which {input_px} px cannot be cut.")
        return replace(
            self,
            input_px=input_px,
            resize_px=None if scaled_px == input_px else scaled_px,
            interpolation=self.interpolation if is_scaled else None,
        )

    @property
    def fingerprint(self) -> str:
        """Short SHA-256 of all that changes tokens of the same pixels and weights."""
        told = [self.input_px, self.resize_px, self.mean, self.std, self.interpolation, self.output, self.dim]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]

    def record(self, patch_size: int) -> dict[str, Any]:
        """What files of tokens of ``patch_size`` px record of it, see :func:`~bundle.core.contract_difference`."""
        own = self.at(patch_size)
        told = {
            "patch_mean": None if own.mean is None else list(own.mean),
            "patch_std": None if own.std is None else list(own.std),
            "patch_input_px": own.input_px,
            "patch_resize_px": own.resize_px,
            "patch_interpolation": own.interpolation,
            "encoder_output": own.output,
            "encoder_mpp": None if own.mpp is None else list(own.mpp),
        }
        return {"encoder_contract": own.fingerprint, **{name: v for name, v in told.items() if v is not None}}


def registry(encoders_file: str | Path | None = None) -> dict[str, EncoderContract]:
    """The contracts by name: those of ``encoders.yaml``, and of a file of one's own, which come first.

    Raises:
        SettingError: the file is missing or no such YAML.
    """
    found = _read_entries(_REGISTRY)
    return found if encoders_file is None else {**found, **_read_entries(Path(encoders_file))}


def named_contract(name: str, encoders_file: str | Path | None = None) -> EncoderContract:
    """The contract of a model, upper case and underscores aside.

    Raises:
        SettingError: there is none; the nearest names are said.
    """
    found = {_plain(key): contract for key, contract in registry(encoders_file).items()}
    if _plain(name) not in found:
        near = difflib.get_close_matches(_plain(name), found, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(sorted(found))}."
        raise SettingError(
            f"no encoder is called {name!r}; {hint} One of your own goes into a file (--encoders_file, "
            "docs/encoders.md), or say --patch_mean and --patch_std in place of a name."
        )
    return found[_plain(name)]


def _read_entries(path: Path) -> dict[str, EncoderContract]:
    try:
        entries = read_yaml_file(path)
    except (OSError, ValueError) as error:
        raise SettingError(f"the encoders_file {path} cannot be read: {error}.") from error
    if not isinstance(entries, Mapping):
        raise SettingError(f"the encoders_file {path} holds {type(entries).__name__}, not encoders by name.")
    return {str(name): EncoderContract.read(str(name), entry, path) for name, entry in entries.items()}


def _architecture(name: str, value: Any, where: str) -> Mapping[str, Any] | None:
    """As it is written, that of the model whose name is written, or that of the entry's own name."""
    if isinstance(value, Mapping):
        return dict(value)
    if value is not None and value not in VIT_ARCHITECTURES:
        raise SettingError(
            f"architecture {where} is {value!r}; give names and values, or {', '.join(VIT_ARCHITECTURES)}."
        )
    return VIT_ARCHITECTURES.get(name if value is None else value)


def _plain(name: str) -> str:
    return str(name).strip().lower().replace("_", "-")
