"""No command asks for the network: those that tests run, in their own process or in others, are listened to."""

import socket
import sys

import pytest
from monai.bundle import ConfigWorkflow
from offline import NetworkError
from warm import run_python

ASKING = {
    "a name": "__import__('socket').getaddrinfo('example.org', 80)",
    "an address": "__import__('socket').socket().connect(('127.0.0.1', 9))",
    "a server": "__import__('socket').socket().bind(('127.0.0.1', 0))",
}


@pytest.mark.parametrize("how", ASKING)
def test_a_workflow_that_asks_for_the_network_is_found_out(tmp_path, how):
    """An error that nothing between it and the test takes for one of its own."""
    (tmp_path / "config.yaml").write_text(f'run:\n- "${ASKING[how]}"\n')
    workflow = ConfigWorkflow(str(tmp_path / "config.yaml"), workflow_type="train", logging_file=False)
    workflow.initialize()
    with pytest.raises(NetworkError, match="the network was asked for"):
        workflow.run()


def test_a_process_that_asks_for_the_network_is_found_out():
    """Also where a library would go on without it."""
    done = run_python([sys.executable, "-c", f"try:\n    {ASKING['an address']}\nexcept Exception:\n    pass"])
    assert done.returncode != 0 and "the network was asked for" in done.stderr


def test_processes_of_one_machine_may_talk():
    """Readers hand over their batches through sockets that lead nowhere else; a test's own server is its own affair."""
    one, other = socket.socketpair(socket.AF_UNIX)
    with one, other, socket.socket() as server:
        server.bind(("127.0.0.1", 0))
    done = run_python([sys.executable, "-c", "import socket; socket.socketpair()"])
    assert done.returncode == 0, done.stderr
