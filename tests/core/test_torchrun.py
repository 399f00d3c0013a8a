"""What processes of one torchrun tell one another, and how they share work out."""

import time

import pytest
from met import together

import bundle.core.torchrun as torchrun
from bundle.core import BundleError

SIZES = {f"slide_{number:02d}": number * 7 % 20 for number in range(20)}


def test_values_come_together_in_order(monkeypatch):
    """Each process has all values, by rank, whenever the others come, and however large a value is."""
    monkeypatch.setattr(torchrun, "_PART", 100)

    def say(met):
        time.sleep(0.05 * met.rank)
        return [met.gather({"rank": met.rank, "text": "é" * 1000 * met.rank}), met.gather(None)]

    everything = [[{"rank": rank, "text": "é" * 1000 * rank} for rank in range(3)], [None] * 3]
    assert together(3, say) == [everything] * 3


def test_work_is_taken_largest_first_and_once():
    """A process that is slow takes less; each item is taken by one of them."""

    def work(met):
        taken = []
        for number, name in met.share_out(list(SIZES)[:: 1 - 2 * met.rank], str, SIZES.__getitem__):
            assert 0 <= number < 20
            taken.append(name)
            time.sleep(0.02 if met.rank else 0.002)
        return taken

    quick, slow = together(2, work)
    assert sorted(quick + slow) == sorted(SIZES) and len(slow) < len(quick)
    assert all(SIZES[a] >= SIZES[b] for taken in (quick, slow) for a, b in zip(taken, taken[1:], strict=False))


def test_a_process_that_sees_other_slides_is_named():
    """Before any work, on all processes."""

    def work(met):
        return list(met.share_out([*"abc"[met.rank :]], str, len))

    for error in together(2, work):
        assert isinstance(error, BundleError) and "process 1 sees 2 slides, process 0 3, and not the same" in str(error)


@pytest.mark.parametrize("is_shared", [True, False])
def test_a_folder_that_is_not_shared_is_refused(tmp_path, monkeypatch, is_shared):
    """Process 0 leaves a marker, which another machine with a folder of its own does not see; nothing stays."""
    monkeypatch.setattr(torchrun, "_PATIENCE_S", 0.2)

    def look(met):
        met.hosts = ["process 0 on a", "process 1 on b"]
        folder = tmp_path / ("one" if is_shared or met.rank == 0 else "other")
        return met.insist_on_shared(folder, "token files", "tokens_dir")

    found = together(2, look)
    if is_shared:
        assert found == [tmp_path / "one"] * 2
    else:
        assert all("process 1 on b does not see what process 0 on a writes to" in str(error) for error in found)
    assert not list(tmp_path.rglob(".meeting_*"))


def test_other_code_is_refused_by_name():
    """Versions are compared before anything is done; who has which is said on every process."""
    ours = torchrun._versions()
    assert set(ours) == {"code", "torch", "monai", "numpy"} and len(ours["code"]) == 12

    def start(met):
        torchrun.meet(met, ours if met.rank < 2 else ours | {"torch": "2.0.1"})
        return met.hosts

    equal = together(2, start)
    assert equal[0] == equal[1] and equal[0][1].startswith("process 1 on ")
    for error in together(3, start):
        assert isinstance(error, BundleError)
        assert f"the same torch: {equal[0][0]} has {ours['torch']}, process 2 on " in str(error)
        assert "has 2.0.1. Install the same" in str(error)
