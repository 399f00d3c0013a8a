"""Where tokenizing's time goes, as the benchmark tells it."""

from scripts.bench.tokenizing import GOAL, Profile, profile, table, write_vit_s


def test_the_parts_of_a_real_run(tmp_path, demo_slides):
    """Every patch is counted, and what the main thread does one after the other is within the wall time."""
    write_vit_s(tmp_path / "vit.pt", 8.0)
    ids = {"device": "cpu", "num_workers": 1, "patch_size": 64, "patch_input_px": 32, "region_patches": 4, "mpp": 8.0}
    found = profile(demo_slides, tmp_path / "vit.pt", {**ids, "max_enlarge": 2.0, "min_tissue_patches": 1})
    parts = (found.first, found.waiting, found.encoding, found.writing)
    assert found.patches > 0 and min(parts) > 0 and min(found.opening, found.reading) > 0
    assert sum(parts) <= found.wall * 1.01 and 0 < found.without_batch < 1 and found.bare > 0


def test_the_goal_is_marked():
    """Met below a tenth of the wall time, missed from there on."""
    idle = [Profile(10.0, share * 10, 0.0, 1.0, 1.0, 1.0, 1.0, 5, 1.0) for share in (GOAL / 2, GOAL)]
    lines = table([("a", idle[0]), ("b", idle[1])]).splitlines()
    assert "| 50% |" in lines[2] and "5.0% (met)" in lines[2] and "10.0% (missed)" in lines[3]
