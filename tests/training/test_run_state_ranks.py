"""What several processes agree on before they start."""

import torch.distributed as dist
import torch.multiprocessing as mp

from bundle.core import BundleError
from bundle.training import RunState


def _check(rank, folder, regions, said):
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    try:
        RunState(folder, {}, {"regions": regions[rank]}).check_ranks()
        said.put("alike")
    except BundleError as error:
        said.put(str(error))
    dist.destroy_process_group()


def run(folder, regions):
    """What two processes with these numbers of regions say."""
    folder.mkdir()
    said = mp.get_context("spawn").SimpleQueue()
    mp.spawn(_check, (str(folder), regions, said), nprocs=2)
    return [said.get(), said.get()]


def test_processes_with_other_input_stop_on_every_rank(tmp_path, warm_spawn):
    """A file that one machine could not read used to end in a hang, or in mixed region ids."""
    assert run(tmp_path / "same", (5, 5)) == ["alike", "alike"]
    assert all("has other input or settings than process" in text for text in run(tmp_path / "other", (5, 4)))
