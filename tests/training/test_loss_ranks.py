"""Several processes are one."""

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from bundle.prototypes import PrototypeTargets
from bundle.training import SLPDLoss

CASES = [(False, 1, 0.6), (True, 1, 0.6), (False, 0, 0.6), (False, 2, 0.0)]


def _batch(share_valid):
    torch.manual_seed(0)
    unit = [torch.nn.functional.normalize(torch.randn(*s), dim=-1) for s in ((4, 5, 6), (30, 6), (3, 5, 6))]
    return *unit, torch.rand(3, 5) < share_valid


def _step(rows, update_per_loss, share_valid):
    """Two steps on some rows of the batch: losses, gradients and centers."""
    views, weight, vectors, valid = _batch(share_valid)
    student = views[:, rows].clone().requires_grad_()
    weight.requires_grad_()
    prototypes = PrototypeTargets(vectors[:, rows], valid[:, rows])
    loss = SLPDLoss(30, update_per_loss=update_per_loss)
    for _ in range(2):
        terms = loss(student, weight, views[:2, rows].flip(0), weight.detach(), 0.04, prototypes)
        loss.update_centers(views[:2, rows], weight.detach(), prototypes)
    gradients = torch.autograd.grad(terms["loss"], (student, weight))
    return {name: term.detach() for name, term in terms.items()}, *gradients, loss.state_dict()


def _work(rank, meeting, results):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    out = []
    for update_per_loss, n_first, share_valid in CASES:
        rows = slice(0, n_first) if rank == 0 else slice(n_first, 5)
        out.append(_step(rows, update_per_loss, share_valid))
    torch.save(out, f"{results}.{rank}")
    dist.destroy_process_group()


def test_two_processes_equal_one(tmp_path):
    """Ranks with 1 and 4, 0 and 5, 2 and 3 regions report the loss, average to the gradients and hold the centers of
    one process; the center used to differ between ranks of unequal size."""
    mp.spawn(_work, args=(tmp_path / "meeting", tmp_path / "result"), nprocs=2)
    results = [torch.load(f"{tmp_path / 'result'}.{rank}", weights_only=True) for rank in range(2)]
    for i, (update_per_loss, _, share_valid) in enumerate(CASES):
        terms, grad_student, grad_weight, centers = _step(slice(0, 5), update_per_loss, share_valid)
        ranks = [result[i] for result in results]
        for rank_terms, _, _, rank_centers in ranks:
            torch.testing.assert_close(rank_terms, terms, rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(dict(rank_centers), dict(centers), rtol=1e-5, atol=1e-5)
        mean_weight = (ranks[0][2] + ranks[1][2]) / 2
        torch.testing.assert_close(mean_weight, grad_weight, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(torch.cat([r[1] for r in ranks], 1) / 2, grad_student, rtol=1e-5, atol=1e-5)
