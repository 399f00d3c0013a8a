"""A command that the system ends says so."""

import os
import signal

import pytest

from bundle.core.signals import ENDING, end_when_told


@pytest.fixture
def signals():
    """Ours while the test lasts."""
    before = {number: signal.getsignal(number) for number in ENDING}
    yield end_when_told()
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", ENDING)
def test_a_command_that_is_ended_closes_what_is_open_and_says_what_is_kept(signals, number, capsys):
    """The system's own way says nothing and leaves parts of files behind."""
    closed = []
    with pytest.raises(SystemExit) as end:
        try:
            os.kill(os.getpid(), number)
        finally:
            closed.append(True)
    assert end.value.code == 128 + number and closed
    assert f"Stopped by {number.name}. Finished slides" in capsys.readouterr().err


def test_a_process_that_reads_for_another_one_says_nothing(signals, capfd):
    """Eight workers would say the same eight times."""
    child = os.fork()
    if child == 0:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except SystemExit as end:
            os._exit(int(end.code))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 128 + signal.SIGTERM
    assert capfd.readouterr().err == ""
