"""What `scripts/label` says before it installs or starts anything."""

import shutil
import socket
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def script(tmp_path):
    """Run it in a folder of its own, where installing anything would fail: there is no scripts/setup."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "label", tmp_path / "scripts" / "label")
    (tmp_path / "slides").mkdir()

    def run(*words):
        command = ["bash", str(tmp_path / "scripts" / "label"), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)

    return run


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--studies", "nowhere"], "no folder nowhere"),
        (["--studies", "slides", "--port", "1"], "no weights at models/model.pt"),
        (["--port", "high"], "--port is high"),
        (["--conf", "mpp"], "--conf needs a name and a value"),
        (["--studys", "slides"], "no option --studys"),
    ],
)
def test_mistakes_are_said_first(script, words, message):
    """One line on what is wrong and what to do, before a minute of installing."""
    done = script(*words)
    assert done.returncode == 1 and message in done.stderr and "setup" not in done.stderr


def test_a_port_in_use_is_named(script):
    """And the next one is proposed."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = script("--studies", "slides", "--port", str(port))
    assert done.returncode == 1 and f"port {port} of 127.0.0.1 is in use" in done.stderr
    assert f"--port {port + 1}" in done.stderr


def test_help_names_every_option(script):
    """`--help` and the options that are understood are the same."""
    done = script("--help")
    text = (ROOT / "scripts" / "label").read_text()
    cases = text[text.index("while [") : text.index("done\n")]
    options = [line.split(")")[0].strip() for line in cases.splitlines() if line.strip().startswith("--")]
    assert done.returncode == 0 and len(options) == 8
    assert [option for option in options if option not in done.stdout] == []
