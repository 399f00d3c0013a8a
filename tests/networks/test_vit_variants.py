"""Published vision transformers of any kind, against a slow restatement; files of other names, missing and mixed."""

import pytest
import torch
from vit_reference import FAMILIES, encode, published, random_weights, shrunk

from bundle.core import BundleError, SettingError
from bundle.networks import VIT_ARCHITECTURES, PatchViT, build_vit_variant, load_vit_variant, variant_weights
from bundle.networks.vit_variants import VariantBlock


@pytest.mark.parametrize("name", VIT_ARCHITECTURES)
def test_tokens_are_those_of_the_equations(name):
    """Random weights under the published names give the tokens of a slow restatement, on the own grid and on others."""
    architecture = shrunk(name)
    weights = random_weights(architecture)
    stated = {**architecture, "image_size": VIT_ARCHITECTURES[name]["image_size"] and architecture["image_size"]}
    network = load_vit_variant(published(weights, FAMILIES.get(name, "timm")), stated).double()
    p = architecture["patch_size"]
    for height, width in ((4 * p, 4 * p), (3 * p, 5 * p), (2 * p, 7 * p)):
        images = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        with torch.inference_mode():
            got = network(images)
        expected = torch.stack([encode(weights, architecture, image) for image in images])
        torch.testing.assert_close(got, expected, atol=1e-9, rtol=1e-9)
        assert got.shape[1] == network.architecture.out_dim


@pytest.mark.parametrize("family", ["timm", "dino", "vit", "dinov2"])
def test_one_model_under_all_names(family):
    """timm's, DINO's and both of Hugging Face's names of one plain ViT lead to the same tensors."""
    architecture = shrunk("kaiko-s16")
    weights = random_weights(architecture)
    got = variant_weights(published(weights, family), architecture)
    expected = variant_weights(published(weights, "timm"), architecture)
    assert list(got) == list(expected)
    for name in expected:
        torch.testing.assert_close(got[name], expected[name], atol=0, rtol=0)


def test_hipt_is_the_patch_encoder_of_before():
    """HIPT's weights give the tokens that ``PatchViT`` gives for them, at 256 px as well."""
    torch.manual_seed(0)
    before = PatchViT(image_size=224, dim=12, depth=2, n_heads=3, mlp_ratio=2.0).eval()
    architecture = {**VIT_ARCHITECTURES["hipt"], "dim": 12, "depth": 2, "n_heads": 3, "mlp_hidden": 24}
    images = torch.randn(2, 3, 256, 256)
    got = load_vit_variant(before.state_dict(), architecture)(images)
    torch.testing.assert_close(got, before(images), atol=1e-6, rtol=1e-6)


def test_names_that_transformers_has_in_memory():
    """A state dict of transformers 5 (``q_proj``, ``gate_proj``), saved by torch, is the same model."""
    architecture = shrunk("hibou-b")
    weights = random_weights(architecture)
    state = published(weights, "dinov2")
    for i, block in enumerate(weights["blocks"]):
        for kind in ("weight", "bias"):
            del state[f"encoder.layer.{i}.mlp.weights_in.{kind}"]
            for part, name in (("gate", "gate_proj"), ("up", "up_proj")):
                state[f"encoder.layer.{i}.mlp.{name}.{kind}"] = block[f"{part}_{kind[0]}"]
    words = {"attention.attention.query": "attention.q_proj", "attention.attention.key": "attention.k_proj"}
    words |= {"attention.attention.value": "attention.v_proj", "attention.output.dense": "attention.o_proj"}
    words["mlp.weights_out"] = "mlp.down_proj"
    for old, new in words.items():
        state = {name.replace(old, new): tensor for name, tensor in state.items()}
    got, expected = (variant_weights(own, architecture) for own in (state, published(weights, "dinov2")))
    assert all(torch.equal(got[name], expected[name]) for name in expected)


def test_prefixes_and_chunks():
    """``module.backbone.`` before all names, and blocks numbered within chunks, as DINOv2's training saves them."""
    architecture = shrunk("dinov2-b-registers")
    state = published(random_weights(architecture), "dino")
    wrapped = {f"module.backbone.{name.replace('blocks.', 'blocks.0.')}": tensor for name, tensor in state.items()}
    wrapped["module.backbone.mask_token"] = torch.zeros(1, 12)
    got, expected = variant_weights(wrapped, architecture), variant_weights(state, architecture)
    assert all(torch.equal(got[name], expected[name]) for name in expected)


def test_a_position_of_the_class_token_is_part_of_it():
    """DINOv2 with registers, as its authors publish it and as timm does: the same tokens, whichever is asked for."""
    own = shrunk("dinov2-s-registers")
    weights = random_weights(own)
    merged = {
        **weights,
        "class": weights["class"] + weights["positions"][:, :1],
        "positions": weights["positions"][:, 1:],
    }
    images = torch.randn(2, 3, 42, 70, generator=torch.Generator().manual_seed(1))
    expected = load_vit_variant(published(weights, "dino"), own)(images)
    for positions in ("class", "patches"):
        for state in (published(weights, "dino"), published(merged, "timm")):
            for size in (own["image_size"], None):
                got = load_vit_variant(state, {**own, "positions": positions, "image_size": size})
                torch.testing.assert_close(got(images), expected, atol=1e-5, rtol=1e-5)


def test_half_precision_files_run_in_float32():
    """Weights in float16 become float32 parameters of a network in evaluation mode."""
    architecture = shrunk("uni")
    state = {name: tensor.half() for name, tensor in published(random_weights(architecture), "timm").items()}
    network = load_vit_variant(state, architecture)
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32} and not network.training


