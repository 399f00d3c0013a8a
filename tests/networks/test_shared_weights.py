"""Weights that the passes of a step share."""

import pytest
import torch

from bundle.networks import Distiller, Encoder, LastLayer, ProjectionHead, RegionViT
from bundle.networks.shared_weights import SharedWeights


@pytest.fixture
def encoder():
    """A small one."""
    torch.manual_seed(0)
    return Encoder(RegionViT(8, 12, 3, 3), ProjectionHead(12, 16, 6))


def _bf16():
    return torch.autocast("cpu", torch.bfloat16)


def _gradients(module, call):
    module.zero_grad(set_to_none=True)
    call().float().square().sum().backward()
    return {name: p.grad for name, p in module.named_parameters()}


def test_each_pass_gives_what_the_module_gives(encoder):
    """The bits of a plain call under autocast, with and without gradients, however many passes there are."""
    backbone = encoder.backbone
    images, draws = [torch.randn(4, 8, n, n) for n in (14, 6)], torch.rand(4, 6)
    with _bf16():
        shared = SharedWeights(backbone, 2)
        for number, image in enumerate(images):
            assert torch.equal(shared(number, image, None, draws), backbone(image, None, draws))
        with torch.no_grad():
            assert torch.equal(SharedWeights(backbone, 1)(0, images[0]), backbone(images[0]))


def test_gradients_are_those_of_the_passes_summed_in_float32(encoder):
    """Each pass has the bits of a plain call's gradients; the sum, which autocast rounds to bfloat16, is float32's."""
    backbone, images = encoder.backbone, [torch.randn(4, 8, n, n) for n in (14, 6)]

    def shared():
        with _bf16():
            passes = SharedWeights(backbone, 2)
            return torch.cat([passes(number, image) for number, image in enumerate(images)])

    def plain(image):
        with _bf16():
            return backbone(image)

    got = _gradients(backbone, shared)
    parts = [_gradients(backbone, lambda image=image: plain(image)) for image in images]
    for name, gradient in got.items():
        assert gradient.dtype == torch.float32
        assert torch.equal(gradient, parts[1][name] + parts[0][name]), name


def test_a_frozen_part_takes_no_gradient(encoder):
    """Parameters that are not trained stay without, the others get theirs."""
    encoder.head.mlp[0].requires_grad_(False)
    with _bf16():
        encoder_out = SharedWeights(encoder.head, 1)(0, torch.randn(3, 12))
    encoder_out.sum().backward()
    grads = {name for name, p in encoder.head.named_parameters() if p.grad is not None}
    assert grads == {f"mlp.{i}.{kind}" for i in (2, 4) for kind in ("weight", "bias")}


def test_the_module_has_its_own_weights_afterwards(encoder):
    """After a pass, and after one that failed."""
    before = dict(encoder.named_parameters())
    with _bf16():
        shared = SharedWeights(encoder.backbone, 2)
        shared(0, torch.randn(2, 8, 6, 6))
        with pytest.raises(RuntimeError):
            shared(1, torch.randn(2, 5, 6, 6))
    after = dict(encoder.named_parameters())
    assert after.keys() == before.keys() and all(after[name] is before[name] for name in before)


def test_without_autocast_the_module_is_called_as_it_is(encoder):
    """Nothing is converted: float32 in, the module's own parameters used."""
    student = Distiller(encoder, LastLayer(6, 20))
    seen = []
    encoder.head.register_forward_hook(lambda module, *_: seen.append(module.mlp[0].weight))
    student([torch.randn(2, 3, 8, 6, 6)])
    assert seen[0] is encoder.head.mlp[0].weight
    with _bf16():
        student([torch.randn(2, 3, 8, 6, 6)])
    assert seen[1].dtype == torch.bfloat16
