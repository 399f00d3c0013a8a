"""Several processes are one."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from ignite.engine import Engine
from torch.nn.parallel import DistributedDataParallel

from bundle.networks import Distiller, Encoder, LastLayer, ProjectionHead, RegionViT, frozen_copy
from bundle.prototypes import PrototypeChoices, PrototypeTargets
from bundle.training import InstanceHandler, MaskedTokens, SLPDLoss
from bundle.training.slpd_trainer import _Hidden

BALANCED = {"centering": "sinkhorn", "bottleneck_dim": 6}
ALL = BALANCED | {"sinkhorn_queue": 7, "prototype_temperature": "match", "koleo_weight": 0.3}
DEALT = (slice(0, None, 2), slice(1, None, 2))  # as the sampler deals a batch, which the order of a queue follows
CASES = [  # options, each rank's rows, share of prototypes that exist, precision
    ({"center_update_per_loss": False}, (slice(0, 1), slice(1, 5)), 0.6, torch.float32),
    ({"center_update_per_loss": True}, (slice(0, 1), slice(1, 5)), 0.6, torch.float32),
    ({"center_update_per_loss": False}, (slice(0, 0), slice(0, 5)), 0.6, torch.float32),
    ({"center_update_per_loss": False}, (slice(0, 2), slice(2, 5)), 0.0, torch.float32),
    (ALL, DEALT, 0.6, torch.float64),
    (BALANCED, (slice(0, 0), slice(0, 5)), 0.0, torch.float64),
    ({"prototype_temperature": "match", "koleo_weight": 0.3}, (slice(0, 0), slice(0, 5)), 0.6, torch.float64),
    ({"koleo_weight": 0.3}, (slice(0, 1), slice(1, 5)), 0.6, torch.float64),
    ({"prototype_task": "assign"}, (slice(0, 1), slice(1, 5)), 0.6, torch.float64),
    ({"prototype_task": "assign"}, (slice(0, 0), slice(0, 5)), 0.0, torch.float64),
    ({"mask_weight": 0.7}, (slice(0, 1), slice(1, 5)), 0.6, torch.float64),  # the first rank has no hidden token
    (BALANCED | {"mask_weight": 0.7}, DEALT, 0.6, torch.float64),
]
HIDDEN = [[0, 2, 1, 0, 3], [0, 1, 0, 4, 2]]  # tokens of two views of five regions


def _batch(share_valid):
    torch.manual_seed(0)
    unit = [torch.nn.functional.normalize(torch.randn(*s), dim=-1) for s in ((4, 5, 6), (30, 6), (3, 5, 6))]
    return *unit, torch.rand(3, 5) < share_valid


def _step(rows, options, share_valid, dtype):
    """Two steps on some rows of the batch: losses, gradients and centers."""
    *tensors, valid = _batch(share_valid)
    views, weight, vectors = (tensor.to(dtype) for tensor in tensors)
    student = views[:, rows].clone().requires_grad_()
    weight.requires_grad_()
    others = torch.stack([vectors, vectors.flip(2)], 2).roll(1, 3)[:, rows]
    choices = PrototypeChoices(others, torch.ones(others.shape[:3], dtype=torch.bool), valid[:, rows].long())
    prototypes = PrototypeTargets(vectors[:, rows], valid[:, rows], choices)
    loss = SLPDLoss(30, **options).to(dtype)
    for _ in range(2):
        tokens = _tokens(student, views[:2, rows], rows)
        terms = loss(student, weight, views[:2, rows].flip(0), weight.detach(), 0.04, prototypes, tokens)
        loss.update_centers(views[:2, rows], weight.detach(), prototypes, tokens)
    gradients = torch.autograd.grad(terms["loss"], (student, weight))
    return {name: term.detach() for name, term in terms.items()}, *gradients, loss.state_dict()


def _tokens(student, teacher, rows):
    """Hidden tokens of two views, each made of its view's bottleneck, so that the student's has a gradient of them."""
    counts = torch.tensor(HIDDEN)[:, rows].flatten()
    turned = student[2:4].flatten(0, 1), teacher.flip(2).flatten(0, 1)
    share = (1 / counts.double()).repeat_interleave(counts)
    return MaskedTokens(*(vectors.repeat_interleave(counts, 0) for vectors in turned), share)


def _network_step(rows):
    """Gradients of all weights after two steps of a whole student of some regions, behind DDP where there are ranks."""
    torch.manual_seed(0)
    encoder = Encoder(RegionViT(5, 8, 2, 2, n_positions=4, n_registers=1), ProjectionHead(8, 10, 6))
    student = Distiller(encoder, LastLayer(6, 30), has_mask_token=True)
    teacher, loss = frozen_copy(student), SLPDLoss(30, mask_weight=0.7)
    views, hidden = [torch.randn(n, 5, 5, side, side) for n, side in ((2, 4), (1, 2))], torch.rand(2, 5, 4, 4) < 0.3
    hidden[:, 0] = False
    asked = _Hidden.of(hidden[:, rows], torch.device("cpu"))
    network = DistributedDataParallel(student) if dist.is_initialized() else student
    for _ in range(2):
        network.zero_grad()
        own = [group[:, rows] for group in views]
        guess, weight, told = network(own, None, None, asked.choice)
        target, teacher_weight, seen = teacher(own[:1], None, None, asked.shown)
        tokens = MaskedTokens(told, seen, asked.share)
        loss(guess, weight, target, teacher_weight, 0.04, None, tokens)["loss"].backward()
        loss.update_centers(target, teacher_weight, None, tokens)
    return {name: p.grad for name, p in student.named_parameters() if p.requires_grad}


def _watched(rows):
    """How well regions tell themselves apart, over two epochs of one step."""
    student, _, _, _ = _batch(1.0)

    def step(engine, batch):
        engine.state.bottlenecks = student[:, rows], student[2:, rows]

    engine = Engine(step)
    InstanceHandler().attach(engine)
    engine.run([0], max_epochs=2)
    return engine.state.measured


def _work(rank, meeting, results):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    out = []
    for options, shares, share_valid, dtype in CASES:
        out.append(_step(shares[rank], options, share_valid, dtype))
    torch.save(out, f"{results}.{rank}")
    torch.save(_network_step(CASES[0][1][rank]), f"{results}.network.{rank}")
    torch.save([_watched(case[1][rank]) for case in CASES[:1] + CASES[4:5]], f"{results}.watched.{rank}")
    dist.destroy_process_group()


def test_two_processes_equal_one(tmp_path, warm_spawn):
    """Ranks with 1 and 4, 0 and 5, 2 and 3 regions report the loss, average to the gradients and hold the centers of
    one process; the center used to differ between ranks of unequal size. So with balance, queue, matched temperature,
    KoLeo, assignment and hidden tokens, to 1e-10. A network of which a rank hides nothing has one
    process's gradients as well, and regions are told apart among those of both ranks."""
    mp.spawn(_work, args=(tmp_path / "meeting", tmp_path / "result"), nprocs=2)
    results = [torch.load(f"{tmp_path / 'result'}.{rank}", weights_only=True) for rank in range(2)]
    for i, (options, shares, share_valid, dtype) in enumerate(CASES):
        tolerance = {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 1e-10, "atol": 1e-10}
        terms, grad_student, grad_weight, centers = _step(slice(0, 5), options, share_valid, dtype)
        ranks = [result[i] for result in results]
        for rank_terms, _, _, rank_centers in ranks:
            torch.testing.assert_close(rank_terms, terms, **tolerance)
            torch.testing.assert_close(dict(rank_centers), dict(centers), **tolerance)
        mean_weight = (ranks[0][2] + ranks[1][2]) / 2
        torch.testing.assert_close(mean_weight, grad_weight, **tolerance)
        together = torch.zeros_like(grad_student)
        for rows, (_, grad, _, _) in zip(shares, ranks, strict=True):
            together[:, rows] = grad / 2
        torch.testing.assert_close(together, grad_student, **tolerance)
    alone = _network_step(slice(0, 5))
    for rank in range(2):
        gradients = torch.load(f"{tmp_path / 'result'}.network.{rank}", weights_only=True)
        torch.testing.assert_close(gradients, alone, rtol=1e-4, atol=1e-5)
        assert torch.load(f"{tmp_path / 'result'}.watched.{rank}") == [pytest.approx(_watched(slice(0, 5)))] * 2
