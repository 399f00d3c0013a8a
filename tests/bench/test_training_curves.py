"""What a run's history says at the moments that docs/README.md tells."""

import pytest

from bundle.core import BundleError
from scripts.bench.curves import as_table, histories

HISTORY = """epoch,knn_accuracy,self,intra,inter,loss,dead_share
0,0.5,,,,,
1,,6,0,0,6,
2,0.6,4,0,0,4,
3,,4.5,2,1,7.5,0
4,0.7,3,1,1,5,0
"""


def test_moments_of_two_runs(tmp_path):
    """The first epoch, both sides of where SLPD begins, the last; of two runs the range; no row for what nobody has."""
    for name, text in (("a", HISTORY), ("b", HISTORY.replace("4,0.7,3,", "4,0.7,2,"))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "history.csv").write_text(text)
    rows = [line.split(" | ") for line in as_table({"both": histories(str(tmp_path))}).splitlines()]
    told = {row[0].strip("| `"): [cell.strip(" |") for cell in row[1:]] for row in rows[2:]}
    assert told["self"] == ["6", "4", "4.5", "2 to 3"] and told["loss"] == ["6", "4", "7.5", "5"]
    assert told["loo_knn_accuracy"] == ["", "0.6", "", "0.7"], "the name that runs gave it before is known"
    assert told["dead_share"] == ["", "", "0", "0"] and "kl" not in told


def test_a_run_without_slpd_is_named(tmp_path):
    """Plain DINO has no moment at which SLPD begins; a folder without runs is none."""
    (tmp_path / "history.csv").write_text("epoch,self,intra\n1,6,0\n")
    with pytest.raises(BundleError, match="history.csv: no epoch"):
        as_table({"one": histories(str(tmp_path))})
    with pytest.raises(BundleError, match="no history.csv in or below"):
        histories(str(tmp_path / "nowhere"))
