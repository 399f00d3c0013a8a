"""Published vision transformers against their own code, two blocks of true width, where timm or transformers are."""

import importlib

import pytest
import torch

from bundle.networks import VIT_ARCHITECTURES, load_vit_variant

LARGE, SWIGLU = {"init_values": 1e-5}, {"mlp_layer": "SwiGLUPacked", "act_layer": torch.nn.SiLU}
UNI2_H = {"patch_size": 14, "num_heads": 24, "embed_dim": 1536, "mlp_ratio": 2.66667 * 2, "reg_tokens": 8, **SWIGLU}
VIRCHOW = {"init_values": 1e-5, "mlp_ratio": 5.3375, "global_pool": "", **SWIGLU}
GIANT = {"patch_size": 16, "embed_dim": 1536, "num_heads": 24, "mlp_ratio": 5.33334}

# as the models' cards and configs have them
TIMM = {
    "uni": ("vit_large_patch16_224", LARGE),
    "uni2-h": ("vit_giant_patch14_224", {"no_embed_class": True, **LARGE, **UNI2_H}),
    "h-optimus-0": ("vit_giant_patch14_reg4_dinov2", {"img_size": 224, **LARGE}),
    "h0-mini": ("vit_base_patch14_reg4_dinov2", {"img_size": 224, **LARGE, "mlp_ratio": 5.33334, **SWIGLU}),
    "virchow": ("vit_huge_patch14_224", VIRCHOW),
    "virchow2": ("vit_huge_patch14_224", {"reg_tokens": 4, **VIRCHOW}),
    "prov-gigapath": ("vit_giant_patch14_dinov2", {"img_size": 224, **LARGE, **GIANT}),
    "gpfm": ("vit_large_patch14_dinov2", {"img_size": 224, **LARGE}),
    "kaiko-l14": ("vit_large_patch14_reg4_dinov2", {"img_size": 518}),
    "kaiko-s8": ("vit_small_patch8_224", {}),
    "kaiko-s16": ("vit_small_patch16_224", {}),
    "kaiko-b8": ("vit_base_patch8_224", {}),
    "kaiko-b16": ("vit_base_patch16_224", {}),
    "lunit-vits8": ("vit_small_patch8_224", {}),
}


def _dinov2(dim: int, n_heads: int, image_size: int = 224, patch_size: int = 14, swiglu: bool = False) -> dict:
    shape = {"hidden_size": dim, "num_attention_heads": n_heads, "image_size": image_size, "patch_size": patch_size}
    return {**shape, "mlp_ratio": 4, "layer_norm_eps": 1e-6, "use_swiglu_ffn": swiglu}


PHIKON = {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072, "layer_norm_eps": 1e-12}
TRANSFORMERS = {
    "phikon": ("ViT", PHIKON),
    "phikon-v2": ("Dinov2", _dinov2(1024, 16, patch_size=16)),
    "midnight": ("Dinov2", _dinov2(1536, 24, swiglu=True)),
    "hibou-b": ("Dinov2WithRegisters", _dinov2(768, 12, swiglu=True)),
    "hibou-l": ("Dinov2WithRegisters", _dinov2(1024, 16, swiglu=True)),
    "dinov2-s": ("Dinov2", _dinov2(384, 6, 518)),
    "dinov2-b": ("Dinov2", _dinov2(768, 12, 518)),
    "dinov2-s-registers": ("Dinov2WithRegisters", _dinov2(384, 6, 518)),
    "dinov2-b-registers": ("Dinov2WithRegisters", _dinov2(768, 12, 518)),
}


def _yardstick(name: str):
    """The package, or a skip that says why: timm without a working torchvision fails in many ways."""
    try:
        return importlib.import_module(name)
    except Exception as error:
        pytest.skip(f"no {name} to compare with ({type(error).__name__}: {error})")


def _randomized(model: torch.nn.Module) -> torch.nn.Module:
    torch.manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.05 if parameter.dim() > 1 else 0.3)
    return model.eval()


def _compare(state: dict, architecture: dict, tokens_of) -> None:
    """Tokens equal at 224 px and on another grid, the output put together by hand from the model's own tokens."""
    network = load_vit_variant(state, {**architecture, "depth": 2})
    shorter = 224 - 2 * architecture["patch_size"]
    for height, width in ((224, 224), (shorter, 224)):
        images = torch.randn(2, 3, height, width)
        with torch.inference_mode():
            expected, got = tokens_of(images), network(images)
        if architecture.get("output") == "class+mean":
            n_before = 1 + architecture.get("n_registers", 0)
            expected = torch.cat([expected[:, 0], expected[:, n_before:].mean(1)], 1)
        torch.testing.assert_close(got, expected if expected.dim() == 2 else expected[:, 0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", TIMM)
def test_as_timm(name):
    """What timm builds from the published arguments gives the same tokens."""
    timm = _yardstick("timm")
    model, arguments = TIMM[name]
    if "mlp_layer" in arguments:
        arguments = {**arguments, "mlp_layer": timm.layers.SwiGLUPacked}
    own = _randomized(timm.create_model(model, num_classes=0, depth=2, dynamic_img_size=True, **arguments))
    _compare(own.state_dict(), VIT_ARCHITECTURES[name], own)


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_as_transformers(name, tmp_path):
    """What transformers builds from the published config, and saves, gives the same tokens."""
    transformers = _yardstick("transformers")
    load_file = importlib.import_module("safetensors.torch").load_file
    kind, config = TRANSFORMERS[name]
    config = getattr(transformers, f"{kind}Config")(num_hidden_layers=2, **config)
    own = _randomized(getattr(transformers, f"{kind}Model")(config))
    own.save_pretrained(tmp_path)
    # a ViT stretches its positions only when asked to; DINOv2's own code stretches otherwise than transformers do
    asked = {"interpolate_pos_encoding": True} if kind == "ViT" else {}
    changed = {"resize": "plain"} if kind == "Dinov2" else {}
    state = load_file(tmp_path / "model.safetensors")
    _compare(state, {**VIT_ARCHITECTURES[name], **changed}, lambda x: own(x, **asked).last_hidden_state)
