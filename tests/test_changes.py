"""The list of deliberate changes that tests have to notice (`scripts/changes`) fits the code of today."""

import ast
from pathlib import Path

import pytest

from scripts.pins.changes import AREAS, MISSED, NOTICED, Change, as_table, changed_text, judge, read_changes

ROOT = Path(__file__).parents[1]
CHANGES = read_changes()


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
def test_a_change_can_still_be_made(change):
    """What it replaces is in its file exactly once, and the tests that have to notice it are there."""
    assert change.area in AREAS and change.tests
    assert changed_text(change, ROOT)
    for test in change.tests:
        path, _, name = test.partition("::")
        body = ast.parse((ROOT / path).read_text(encoding="utf-8")).body
        functions = [node.name for node in body if isinstance(node, ast.FunctionDef)]
        assert not name or name.partition("[")[0] in functions, f"{path} has no {name}"


def test_the_page_shows_the_list():
    """docs/what_tests_notice.md holds the table that `scripts/changes --table` writes."""
    assert as_table(CHANGES) in (ROOT / "docs" / "what_tests_notice.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("claim", "word"), [("double(2) == 4", NOTICED), ("double(2) > 1", MISSED)])
def test_a_change_is_judged_by_its_tests(tmp_path, claim, word):
    """A test that fails notices, one that passes anyway does not; afterwards the file is as before."""
    source = "def double(x):\n    return x * 2\n"
    (tmp_path / "doubling.py").write_text(source)
    (tmp_path / "test_it.py").write_text(f"from doubling import double\n\n\ndef test_it():\n    assert {claim}\n")
    verdict = judge(Change("no doubling", "training", "doubling.py", "x * 2", "x", ("test_it.py",)), tmp_path)
    assert verdict == (word, {NOTICED: "test_it.py::test_it", MISSED: "test_it.py"}[word])
    assert (tmp_path / "doubling.py").read_text() == source


@pytest.mark.parametrize(("old", "message"), [("x * 3", "0 times"), ("x", "2 times"), ("x * 2", "no Python")])
def test_a_change_that_does_not_fit_is_refused(tmp_path, old, message):
    """Text that is not there, or more than once, or whose change is no Python, is an error that names the file."""
    (tmp_path / "doubling.py").write_text("def double(x):\n    return x * 2\n")
    with pytest.raises(ValueError, match=f"{message}.*doubling.py|doubling.py.*{message}"):
        changed_text(Change("no doubling", "training", "doubling.py", old, "x *", ("test_it.py",)), tmp_path)