def test_last_block_for_the_class_token_alone():
    """``first`` is ``forward`` for the first token, with LayerScale and without."""
    for name in ("uni2-h", "phikon"):
        block = VariantBlock(build_vit_variant(shrunk(name)).architecture).double()
        for parameter in block.parameters():
            torch.nn.init.normal_(parameter)
        x = torch.randn(2, 7, 12, dtype=torch.float64)
        torch.testing.assert_close(block.first(x), block(x)[:, :1])


def test_bfloat16():
    """Under autocast tokens are those of float32 to bfloat16's precision."""
    architecture = shrunk("virchow2")
    network = load_vit_variant(published(random_weights(architecture), "timm"), architecture)
    images = torch.randn(4, 3, 56, 56, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        got = network(images).float()
    cosine = torch.nn.functional.cosine_similarity(got, network(images))
    assert cosine.min() > 0.999


# parameters as published: timm's results files (DINOv2, DINO's ViT-S/16, and Kaiko L/14, which is DINOv2's), else cards
PUBLISHED = {
    "dinov2-s": "22.06M",
    "dinov2-b": "86.58M",
    "dinov2-s-registers": "22.06M",
    "dinov2-b-registers": "86.58M",
    "kaiko-l14": "304.37M",
    "hipt": "21.67M",
    "uni": "303M",
    "uni2-h": "681M",
    "virchow": "631.2M",
    "virchow2": "631M",
    "h-optimus-0": "1.1B",
    "prov-gigapath": "1.13B",
    "phikon": "85.8M",
    "phikon-v2": "303M",
    "hibou-b": "85.7M",
}


@pytest.mark.parametrize("name", VIT_ARCHITECTURES)
def test_true_size(name):
    """The architecture builds at its true size, and has as many parameters as its authors say."""
    own = VIT_ARCHITECTURES[name]
    with torch.device("meta"):
        network = build_vit_variant({**own, "image_size": own["image_size"] or 518})
    n_parameters = sum(parameter.numel() for parameter in network.parameters())
    if name in PUBLISHED:
        number, unit = PUBLISHED[name][:-1], {"M": 1e6, "B": 1e9}[PUBLISHED[name][-1]]
        assert f"{n_parameters / unit:.{len(number.partition('.')[2])}f}" == number


def test_another_model_under_the_name():
    """Missing, unexpected and differing tensors are named, with the file and what both architectures are."""
    state = published(random_weights(shrunk("uni")), "timm")
    with pytest.raises(BundleError) as caught:
        variant_weights(state, {**shrunk("virchow2"), "dim": 24, "depth": 3}, source="uni.safetensors")
    message = str(caught.value)
    assert (
        "uni.safetensors does not fit" in message and "missing: registers, blocks.2.scale1, blocks.2.scale2" in message
    )
    assert "cls_token is [1, 1, 12] in the file, [1, 1, 24] here" in message
    assert "width 12 and depth 2 on 16 px patches (MLP of 20, 0 registers, 17 positions, with LayerScale)" in message
    assert "width 24 and depth 3 on 14 px patches (SwiGLU of 20, 4 registers, 21 positions" in message


@pytest.mark.parametrize("extra", ["head.weight", "blocks.0.attn.q_norm.weight", "blocks.2.norm1.weight"])
def test_a_tensor_without_use_is_an_error(extra):
    """Nothing is left out in silence."""
    architecture = shrunk("kaiko-b8")
    state = {**published(random_weights(architecture), "timm"), extra: torch.zeros(12)}
    with pytest.raises(BundleError, match=f"unexpected: {extra}"):
        variant_weights(state, architecture)


def test_incomplete_and_doubled_parts():
    """Queries and values without keys, and a tensor under two names, are errors."""
    architecture = shrunk("phikon")
    state = published(random_weights(architecture), "vit")
    key = "encoder.layer.1.attention.attention.key.weight"
    with pytest.raises(BundleError, match=r"missing: blocks\.1\.attn\.qkv\.weight; unexpected: a part of"):
        variant_weights({name: tensor for name, tensor in state.items() if name != key}, architecture)
    with pytest.raises(BundleError, match=r"unexpected: encoder\.layer\.1\.attention\.k_proj\.weight"):
        variant_weights({**state, key.replace("attention.key", "k_proj"): state[key]}, architecture)


def test_files_of_no_vit():
    """A ResNet's tensors, or positions of no square grid, are told so."""
    resnet = {"conv1.weight": torch.zeros(8, 3, 7, 7), "fc.bias": torch.zeros(3)}
    with pytest.raises(BundleError, match="The file holds no ViT with names of timm, Hugging Face or DINO"):
        variant_weights(resnet, shrunk("uni"))
    for state in (resnet, {"pos_embed": torch.zeros(1, 8, 12)}):
        with pytest.raises(BundleError, match="those of no square grid"):
            load_vit_variant(state, {**shrunk("midnight"), "image_size": None})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 3}, "unknown are width"),
        ({"depth": None}, "whole numbers from 1 up"),
        ({"dim": 13}, "multiple of n_heads"),
        ({"image_size": 225}, "multiple of its patch size"),
        ({"output": "mean"}, "output must be one of class, class"),
        ({"resize": "offset", "positions": "patches"}, "offset needs positions: class"),
    ],
)
def test_architectures_that_do_not_exist(change, message):
    """Wrong arguments are named."""
    with pytest.raises(SettingError, match=message):
        build_vit_variant({**shrunk("uni"), **change})
    with pytest.raises(SettingError, match="missing patch_size"):
        build_vit_variant({name: value for name, value in shrunk("uni").items() if name != "patch_size"})


def test_images_of_broken_patches():
    """256 px are no whole patches of 14."""
    with pytest.raises(SettingError, match="whole patches of 14 px: got 256 x 256 px"):
        build_vit_variant(shrunk("virchow"))(torch.zeros(1, 3, 256, 256))
