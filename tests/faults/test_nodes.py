"""Two agents of torchrun on this machine, one of which is killed: ``scripts/nodes_trial`` in small."""

import json

from scripts.node_trials.agents import Nodes

WORK = """
import json, sys, time
from pathlib import Path
from bundle.core import meeting
from bundle.core.torchrun import start_together

start_together()
met = meeting()
taken = [name for _, name in met.share_out("abcdefgh", str, ord)]
Path(f"began_{met.rank}").touch()
while not Path("go").exists():
    time.sleep(0.02)
everything = met.gather(taken)
if met.rank == 0:
    Path("done.json").write_text(json.dumps({"taken": everything, "hosts": met.hosts}))
"""


def test_an_agent_that_is_killed_and_comes_back_takes_its_share(tmp_path):
    """The processes meet anew, none of the numbers that were given out before is missing, and the run ends well."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "at_work.py").write_text(WORK)
    nodes = Nodes(["at_work"], folder, n_processes=1)
    began = [folder / f"began_{rank}" for rank in range(2)]
    assert nodes.wait_until(lambda: all(path.exists() for path in began)), nodes.said()
    nodes.kill(1)
    (folder / "go").touch()
    nodes.start_again(1)
    assert nodes.wait() == [0, 0], nodes.said()
    done = json.loads((folder / "done.json").read_text())
    assert sorted(name for taken in done["taken"] for name in taken) == [*"abcdefgh"]
    assert [host.split(" on ")[0] for host in done["hosts"]] == ["process 0", "process 1"]
