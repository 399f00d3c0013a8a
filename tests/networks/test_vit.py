"""The vision transformers against slow restatements of what they save, skip and interpolate."""

import math

import pytest
import torch
from torch import nn

from bundle.networks import PatchViT, RegionViT, resized_positions
from bundle.networks.blocks import Attention, Block, ClassBlock
from bundle.networks.drop import add_scaled, keep_scales


def _tiny(**options) -> RegionViT:
    torch.manual_seed(0)
    return RegionViT(**{"in_dim": 8, "dim": 12, "depth": 3, "n_heads": 3, "drop_path": 0.5, **options})


def _cubic(t: float) -> float:
    t, a = abs(t), -0.75
    if t <= 1:
        return ((a + 2) * t - (a + 3)) * t * t + 1
    return (((t - 5) * t + 8) * t - 4) * a if t < 2 else 0.0


def _stretched(line: torch.Tensor, n: int) -> torch.Tensor:
    """Bicubic sampling of a line at (i + 0.5) / scale - 0.5 with scale (n + 0.1) / length, edges repeated."""
    length, out = line.shape[0], []
    for i in range(n):
        at = (i + 0.5) * length / (n + 0.1) - 0.5
        cells = range(math.floor(at) - 1, math.floor(at) + 3)
        out.append(sum(_cubic(at - c) * line[min(max(c, 0), length - 1)] for c in cells))
    return torch.stack(out)


