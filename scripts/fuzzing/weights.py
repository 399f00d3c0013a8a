"""Files of weights: PyTorch's, safetensors, ONNX."""

from __future__ import annotations

import copy
import importlib.util
import io
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from safetensors.torch import save
from torch import Tensor, nn

from bundle.networks import Encoder, PatchViT, ProjectionHead, RegionViT, load_patch_encoder, load_region_encoder

from .changes import changed_bytes, odd_values, spots_of
from .drawing import Target

_CHANGES = st.lists(st.tuples(st.integers(0, 1 << 16), st.sampled_from("dsro"), odd_values), max_size=3)


def weights_targets(_folder: Path) -> Iterator[Target]:
    """Loaders of weights."""
    region = Encoder(RegionViT(in_dim=3, dim=4, depth=1, n_heads=1, n_positions=2), ProjectionHead(4, 6, 5))
    patch = PatchViT(image_size=16, patch_size=8, dim=12, depth=1, n_heads=2)
    of_region: dict[str, Any] = {
        "teacher": region.state_dict(),
        "architecture": {"n_heads": 1},
        "mask_missing": True,
        "args": {"a": 1},
    }
    contract = {"mean": [0.5] * 3, "std": [0.25] * 3, "input_px": 16}
    of_patch: dict[str, Any] = {"teacher": patch.state_dict(), "architecture": patch.architecture, "contract": contract}
    of_patch["normalization"] = {"mean": [0.5] * 3, "std": [0.25] * 3}
    yield Target("region weights .pt", ".pt", _changed_checkpoint(of_region), load_region_encoder)
    yield Target("patch weights .pt", ".pt", _changed_checkpoint(of_patch), lambda path: load_patch_encoder(path, 16))
    tensors = st.builds(_safetensors, st.just(patch.state_dict()), _CHANGES) | changed_bytes([save(patch.state_dict())])
    load = partial(load_patch_encoder, patch_size=16, mean=0.5, std=0.5)
    yield Target("weights safetensors", ".safetensors", tensors, load)
    program = io.BytesIO()
    torch.jit.save(torch.jit.script(_Mean()), program)
    yield Target("TorchScript", ".pt", changed_bytes([program.getvalue()]), load)
    if importlib.util.find_spec("onnx"):
        graphs = changed_bytes([_onnx(shape) for shape in (("b", 3, 16, 16), ("b", 3, "h", "w"))])
        yield Target("ONNX", ".onnx", graphs, load)


def _changed_checkpoint(contents: Mapping[str, Any]) -> st.SearchStrategy[bytes]:
    made = st.builds(_checkpoint, st.just(contents), _CHANGES)
    return made | changed_bytes([_checkpoint(contents, [])])


def _checkpoint(contents: Mapping[str, Any], changes: Sequence[tuple[int, str, Any]]) -> bytes:
    root: dict[str, Any] = {"": copy.deepcopy(dict(contents))}
    for number, kind, value in changes:
        spots = list(spots_of(root))
        if not spots:  # all of it was removed
            break
        holder, key = spots[number % len(spots)]
        _change(holder, key, kind, value)
    packed = io.BytesIO()
    torch.save(root.get("", {}), packed)
    return packed.getvalue()


def _safetensors(state: Mapping[str, Tensor], changes: Sequence[tuple[int, str, Any]]) -> bytes:
    found = dict(state)
    for number, kind, value in changes:
        names = [name for name, held in found.items() if isinstance(held, Tensor)] or ["x"]
        _change(found, names[number % len(names)], kind, value)
    return save({name: held.contiguous() for name, held in found.items() if isinstance(held, Tensor)})


def _change(holder: Any, key: Any, kind: str, value: Any) -> None:
    held = holder[key] if kind != "o" else None
    if kind == "d":
        del holder[key]
    elif kind == "s" and isinstance(held, Tensor):
        holder[key] = [
            held[None],
            held.flatten(),
            held[:0] if held.ndim else held,
            held.double(),
            held * float("nan"),
            held.sum(),
        ][zlib.crc32(str(value).encode("utf-8", "replace")) % 6]
    elif kind == "r" and isinstance(key, str):
        holder[f"module.{key}"] = holder.pop(key)
    else:
        holder[key] = value


class _Mean(nn.Module):
    """Somebody's program: mean colors."""

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, p, p) -> (B, 3)."""
        return image.mean((2, 3))


def _onnx(shape: Sequence[Any]) -> bytes:
    import onnx

    kind = onnx.TensorProto.FLOAT
    nodes = [
        onnx.helper.make_node("GlobalAveragePool", ["pixels"], ["pooled"]),
        onnx.helper.make_node("Flatten", ["pooled"], ["flat"]),
        onnx.helper.make_node("Mul", ["flat", "scale"], ["tokens"]),
    ]
    scale = onnx.numpy_helper.from_array(np.ones((1, 1), np.float32), "scale")
    given = [onnx.helper.make_tensor_value_info("pixels", kind, shape)]
    told = [onnx.helper.make_tensor_value_info("tokens", kind, None)]
    graph = onnx.helper.make_graph(nodes, "mean", given, told, [scale])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    contents: bytes = model.SerializeToString()
    return contents
