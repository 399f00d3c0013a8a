"""What the pages print is run by scripts/check_docs, or listed there with the reason why not."""

import pytest

from scripts.docs_checking.figures import COUNTED, wrong_defaults
from scripts.docs_checking.printed import COMMAND, NAME, PYTHON, Printed, files_named, pages, printed, without_comment
from scripts.docs_checking.running import Log
from scripts.docs_checking.table import Plan, Table

PAGE = """# A page
Text with `slpd train TOKENS`, the command `slpd train` and `bundle/core`.

| `slpd atlas` | a row |

## Below
```bash
slpd check SLIDES \\
  --mpp 4   # what a comment says
```
```
a drawing, no command
scripts/demo
```
```python
import bundle
print(bundle)
```
"""


def test_all_that_is_printed_is_run_or_listed():
    """No page prints a command that the table does not know, and the table knows none that no page prints."""
    assert Table().faults([one for page in pages() for one in printed(page)]) == []


def test_pictures_have_a_command():
    """Of every picture a page says by which command it was made."""
    table = Table()
    assert [fault for page in pages() for fault in table.unnamed_pictures(page)] == []


def test_defaults_in_brackets_are_those_of_the_configs():
    """ "`max_slides` (200)" on a page is what the config says; who counts a figure of the table is there."""
    assert [fault for page in pages() for fault in wrong_defaults(page)] == []
    assert {entry["by"] for entry in Table().figures()} <= set(COUNTED)


def test_what_a_page_prints():
    """Blocks and words within sentences, joined over lines, without comments; a name alone is no command."""
    found = [(one.heading, one.text, one.kind) for one in printed("p.md", PAGE)]
    assert found == [
        ("A page", "slpd train TOKENS", COMMAND),
        ("A page", "slpd train", NAME),
        ("A page", "slpd atlas", COMMAND),
        ("Below", "slpd check SLIDES --mpp 4", COMMAND),
        ("Below", "scripts/demo", COMMAND),
        ("Below", "import bundle\nprint(bundle)", PYTHON),
    ]
    assert without_comment("a 'b#c' --d#e 1  # words") == "a 'b#c' --d#e 1"


@pytest.fixture
def table():
    """A small one."""
    entries = {"files": {"TOKENS": "demo"}, "made": [], "words": {"NAME": "it"}, "alone": {"slpd train": "eval"}}
    sizes = {"slpd train": "--max_epochs 1", "slpd train TOKENS --with": "--lr 1"}
    not_run = [{"begins": "pip", "needs": "the network", "because": "an index"}]
    return Table({**entries, "sizes": sizes, "pages": {}, "not_run": not_run, "figures": []})


def _command(text):
    return Printed("p.md", "", text, COMMAND)


def test_a_command_is_typed_as_printed_with_sizes_behind(table):
    """Words of the table are replaced where they stand alone; the longest beginning chooses the size."""
    assert table.plan(_command("slpd train TOKENS")) == Plan("slpd train TOKENS --max_epochs 1", alone="eval")
    assert table.plan(_command("slpd train TOKENS --with x")).line == "slpd train TOKENS --with x --lr 1"
    assert table.plan(_command("slpd search NAME a/NAME NAMED")).line == "slpd search it a/NAME NAMED"
    assert table.plan(_command("pip install x")) == Plan("", "the network", "an index")
    assert table.plan(Printed("p.md", "", "slpd train", NAME)).line == "slpd train --help"


def test_what_nobody_knows_is_a_fault(table):
    """A word without a file, a command that is neither run nor listed, an entry that nothing printed needs."""
    known = [_command(text) for text in ("slpd train TOKENS --with x", "pip install x")]
    assert table.faults(known) == []
    (fault,) = table.faults([*known, _command("slpd train SLIDES")])
    assert "does not say what SLIDES" in fault
    (fault,) = table.faults([*known, _command("curl x")])
    assert "'curl x' is neither run nor listed" in fault
    (fault,) = table.faults(known[:1])
    assert "no page prints 'pip'" in fault


def test_files_that_tables_name():
    """The first cells of tables of files, with any name for a slide."""
    assert files_named("docs/atlas.md") == ["atlas.html", "atlas.png", "atlas_slides/*.png"]


def test_what_has_passed_is_known_again(tmp_path):
    """A command counts as passed as long as just the same is typed for it."""
    one, plan = _command("slpd train TOKENS"), Plan("slpd train TOKENS --max_epochs 1")
    Log(tmp_path / "log").add(one, plan, passed=False, seconds=1)
    assert not Log(tmp_path / "log").has_passed(one, plan)
    Log(tmp_path / "log").add(one, plan, passed=True, seconds=1)
    assert Log(tmp_path / "log").has_passed(one, plan)
    assert not Log(tmp_path / "log").has_passed(one, Plan("slpd train TOKENS"))
