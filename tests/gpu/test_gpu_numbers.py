"""On a GPU every number is what it is on the CPU. Skipped, saying so, where there is no GPU."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bundle.networks import Distiller, Encoder, LastLayer, PatchTokenizer, PatchViT, ProjectionHead, RegionViT
from bundle.parallel import keyed_uniform
from bundle.prototypes import PrototypeBank, PrototypeTargets, batched_kmeans, nearest_slides, neighbor_search
from bundle.storage import TokenDataset
from bundle.training import SLPDLoss
from bundle.training.handlers.gradients import clip_each_
from bundle.training.transforms.token_crops import RandTokenCrops
from bundle.training.transforms.token_shift import RandTokenShift

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: nothing was tried on CUDA")
GPU = "cuda"


def _unit(*shape, seed=0):
    rows = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return F.normalize(rows, dim=-1)


def _loss_and_gradients(device, dtype, amp=False, n_regions=24, out_dim=3000):
    student = _unit(10, n_regions, 64, seed=1).to(device, dtype).requires_grad_()
    weight = _unit(out_dim, 64, seed=2).to(device, dtype).requires_grad_()
    teacher, teacher_weight = _unit(2, n_regions, 64, seed=3).to(device, dtype), _unit(out_dim, 64, seed=4)
    valid = torch.arange(2 * n_regions).view(2, n_regions) % 5 > 0
    targets = PrototypeTargets(_unit(2, n_regions, 64, seed=5).to(device, dtype), valid.to(device))
    loss = SLPDLoss(out_dim).to(device, dtype)
    for center, seed in ((loss.dino.center, 6), (loss.prototype.center, 7)):
        center.value.copy_(0.1 * _unit(out_dim, seed=seed))
    with torch.autocast("cuda", torch.bfloat16, amp):
        terms = loss(student, weight, teacher, teacher_weight.to(device, dtype), 0.04, targets)
    terms["loss"].backward()
    loss.update_centers(teacher, teacher_weight.to(device, dtype), targets)
    found = [terms["loss"], terms["self"], terms["intra"], terms["inter"], student.grad, weight.grad]
    found += [loss.dino.center.value, loss.prototype.center.value]
    return [value.detach().double().cpu() for value in found]


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-10), (torch.float32, 2e-5)])
def test_the_loss_is_the_same(dtype, bound):
    """Losses, both gradients and both centers equal those of the CPU in float64."""
    for ours, truth in zip(_loss_and_gradients(GPU, dtype), _loss_and_gradients("cpu", torch.float64), strict=True):
        assert float((ours - truth).norm() / truth.norm()) < bound


def test_the_loss_in_bf16_is_near():
    """Under autocast losses are within 0.5 %, gradients point the same way."""
    ours = _loss_and_gradients(GPU, torch.float32, amp=True)
    truth = _loss_and_gradients("cpu", torch.float64)
    for a, b in zip(ours[:4], truth[:4], strict=True):
        assert float((a - b).abs() / b) < 5e-3
    for a, b in zip(ours[4:6], truth[4:6], strict=True):
        assert float(F.cosine_similarity(a.flatten(), b.flatten(), dim=0)) > 0.999


@pytest.mark.parametrize("n_regions", [1, 700])
def test_the_loss_does_not_depend_on_the_chunks(n_regions):
    """One region; and so many that outputs take several chunks and their logits are made again for the gradient."""
    ours = _loss_and_gradients(GPU, torch.float32, n_regions=n_regions, out_dim=9000)
    truth = _loss_and_gradients("cpu", torch.float64, n_regions=n_regions, out_dim=9000)
    for a, b in zip(ours, truth, strict=True):
        assert float((a - b).norm()) <= 5e-5 * float(b.norm()) + 1e-9


def test_random_numbers_and_views_are_the_same():
    """Bits of keyed numbers, and crops made from them, do not depend on the device."""
    ids = torch.tensor([0, 3, 2**40, 17])
    assert torch.equal(keyed_uniform(3, 2, ids.to(GPU), 5, 9).cpu(), keyed_uniform(3, 2, ids, 5, 9))
    tokens, crops = torch.randn(4, 16, 16, 8).half(), RandTokenCrops(seed=1)
    for ours, truth in zip(crops(tokens.to(GPU), ids.to(GPU), 2), crops(tokens, ids, 2), strict=True):
        assert torch.equal(ours.cpu(), truth)


def test_clusters_are_the_same_and_come_again():
    """Separable slides: the partition of the CPU; any slides: about its inertia, and bit for bit the same twice."""
    lengths = torch.tensor([40, 3, 1, 25, 9])
    slide_index = torch.arange(5).repeat_interleave(lengths)
    wanted = torch.full((5,), 4)
    centers = 5 * _unit(5, 4, 32, seed=1).float()
    points = centers[slide_index, torch.arange(78) % 4] + 0.05 * _unit(78, 32, seed=2).float()
    on_gpu = batched_kmeans(points.to(GPU), slide_index.to(GPU), wanted.to(GPU))
    on_cpu = batched_kmeans(points, slide_index, wanted)
    assert torch.equal(on_gpu.assignment.cpu(), on_cpu.assignment)
    torch.testing.assert_close(on_gpu.centroids.cpu(), on_cpu.centroids, rtol=1e-5, atol=1e-5)
    noise = _unit(78, 32, seed=3).float()
    runs = [batched_kmeans(noise.to(GPU), slide_index.to(GPU), wanted.to(GPU)) for _ in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))
    truth = batched_kmeans(noise, slide_index, wanted).inertia.sum()
    assert float((runs[0].inertia.sum().cpu() - truth).abs() / truth) < 0.02


@pytest.mark.parametrize(
    ("size", "n_neighbors", "match"), [(4, 1, "assignment"), (6, 3, "assignment"), (4, 2, "nearest")]
)
@pytest.mark.parametrize("sketched_slides", [100, 4096])
def test_neighbors_are_the_same(monkeypatch, size, n_neighbors, match, sketched_slides):
    """Slides with fewer prototypes, and one without any, included; by bounds of all dimensions and of few."""
    monkeypatch.setattr(neighbor_search, "_SKETCHED_SLIDES", sketched_slides)
    monkeypatch.setattr(neighbor_search, "_SKETCH_DIMS", (15,))
    monkeypatch.setattr(neighbor_search, "_FEW", 1.0)
    prototypes = _unit(300, size, 32, seed=4).float()
    valid = torch.arange(300 * size).view(300, size) % 11 > 0
    valid[7] = False
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")  # TF32 elsewhere must not loosen the bounds
    try:
        ours = nearest_slides(prototypes.to(GPU), valid.to(GPU), n_neighbors, match=match)
    finally:
        torch.set_float32_matmul_precision(before)
    truth = nearest_slides(prototypes, valid, n_neighbors, match=match)
    assert torch.equal(ours.index.cpu(), truth.index)
    assert torch.equal(ours.partner.cpu(), truth.partner)
    torch.testing.assert_close(ours.similarity.cpu(), truth.similarity, rtol=1e-5, atol=1e-5)


def test_a_bank_gives_the_same_targets():
    """Cluster, match, targets of a batch whose ids lie on either device."""
    kinds = _unit(8, 32, seed=5).float()
    slide_index = torch.arange(20).repeat_interleave(6)
    points = F.normalize(kinds[torch.arange(120) % 7] + 0.1 * _unit(120, 32, seed=6).float(), dim=1)
    region_ids, found = torch.arange(0, 120, 7), []
    for device, place_of_ids in (("cpu", "cpu"), (GPU, GPU), (GPU, "cpu")):
        bank = PrototypeBank(4, 2)
        bank.fit(points.to(device), slide_index.to(device), 20)
        bank.match()
        found.append(bank.targets(region_ids.to(place_of_ids), device))
        assert found[-1].vectors.device.type == torch.device(device).type
    for other in found[1:]:
        assert torch.equal(found[0].valid, other.valid.cpu())
        torch.testing.assert_close(found[0].vectors, other.vectors.cpu(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("amp", [False, True])
def test_encoders_are_the_same(amp):
    """Embedding, bottleneck, attention and patch tokens; in bf16 with a cosine of 0.999 and more."""
    torch.manual_seed(0)
    encoder = Encoder(RegionViT(in_dim=48, dim=64, depth=3, n_heads=2), ProjectionHead(64, 96, 32)).eval()
    tokenizer = PatchTokenizer(PatchViT(dim=64, depth=2, n_heads=2), 64, amp=False)
    image, patches = torch.randn(3, 48, 16, 16), torch.randint(256, (3, 3, 256, 256), dtype=torch.uint8)
    with torch.inference_mode():
        truth = [encoder(image), encoder.project(image), tokenizer(patches)]
        attention = encoder.backbone.attention(image)
        encoder, fast = encoder.to(GPU), PatchTokenizer(tokenizer.backbone, 64, amp=amp).to(GPU)
        with torch.autocast("cuda", torch.bfloat16, amp):
            ours = [encoder(image.to(GPU)), encoder.project(image.to(GPU)), fast(patches.to(GPU))]
        torch.testing.assert_close(encoder.backbone.attention(image.to(GPU)).cpu(), attention, rtol=1e-3, atol=1e-5)
    for a, b in zip(ours, truth, strict=True):
        cosines = F.cosine_similarity(a.float().cpu(), b.float(), dim=-1)
        assert float(cosines.min()) > (0.999 if amp else 0.999999)


@pytest.mark.parametrize("amp", [False, True])
def test_a_student_and_its_clipped_gradients_are_the_same(amp):
    """Crops of both sizes in one pass, branches masked, many gradients in a kernel: what a CPU gives by other ways."""
    torch.manual_seed(1)
    views, draws = [torch.randn(2, 4, 48, 14, 14), torch.randn(3, 4, 48, 6, 6)], [torch.rand(n, 4, 6) for n in (2, 3)]
    results = []
    for device in ("cpu", GPU):
        torch.manual_seed(0)
        encoder = Encoder(RegionViT(in_dim=48, dim=64, depth=3, n_heads=2, drop_path=0.5), ProjectionHead(64, 96, 32))
        student = Distiller(encoder, LastLayer(32, 50)).to(device)
        with torch.autocast(device, torch.bfloat16, enabled=amp and device == GPU):
            bottlenecks, _ = student([v.to(device) for v in views], draws=[d.to(device) for d in draws])
        (bottlenecks * torch.arange(32.0, device=device)).sum().backward()
        clip_each_(student.parameters(), 3.0)
        results.append([bottlenecks, *(p.grad for p in encoder.parameters())])
    for ours, truth in zip(results[1], results[0], strict=True):
        ours, truth = ours.detach().cpu().float().flatten(), truth.detach().flatten()
        if truth.norm() > 1e-3:  # keys have no use for a bias
            assert float(F.cosine_similarity(ours, truth, dim=0)) > (0.98 if amp else 0.99999)


@pytest.mark.parametrize("kind", ["covariance", "swap"])
def test_token_shift_is_the_same(kind):
    """Shifted views of the GPU are those of the CPU."""
    means, spreads = _unit(5, 8, seed=7).float(), 0.5 + _unit(5, 8, seed=8).float().abs()
    slides, ids = torch.tensor([0, 4, 4]), torch.tensor([9, 2, 5])
    views = [torch.randn(2, 3, 8, 6, 6), torch.randn(4, 3, 8, 3, 3)]
    truth = RandTokenShift(means, spreads, kind)(views, slides, ids, 3)
    ours = RandTokenShift(means, spreads, kind)([v.to(GPU) for v in views], slides.to(GPU), ids.to(GPU), 3)
    for a, b in zip(ours, truth, strict=True):
        torch.testing.assert_close(a.cpu(), b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cache", ["device", "memory", "none"])
def test_tokens_reach_the_gpu_unchanged(tmp_path, cache):
    """Whatever keeps them, a batch holds the bytes of the files; "device" gives tensors that are there already."""
    from cohorts import write_cohort

    folder = write_cohort(tmp_path / "tokens", regions=(3, 70, 1))
    truth = TokenDataset(folder, cache="none").read(np.array([72, 0, 5, 5, 73]))
    dataset = TokenDataset(folder, cache=cache, device=GPU)
    for _ in range(2):
        batch = dataset.read(np.array([72, 0, 5, 5, 73]))
        assert batch.is_cuda == (cache == "device")
        assert torch.equal(batch.to(GPU, non_blocking=True).cpu(), truth)
    if cache != "device":
        assert batch.is_pinned()
