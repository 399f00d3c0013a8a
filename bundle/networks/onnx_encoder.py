"""Patch encoders that come as ONNX files, run by onnxruntime."""

from __future__ import annotations

import importlib
import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..core import BundleError

_log = logging.getLogger(__name__)
_TYPES = {"tensor(float)": torch.float32, "tensor(float16)": torch.float16}
_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


class OnnxEncoder(nn.Module):
    """Normalized images (B, 3, p, p) -> what the file's one output gives, on the device that the images are on.

    The file is a graph of known operations: nothing in it is unpickled, and operators of others are not loaded.
    Weights in files beside it are found by their names in it. Images go through the host's memory, on a GPU as well.

    Args:
        path: the file.
        device: a CUDA GPU is used where onnxruntime was built for it, see ``providers``.

    Attributes:
        providers: what onnxruntime runs on, the preferred first.

    Raises:
        BundleError: onnxruntime is not installed; the file is broken; it does not take batches of any size of images
            with three channels, or gives more than one thing.
    """

    def __init__(self, path: Path, device: torch.device | str = "cpu") -> None:
        super().__init__()
        runtime = _runtime(path)
        self.path = path
        self.providers = _providers(runtime, torch.device(device))
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 4  # what goes wrong is raised, and told once
        try:
            self._session = runtime.InferenceSession(str(path), options, providers=self.providers)
            inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
            _ = [(entry.name, entry.shape, entry.type) for entry in (*inputs, *outputs)]  # names may be no text
        except Exception as error:  # onnxruntime's errors share no class of their own
            raise BundleError(
                f"{path} cannot be loaded as ONNX ({_short(error)}). It is broken, half copied, lacks the file of "
                "weights that belongs beside it, or needs operators of its own: copy it again, or export it anew."
            ) from error
        self._input = self._only(inputs, "inputs")
        self._output = self._only(outputs, "outputs")
        self._check_shape()

    def check_side(self, side_px: int) -> None:
        """Compare the px that the file was exported for with those that it would get.

        Raises:
            BundleError: they are others; both are named.
        """
        own = [side for side in self._input.shape[2:] if isinstance(side, int)]
        if any(side != side_px for side in own):
            raise BundleError(
                f"{self.path} was exported for patches of {' x '.join(map(str, own))} px and would get {side_px} px. "
                f"Say the px that it takes (--patch_input_px {own[0]}), name the right model (--patch_encoder), or "
                "export it for any size."
            )

    @torch.inference_mode()
    def forward(self, images: Tensor) -> Tensor:
        """Normalized images (B, 3, p, p) -> (B, D), float32.

        Raises:
            RuntimeError: onnxruntime cannot run it.
        """
        given = images.to("cpu", _TYPES[self._input.type]).contiguous().numpy()
        try:
            (found,) = self._session.run([self._output.name], {self._input.name: given})
        except Exception as error:
            raise RuntimeError(_short(error)) from error
        return torch.from_numpy(found).to(images.device, torch.float32)

    def _only(self, found: list[Any], what: str) -> Any:
        if len(found) != 1:
            names = ", ".join(entry.name for entry in found)
            raise BundleError(
                f"{self.path} has {len(found)} {what} ({names}); a patch encoder takes images alone and gives one "
                "vector a patch. Export the one output that is its token."
            )
        return found[0]

    def _check_shape(self) -> None:
        shape, kind = self._input.shape, self._input.type
        said = f"{self.path} takes {self._input.name} {shape}, {kind}"
        if kind not in _TYPES or len(shape) != 4 or (isinstance(shape[1], int) and shape[1] != 3):
            raise BundleError(
                f"{said}; a patch encoder takes normalized pixels [B, 3, p, p] as float. Export it with channels "
                "first, in float32."
            )
        if isinstance(shape[0], int):
            raise BundleError(
                f"{said}: it was exported for one size of batch, {shape[0]}. Export it with batches of any size "
                "(dynamic_shapes or dynamic_axes of torch.onnx.export)."
            )


def _runtime(path: Path) -> Any:
    try:
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        raise BundleError(
            f"{path} is an ONNX file, which needs onnxruntime: pip install 'pathology-slpd[onnx]', or, for a CUDA GPU, "
            "onnxruntime-gpu in its place."
        ) from error


def _providers(runtime: Any, device: torch.device) -> list[str]:
    """A GPU first where one is asked for and onnxruntime has it; the CPU takes what it does not have."""
    if device.type == "cpu":
        return [_CPU]
    if _CUDA in runtime.get_available_providers():
        return [_CUDA, _CPU]
    _log.warning("onnxruntime has no CUDA here: the ONNX file runs on the CPU (pip install onnxruntime-gpu)")
    return [_CPU]


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
