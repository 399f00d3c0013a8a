"""What the MONAI Label app is started with: its ``--conf NAME VALUE`` pairs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..core import BundleError, did_you_mean, is_not_given
from ..networks import STANDARD_READING, StatedReading, sha256_of, weights_file

_OWN = {"work_dir", "train_configs", "patch_encoder_ckpt", "region_encoder_ckpt", "head"}
TOKEN_IDS = (  # of configs/tokenize.yaml, and of reading as of inference
    "slide_table", "wsi_reader", "mpp", "default_mpp", "max_enlarge", "region_patches", "patch_size", "min_tissue",
    "min_tissue_patches", "keep_fat", "encode_background", "patch_encoder", "patch_mean", "patch_std", "patch_input_px",
    "encoders_file", "device", "amp", "num_workers",
)  # fmt: skip
_READING = {*TOKEN_IDS, "batch_size", "patch_batch_size", "n_prototypes", "min_regions", "seed"}
_EVALUATED = ("$", "@", "%")
_OF_LABEL = {"server_mode", "models", "zoo_source", "zoo_repo", "auth_token", "preload", "use_pretrained_model"}


@dataclass(frozen=True)
class LabelSettings:
    """Where things are, and what is handed on to ``configs/``.

    Attributes:
        bundle_root: the bundle.
        work_dir: embeddings, tokens, training runs and new weights go here.
        reading: ids of ``configs/inference.yaml`` and ``configs/tokenize.yaml`` that the user has set (``mpp``,
            ``patch_size``, ``slide_table`` and so on), with their values.
        stated: what the weights say of how slides are read, where that is not what it is without a word.
        patch_encoder_ckpt: pixels to tokens.
        given_region_encoder: tokens to embeddings, until training from Label has made another.
        train_configs: config files of training: ``configs/train.yaml`` and mixins.
        head: file of a saved head, whose predictions are one more question; None: none.
    """

    bundle_root: Path
    work_dir: Path
    patch_encoder_ckpt: Path
    given_region_encoder: Path
    reading: dict[str, str] = field(default_factory=dict)
    stated: dict[str, str] = field(default_factory=dict)
    train_configs: tuple[Path, ...] = ()
    head: Path | None = None

    @classmethod
    def read(cls, bundle_root: Path, app_dir: Path, conf: Mapping[str, str]) -> LabelSettings:
        """Sort ``--conf`` pairs.

        Args:
            bundle_root: the bundle.
            app_dir: folder of the app; its ``work`` is the default for what is written.
            conf: names and values.

        Raises:
            BundleError: a name that nobody knows, a value that is an expression, or weights that are not there.
        """
        known = _READING | _OWN | _OF_LABEL
        conf = {name: value for name, value in conf.items() if not is_not_given(name, str(value))}
        for name in conf:
            if name not in known:
                hint = did_you_mean(name, known, f"known: {', '.join(sorted(known))}.", most=2)
                raise BundleError(f"--conf {name} is no setting of this app; {hint}")
            if name in _READING and str(conf[name]).lstrip().startswith(_EVALUATED):
                raise BundleError(
                    f"--conf {name} is {conf[name]!r}, which MONAI would evaluate; give the value itself, not an "
                    "expression or a reference."
                )
        models = bundle_root / "models"
        configs = str(conf.get("train_configs") or "configs/train.yaml").split(",")
        settings = cls(
            bundle_root=bundle_root,
            work_dir=Path(conf.get("work_dir") or app_dir / "work").expanduser().resolve(),
            patch_encoder_ckpt=weights_file(
                Path(conf.get("patch_encoder_ckpt") or models / "patch_encoder.pt").expanduser().absolute()
            ),
            given_region_encoder=Path(conf.get("region_encoder_ckpt") or models / "model.pt").resolve(),
            reading={name: _absolute(name, str(conf[name])) for name in conf if name in _READING},
            train_configs=tuple((bundle_root / name.strip()).resolve() for name in configs),
            head=Path(conf["head"]).expanduser().resolve() if conf.get("head") else None,
        )
        settings._check()
        return replace(settings, stated=settings._stated())

    @property
    def trained_region_encoder(self) -> Path:
        """Where training from Label puts its model; the given one is never written over."""
        return self.work_dir / "models" / "model.pt"

    @property
    def region_encoder_ckpt(self) -> Path:
        """What is served: the newest model of this app, or the given one."""
        trained = self.trained_region_encoder
        return trained if trained.is_file() else self.given_region_encoder

    def model_for_clients(self) -> Path:
        """The model that clients may fetch, replace and remove (``/model``): the trained one, never the given one.

        Raises:
            BundleError: none has been trained, or it was removed.
        """
        if not self.trained_region_encoder.is_file():
            raise BundleError(
                f"there is no {self.trained_region_encoder}: no model has been trained from this server, or it "
                "was removed, and the weights that it was started with are not the clients' to fetch or replace. Train "
                "one (POST /train/slpd), or start the server with other weights (--conf region_encoder_ckpt FILE)."
            )
        return self.trained_region_encoder

    @property
    def how(self) -> dict[str, str]:
        """How slides are read: what the user has set, else what the weights say."""
        return {**self.stated, **self.reading}

    @property
    def tokens_dir(self) -> Path:
        """Token files of the slides, one folder a patch encoder and way of reading."""
        names = (
            "mpp", "patch_size", "region_patches", "encode_background", "patch_encoder", "patch_mean", "patch_std",
            "patch_input_px", "encoders_file",
        )  # fmt: skip
        ways = [f"{name}={self.how[name]}" for name in names if name in self.how]
        key = hashlib.sha256("\n".join([sha256_of(self.patch_encoder_ckpt), *ways]).encode()).hexdigest()[:12]
        return self.work_dir / "tokens" / key

    def _stated(self) -> dict[str, str]:
        given: dict[str, Any] = {name: self.reading.get(name) for name in (*STANDARD_READING, "encoders_file")}
        encoder = self.reading.get("patch_encoder")
        found = StatedReading.of(self.region_encoder_ckpt, self.patch_encoder_ckpt, patch_encoder=encoder, **given)
        return {
            name: str(value).lower()
            for name, value in found._asdict().items()
            if name not in self.reading and value != STANDARD_READING[name]
        }

    def _check(self) -> None:
        weights = ((self.patch_encoder_ckpt, "patch_encoder_ckpt"), (self.region_encoder_ckpt, "region_encoder_ckpt"))
        for path, name in weights:
            if not path.is_file():
                raise BundleError(
                    f"there are no weights at {path}. Give others (--conf {name} FILE), or make some of your own "
                    "slides by the steps of README.md."
                )
        for path in self.train_configs:
            if not path.is_file():
                raise BundleError(f"there is no config {path}; give train_configs as paths from {self.bundle_root}.")


def _absolute(name: str, value: str) -> str:
    """Training runs in another folder than the server, so paths must not depend on it."""
    return str(Path(value).expanduser().resolve()) if name in ("slide_table", "encoders_file") else value