@pytest.mark.parametrize(("height", "width"), [(6, 6), (16, 16), (9, 5)])
def test_positions_are_stretched_as_dino_does(height, width):
    """Bicubic with scale_factor (n + 0.1) / 14, not ``size=``: a slow restatement gives the same, CLS stays."""
    positions = torch.randn(1, 197, 3, dtype=torch.float64)
    got = resized_positions(positions, 14, height, width)
    grid = _stretched(positions[0, 1:].reshape(14, 14, 3), height)
    grid = _stretched(grid.transpose(0, 1), width).transpose(0, 1)
    torch.testing.assert_close(got[0, 1:], grid.reshape(-1, 3), atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(got[:, :1], positions[:, :1])


def test_own_grid_is_not_touched():
    """14 x 14 takes the positions as they are."""
    positions = torch.randn(1, 197, 3)
    assert resized_positions(positions, 14, 14, 14) is positions


def test_last_block_is_exact():
    """Working for CLS alone gives what the whole block gives for CLS, and the same gradients."""
    torch.manual_seed(0)
    whole = Block(12, 3, 4.0).double()
    short = ClassBlock(12, 3, 4.0).double()
    short.load_state_dict(whole.state_dict())
    x = torch.randn(2, 10, 12, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(whole(x)[:, 0].square().sum(), x)
    (got,) = torch.autograd.grad(short(x)[:, 0].square().sum(), x)
    torch.testing.assert_close(short(x), whole(x)[:, :1])
    torch.testing.assert_close(got, expected)


def test_attention_is_the_formula():
    """Fused attention equals softmax(q k / sqrt(d)) v written out, head by head; so does what CLS looks at."""
    torch.manual_seed(0)
    layer, x = Attention(12, 3).double(), torch.randn(1, 5, 12, dtype=torch.float64)
    qkv = nn.functional.linear(x, layer.qkv.weight, layer.qkv.bias)[0]
    heads = []
    for h in range(3):
        q, k, v = (qkv[:, part * 12 + h * 4 : part * 12 + h * 4 + 4] for part in range(3))
        weights = (q @ k.T / 2).softmax(-1)
        heads.append(weights @ v)
        torch.testing.assert_close(layer.weights_of_first(x)[0, h].double(), weights[0], atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(layer(x)[0], layer.proj(torch.cat(heads, 1)))


def test_stochastic_depth_is_the_sum_without_dropped_branches():
    """x + keep * branch / (1 - rate), sample by sample, with rates that rise linearly from 0."""
    net = _tiny().double()
    assert net.drop_rates == [0, 0, 0.25, 0.25, 0.5, 0.5] and net.n_draws == 6
    image, draws = torch.randn(5, 8, 4, 4, dtype=torch.float64), torch.rand(5, 6)
    got = net(image, draws=draws)
    for b in range(5):
        x = net._sequence(net.embed(image[b : b + 1]))
        for i, block in enumerate(net.blocks):
            rate = 0.5 * i / 2
            for j, (norm, branch) in enumerate([(block.norm1, block.attn), (block.norm2, block.mlp)]):
                keep = 0.0 if draws[b, 2 * i + j] < rate else 1.0
                x = x + keep / (1 - rate) * branch(norm(x))
        torch.testing.assert_close(got[b], net.norm(x[0, 0]))


def test_a_masked_branch_is_added_in_float32():
    """Under bfloat16 autocast: x + scale * branch, unrounded; gradients have the dtype of what they are of."""
    torch.manual_seed(0)
    x, branch = torch.randn(4, 3, 5, requires_grad=True), torch.randn(4, 3, 5).bfloat16().requires_grad_()
    scales, gradient = torch.tensor([0.0, 1 / 0.9, 1 / 0.7, 1.0]), torch.randn(4, 3, 5)
    with torch.autocast("cpu", torch.bfloat16):
        got = add_scaled(x, branch, scales)
    torch.testing.assert_close(got, x + branch.float() * scales[:, None, None])
    got.backward(gradient)
    assert got.dtype == x.grad.dtype == torch.float32 and branch.grad.dtype == torch.bfloat16
    assert torch.equal(x.grad, gradient)
    assert torch.equal(branch.grad, (gradient * scales[:, None, None]).bfloat16())


def test_all_or_nothing_kept():
    """All branches dropped, or none, in the whole batch: still a result, and a gradient for every parameter."""
    net, image = _tiny(), torch.randn(2, 8, 6, 6)
    for draws in (torch.zeros(2, 6), torch.full((2, 6), 0.999)):
        net.zero_grad(set_to_none=True)
        net(image, draws=draws).sum().backward()
        assert [name for name, p in net.named_parameters() if p.grad is None] == []


def test_draws_of_a_wrong_width_are_refused():
    """The error says how many numbers a sample needs."""
    with pytest.raises(ValueError, match=r"draws must be \(B, 6\): got \[2, 4\]"):
        _tiny()(torch.randn(2, 8, 4, 4), draws=torch.rand(2, 4))


def test_scales_of_branches():
    """0 where the draw is below the rate, else 1 / (1 - rate)."""
    scales = keep_scales(torch.tensor([[0.9, 0.1], [0.2, 0.2], [0.5, 0.9]]), [0.5, 0.15])
    torch.testing.assert_close(scales, torch.tensor([[2.0, 0.0], [0.0, 1 / 0.85], [2.0, 1 / 0.85]]))


def test_embedding_commutes_with_cropping():
    """phi works on each token by itself: embed once and crop, or crop and embed."""
    net, image = _tiny(), torch.randn(2, 8, 16, 16)
    cropped = net.embed(image)[:, 2:8, 3:9]
    torch.testing.assert_close(net.encode(cropped), net(image[:, :, 2:8, 3:9]))


def test_sizes_of_the_published_networks():
    """ViT4096-256 has 2.8 million parameters, ViT-S/16 has 21.7; both give CLS for any grid."""
    with torch.device("meta"):
        region, patch = RegionViT(), PatchViT()
    assert round(sum(p.numel() for p in region.parameters()) / 1e6, 1) == 2.8
    assert round(sum(p.numel() for p in patch.parameters()) / 1e6, 1) == 21.7
    assert region(torch.randn(2, 384, 6, 6, device="meta")).shape == (2, 192)
    with torch.device("meta"):
        assert RegionViT(**region.architecture).state_dict().keys() == region.state_dict().keys()
        assert PatchViT(**patch.architecture).state_dict().keys() == patch.state_dict().keys()


def test_patches_are_cut_as_the_convolution_does():
    """One matrix product equals the strided convolution of the same weights."""
    net = PatchViT(image_size=32, patch_size=8, dim=12, depth=1, n_heads=3)
    image = torch.randn(2, 3, 32, 40)
    expected = net.patch_embed.proj(image).permute(0, 2, 3, 1)
    torch.testing.assert_close(net.patch_embed(image), expected, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="multiples of 8 px: got 30 x 32"):
        net(torch.randn(1, 3, 30, 32))


def test_initialization_is_dinos():
    """Weights, CLS and positions are normal with sd 0.02 cut far out, biases 0, norms 1 and 0."""
    net = RegionViT(depth=2)
    for tensor in (net.pos_embed, net.blocks[0].attn.qkv.weight, net.phi[0].weight):
        assert abs(tensor.detach().std() - 0.02) < 2e-3
    assert not net.blocks[1].mlp.fc1.bias.any() and (net.norm.weight == 1).all()


def test_bf16_on_a_cpu():
    """Under bfloat16 autocast training and inference run, in two kinds of attention, close to float32."""
    net, image = _tiny(dim=48, in_dim=64), torch.randn(4, 64, 14, 14)
    exact = net(image)
    with torch.autocast("cpu", torch.bfloat16):
        trained = net(image, draws=torch.full((4, 6), 0.9))
        with torch.inference_mode():
            inferred = net(image)
        net(image).float().square().sum().backward()
    assert torch.isfinite(trained).all() and net.phi[0].weight.grad.isfinite().all()
    assert torch.cosine_similarity(inferred, exact).min() > 0.999


def test_attention_maps():
    """One non-negative map a head, as large as the grid; with CLS itself it sums to 1."""
    maps = _tiny().attention(torch.randn(2, 8, 5, 7))
    assert maps.shape == (2, 3, 5, 7) and (maps >= 0).all() and (maps.sum((2, 3)) < 1).all()
    assert PatchViT(32, 8, 12, 2, 3).attention(torch.randn(1, 3, 32, 32)).shape == (1, 3, 4, 4)


@pytest.mark.parametrize("options", [{"depth": 0}, {"drop_path": 1.0}, {"dim": 13}])
def test_impossible_arguments_are_refused(options):
    """No blocks, certain drop, and a width that heads do not divide are refused at construction."""
    with pytest.raises(ValueError, match="got"):
        _tiny(**options)


@pytest.mark.parametrize("kind", ["regions", "patches"])
def test_groups_at_once_are_the_groups_one_by_one(kind):
    """Crops of two sizes in one pass: the same embeddings and gradients as in a pass for each size."""
    torch.manual_seed(0)
    options = {"dim": 12, "depth": 3, "n_heads": 3, "drop_path": 0.5}
    net = RegionViT(in_dim=8, **options) if kind == "regions" else PatchViT(image_size=32, patch_size=8, **options)
    net, n_channels, cell = net.double(), *((8, 1) if kind == "regions" else (3, 8))
    images = [torch.randn(3, n_channels, n * cell, n * cell, dtype=torch.float64) for n in (4, 2)]
    images.append(torch.randn(2, n_channels, 3 * cell, 3 * cell, dtype=torch.float64))
    draws = [torch.rand(len(image), 6, dtype=torch.float64) for image in images]
    masks = [torch.rand(len(image), *(side // cell for side in image.shape[2:])) < 0.5 for image in images]
    masks[1] = None

    def one_by_one():
        return torch.cat([net.encode(net.embed(image), *own) for image, *own in zip(images, masks, draws, strict=True)])

    results = []
    for call in (one_by_one, lambda: net.encode_groups([net.embed(image) for image in images], masks, draws)):
        net.zero_grad(set_to_none=True)
        embeddings = call()
        embeddings.square().sum().backward()
        results.append([embeddings, *(p.grad for p in net.parameters())])
    for got, expected in zip(*results[::-1], strict=True):
        torch.testing.assert_close(got, expected)
