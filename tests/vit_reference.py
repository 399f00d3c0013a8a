"""A vision transformer written out slowly, and its weights under the names that other projects publish."""

import math

import torch

from bundle.networks import VIT_ARCHITECTURES

# under whose names a model's file is published; all others are timm's
FAMILIES = {
    "hipt": "dino",
    "dinov2-s": "dino",
    "dinov2-b": "dino",
    "dinov2-s-registers": "dino",
    "dinov2-b-registers": "dino",
    "openmidnight": "dino",
    "phikon": "vit",
    "phikon-v2": "dinov2",
    "hibou-b": "dinov2",
    "hibou-l": "dinov2",
    "midnight": "dinov2",
}


def shrunk(name: str) -> dict:
    """The same model with two blocks, three heads of 4 and 4 x 4 positions; all its flags are kept."""
    own = VIT_ARCHITECTURES[name]
    return {**own, "dim": 12, "depth": 2, "n_heads": 3, "mlp_hidden": 20, "image_size": 4 * own["patch_size"]}


def random_weights(architecture: dict, seed: int = 0) -> dict:
    """Weights of all parts by the names of the papers, float32; ``blocks`` is a list of dictionaries."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw) * 0.3

    dim, hidden, p = architecture["dim"], architecture["mlp_hidden"], architecture["patch_size"]
    registers, cells = architecture.get("n_registers", 0), (architecture["image_size"] // p) ** 2
    positions = {"patches": 0, "class": 1, "all": 1 + registers}[architecture.get("positions", "class")]
    blocks = []
    for _ in range(architecture["depth"]):
        block = {
            f"{part}_{kind}": normal(*shape) for part in "qkvo" for kind, shape in (("w", (dim, dim)), ("b", (dim,)))
        }
        block |= {f"norm{i}_{kind}": 1 + normal(dim) for i in (1, 2) for kind in "wb"}
        block |= {
            "up_w": normal(hidden, dim),
            "up_b": normal(hidden),
            "down_w": normal(dim, hidden),
            "down_b": normal(dim),
        }
        if architecture.get("swiglu"):
            block |= {"gate_w": normal(hidden, dim), "gate_b": normal(hidden)}
        if architecture.get("layer_scale"):
            block |= {"scale1": normal(dim), "scale2": normal(dim)}
        blocks.append(block)
    return {
        "class": normal(1, 1, dim),
        "registers": normal(1, registers, dim),
        "positions": normal(1, positions + cells, dim),
        "patch_w": normal(dim, 3, p, p) / p,
        "patch_b": normal(dim),
        "blocks": blocks,
        "norm_w": 1 + normal(dim),
        "norm_b": normal(dim),
    }


def published(weights: dict, family: str) -> dict[str, torch.Tensor]:
    """The same tensors under the names of ``timm``, ``dino`` (and DINOv2), ``vit`` or ``dinov2`` of Hugging Face."""
    huggingface = family in ("vit", "dinov2")
    whole = {
        "class": "embeddings.cls_token" if huggingface else "cls_token",
        "positions": "embeddings.position_embeddings" if huggingface else "pos_embed",
        "patch_w": "embeddings.patch_embeddings.projection.weight" if huggingface else "patch_embed.proj.weight",
        "patch_b": "embeddings.patch_embeddings.projection.bias" if huggingface else "patch_embed.proj.bias",
        "norm_w": "layernorm.weight" if huggingface else "norm.weight",
        "norm_b": "layernorm.bias" if huggingface else "norm.bias",
    }
    state = {name: weights[ours] for ours, name in whole.items()}
    if weights["registers"].shape[1]:
        name = {"timm": "reg_token", "dino": "register_tokens"}.get(family, "embeddings.register_tokens")
        state[name] = weights["registers"]
    if family == "dinov2":
        state["embeddings.mask_token"] = weights["class"][0]
    if family == "vit":
        state |= {"pooler.dense.weight": weights["blocks"][0]["q_w"], "pooler.dense.bias": weights["norm_b"]}
    for i, block in enumerate(weights["blocks"]):
        own = _huggingface_block(block, family) if huggingface else _block(block, family)
        state |= {f"{'encoder.layer' if huggingface else 'blocks'}.{i}.{name}": tensor for name, tensor in own.items()}
    return state


def _pairs(names: dict[str, str], block: dict) -> dict[str, torch.Tensor]:
    return {f"{n}.{kind}": block[f"{o}_{kind[0]}"] for o, n in names.items() for kind in ("weight", "bias")}


def _packed(block: dict, kind: str, *parts: str) -> torch.Tensor:
    return torch.cat([block[f"{part}_{kind}"] for part in parts if f"{part}_{kind}" in block])


def _block(block: dict, family: str) -> dict[str, torch.Tensor]:
    swiglu = "gate_w" in block
    first, second = ("mlp.w12", "mlp.w3") if family == "dino" and swiglu else ("mlp.fc1", "mlp.fc2")
    own = _pairs({"norm1": "norm1", "norm2": "norm2", "o": "attn.proj", "down": second}, block)
    for kind in ("weight", "bias"):
        own[f"attn.qkv.{kind}"] = _packed(block, kind[0], "q", "k", "v")
        own[f"{first}.{kind}"] = _packed(block, kind[0], "gate", "up")
    return own | {f"ls{i}.gamma": block[f"scale{i}"] for i in (1, 2) if f"scale{i}" in block}


def _huggingface_block(block: dict, family: str) -> dict[str, torch.Tensor]:
    attention = "attention.attention"
    names = {
        "q": f"{attention}.query",
        "k": f"{attention}.key",
        "v": f"{attention}.value",
        "o": "attention.output.dense",
    }
    if family == "vit":
        names |= {"norm1": "layernorm_before", "norm2": "layernorm_after"}
        return _pairs(names | {"up": "intermediate.dense", "down": "output.dense"}, block)
    swiglu = "gate_w" in block
    first, second = ("mlp.weights_in", "mlp.weights_out") if swiglu else ("mlp.fc1", "mlp.fc2")
    own = _pairs(names | {"norm1": "norm1", "norm2": "norm2", "down": second}, block)
    own |= {f"{first}.{kind}": _packed(block, kind[0], "gate", "up") for kind in ("weight", "bias")}
    return own | {f"layer_scale{i}.lambda1": block[f"scale{i}"] for i in (1, 2) if f"scale{i}" in block}


def encode(weights: dict, architecture: dict, image: torch.Tensor) -> torch.Tensor:
    """One normalized image (3, H, W) -> (D,), in float64, one head at a time."""
    w = {name: tensor.double() for name, tensor in weights.items() if name != "blocks"}
    p, eps = architecture["patch_size"], architecture.get("norm_eps", 1e-6)
    rows, columns = image.shape[1] // p, image.shape[2] // p
    squares = [image[:, p * i : p * (i + 1), p * j : p * (j + 1)].double() for i in range(rows) for j in range(columns)]
    patches = torch.stack([(w["patch_w"] * square).sum((1, 2, 3)) + w["patch_b"] for square in squares])
    side = architecture["image_size"] // p
    placed, grid = w["positions"][0, : -side * side], w["positions"][0, -side * side :].reshape(side, side, -1)
    if (rows, columns) != (side, side):
        how = architecture.get("resize", "antialias")
        grid = _resized(_resized(grid, rows, how).transpose(0, 1), columns, how).transpose(0, 1)
    x = torch.cat([w["class"][0], w["registers"][0], patches + grid.reshape(rows * columns, -1)])
    x[: len(placed)] += placed
    for block in weights["blocks"]:
        x = _through(x, {name: tensor.double() for name, tensor in block.items()}, architecture["n_heads"], eps)
    x = _norm(x, w["norm_w"], w["norm_b"], eps)
    if architecture.get("output", "class") == "class":
        return x[0]
    return torch.cat([x[0], x[1 + architecture.get("n_registers", 0) :].mean(0)])


def _norm(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float) -> torch.Tensor:
    centered = x - x.mean(1, keepdim=True)
    return centered / (centered.square().mean(1, keepdim=True) + eps).sqrt() * weight + bias


def _through(x: torch.Tensor, b: dict, n_heads: int, eps: float) -> torch.Tensor:
    y, d, heads = _norm(x, b["norm1_w"], b["norm1_b"], eps), x.shape[1] // n_heads, []
    for head in range(n_heads):
        own = slice(head * d, (head + 1) * d)
        q, k, v = (y @ b[f"{part}_w"][own].T + b[f"{part}_b"][own] for part in "qkv")
        scores = (q @ k.T / math.sqrt(d)).exp()
        heads.append(scores / scores.sum(1, keepdim=True) @ v)
    x = x + (torch.cat(heads, 1) @ b["o_w"].T + b["o_b"]) * b.get("scale1", 1.0)
    y = _norm(x, b["norm2_w"], b["norm2_b"], eps)
    hidden = y @ b["up_w"].T + b["up_b"]
    if "gate_w" in b:
        gate = y @ b["gate_w"].T + b["gate_b"]
        hidden = hidden * gate / (1 + (-gate).exp())
    else:
        hidden = hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2
    return x + (hidden @ b["down_w"].T + b["down_b"]) * b.get("scale2", 1.0)


def _cubic(t: float, a: float) -> float:
    t = abs(t)
    if t <= 1:
        return ((a + 2) * t - (a + 3)) * t * t + 1
    return (((t - 5) * t + 8) * t - 4) * a if t < 2 else 0.0


def _resized(grid: torch.Tensor, n: int, how: str) -> torch.Tensor:
    """Rows of (length, ...) at n places, bicubically: Keys' kernel, a = -0.75, or -0.5 and as wide as a step."""
    length, out = len(grid), []
    for i in range(n):
        if how == "antialias":  # cells beyond the edge count nothing
            center, stretch = (i + 0.5) * length / n, max(length / n, 1.0)
            factors = [_cubic((j + 0.5 - center) / stretch, -0.5) for j in range(length)]
            out.append(sum(f / sum(factors) * grid[j] for j, f in enumerate(factors)))
        else:  # the edge is repeated
            at = (i + 0.5) * length / (n + 0.1 if how == "offset" else n) - 0.5
            cells = range(math.floor(at) - 1, math.floor(at) + 3)
            out.append(sum(_cubic(at - j, -0.75) * grid[min(max(j, 0), length - 1)] for j in cells))
    return torch.stack(out)
