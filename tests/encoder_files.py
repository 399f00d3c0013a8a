"""Files of patch encoders, small: somebody's program, and what stage one writes."""

import numpy as np
import pytest
import torch
from torch import nn

from bundle.core import save_atomically
from bundle.networks import PatchViT

HALF = {"mean": 0.5, "std": 0.5}
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


class Quarters(nn.Module):
    """Somebody's encoder: mean colors of the quarters of a patch, D = 12; ``trouble`` is what else it does."""

    def __init__(self, trouble: str = ""):
        super().__init__()
        self.trouble = trouble

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        tokens = nn.functional.adaptive_avg_pool2d(image, 2).flatten(1)
        if self.trouble == "map":
            tokens = image
        if self.trouble == "one size of batch":
            tokens = tokens.reshape(2, 12)
        if self.trouble == "one at a time":
            tokens = tokens.reshape(1, 12)
        if self.trouble == "nan":
            tokens = tokens / (tokens - tokens)
        if self.trouble == "gpu":
            tokens = tokens.to(torch.device("cuda"))
        return tokens


def program(path, trouble=""):
    """A TorchScript file."""
    torch.jit.save(torch.jit.script(Quarters(trouble)), path)
    return path


def own_file(path, width=12, normalization=None, image_size=16, patch_size=8, **contract):
    """What stage one writes; without ``contract`` as older ones are."""
    net = PatchViT(image_size=image_size, patch_size=patch_size, dim=width, depth=1, n_heads=2)
    contents = {"teacher": net.state_dict(), "architecture": net.architecture}
    contents |= {"normalization": normalization or {"mean": [0.5] * 3, "std": [0.25] * 3}}
    save_atomically(contents | ({"contract": contract} if contract else {}), path)
    return path


def onnx_program(path, shape=("b", 3, 32, 32), outputs=1, *, name="pixels", trouble="", beside=False):
    """:class:`Quarters` of patches of 32 px as an ONNX file, a learned scale of 1 in it, or in a file beside it."""
    onnx = pytest.importorskip("onnx", reason="no onnx to write files with")
    make, kind = onnx.helper.make_node, onnx.TensorProto.FLOAT
    nodes = [
        make("Transpose", [name], ["ordered"], perm=[0, 3, 1, 2] if shape[-1] == 3 else [0, 1, 2, 3]),
        make("AveragePool", ["ordered"], ["pooled"], kernel_shape=[16, 16], strides=[16, 16]),
        make("Flatten", ["pooled"], ["flat"]),
        make("Div" if trouble == "nan" else "Mul", ["flat", "scale"], ["tokens"]),
    ]
    if trouble == "foreign operator":
        nodes[2] = make("TheirFlatten", ["pooled"], ["flat"], domain="their.operators")
    fill = 0.0 if trouble == "nan" else 1.0
    scale = onnx.numpy_helper.from_array(np.full((1, 1), fill, np.float32), "scale")
    given = [onnx.helper.make_tensor_value_info(name, kind, shape)]
    names = ["tokens", "pooled"][:outputs]
    told = [onnx.helper.make_tensor_value_info(told, kind, None) for told in names]
    graph = onnx.helper.make_graph(nodes, "quarters", given, told, [scale])
    domains = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("their.operators", 1)]
    model = onnx.helper.make_model(graph, opset_imports=domains, ir_version=8)
    location = f"{path.name}.data" if beside else None
    onnx.save(model, path, save_as_external_data=beside, location=location, size_threshold=0)
    return path
