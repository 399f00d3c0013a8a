"""What is shown of long work."""

import io
import time

from bundle.core import Progress
from bundle.core.progress import LINE_EVERY_S


class _Terminal(io.StringIO):
    def isatty(self):
        return True


def _shown(file, monkeypatch, n_seconds, **options):
    """What a minute's work writes, in which each of its steps takes some seconds of a clock that is ours."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    for _ in Progress(range(6), "reading", file=file, mininterval=0, unit="slide", **options):
        now[0] += n_seconds
    return file.getvalue()


def test_where_there_is_no_terminal_a_line_comes_now_and_then(monkeypatch):
    """None of short work."""
    assert _shown(io.StringIO(), monkeypatch, 1) == ""


def test_lines_are_throttled_and_whole(monkeypatch):
    """Whatever a bar writes over itself comes out as lines, with a pause between two."""
    from bundle.core.progress import _Lines

    now, file = [0.0], io.StringIO()
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    lines = _Lines(file)
    for second in range(0, 100, 10):
        now[0] = float(second)
        lines.write(f"\rreading: {second} of 100\x1b[A")
        lines.write("\r   \r")
    assert file.getvalue().splitlines() == [f"reading: {s} of 100" for s in (30, 60, 90)] and LINE_EVERY_S < 30


def test_a_terminal_has_a_bar(monkeypatch):
    """It is written over itself; of several processes the first one shows it."""
    assert "\rreading: " in _shown(_Terminal(), monkeypatch, 1)
    assert _shown(_Terminal(), monkeypatch, 1, disable=True) == ""
    monkeypatch.setenv("RANK", "1")
    assert _shown(_Terminal(), monkeypatch, 1) == ""
