"""Clustering shared by processes."""

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from bundle.prototypes import PrototypeBank, neighbor_search

LENGTHS = (6, 40, 3, 1, 0, 17, 9)


def _fit():
    torch.manual_seed(0)
    slide_index = torch.arange(len(LENGTHS)).repeat_interleave(torch.tensor(LENGTHS))
    features = torch.nn.functional.normalize(torch.randn(len(slide_index), 16), dim=1)
    bank = PrototypeBank(3, 2, 2)
    stats = bank.fit(features, slide_index, len(LENGTHS)) | bank.match()
    stats |= bank.fit(features.flip(1).roll(1, 1), slide_index, len(LENGTHS)) | bank.match()
    return bank.state_dict(), stats


def _work(rank, meeting, results):
    torch.set_num_threads(1)
    neighbor_search._BLOCK_ROWS["cpu"] = 6  # two slides, so that both ranks have pairs to compare
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    torch.save(_fit(), f"{results}.{rank}")
    dist.destroy_process_group()


def test_two_processes_cluster_and_match_as_one(tmp_path, warm_spawn):
    """What two ranks cluster and match is, put together, that of one process, on both ranks, as are the numbers."""
    mp.spawn(_work, args=(tmp_path / "meeting", tmp_path / "result"), nprocs=2)
    state, stats = _fit()
    for rank in range(2):
        rank_state, rank_stats = torch.load(f"{tmp_path / 'result'}.{rank}", weights_only=True)
        torch.testing.assert_close(rank_state, state, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(rank_stats, stats, rtol=1e-5, atol=1e-5)
