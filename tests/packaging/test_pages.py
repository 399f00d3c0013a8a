"""The package's pages name what is in the package, and nothing else."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from bundle.console.commands import COMMANDS
from bundle.console.words import read_words
from bundle.core import BundleError
from scripts.zoo.pages import absent_names, shipped_text

ROOT = Path(__file__).parents[2]
FILES = {"docs/README.md", "docs/maps.md", "docs/maps.png", "configs/train.yaml", "bundle/demo/__main__.py"}


@pytest.mark.parametrize(
    ("text", "shipped"),
    [
        ("Seen <!-- repository -->(`tests/a.py`)<!-- /repository -->: two.", "Seen: two."),
        ("One. <!-- repository -->Of home. <!-- /repository -->Two.", "One. Two."),
        ("a\n\n<!-- repository -->\nmany\nlines\n<!-- /repository -->\n\nb", "a\n\nb"),
        ("| x | test |\n|---|---|\n| 1 | `t.py` |\n\n| y | z |\n", "| x |\n|---|\n| 1 |\n\n| y | z |\n"),
        ("[maps.md](maps.md#who) and ![m](maps.png)", "[maps.md](maps.md#who) and ![m](maps.png)"),
        ("See [learning.md](learning.md).", "See the repository's page on learning."),
        ("[evidence.md](evidence.md) has it", "The repository's page on evidence has it"),
        ("[runs](benchmarks/README.md#a) ![b](b.png)", "runs (the repository's page on benchmarks) "),
    ],
)
def test_what_stays_at_home_leaves_the_page(text, shipped):
    """Passages in marks, columns of tests, pictures and links; what is in the package stays as it was."""
    assert shipped_text(text, "docs/README.md", FILES) == shipped


@pytest.mark.parametrize("text", ["<!-- repository --> a", "a <!-- /repository -->"])
def test_marks_come_in_pairs(text):
    """One alone would drop the rest of a page, or nothing."""
    with pytest.raises(BundleError, match=r"docs/README.md has a <!-- repository -->"):
        shipped_text(text, "docs/README.md", FILES)


def test_what_is_absent_is_named():
    """Links, paths, modules that are run; the pages once named tests and tools, which no package has."""
    text = "[a](b.md) [c](maps.md) `tests/x.py` configs/train.yaml `configs/*.yaml` -m scripts.bench.x -m bundle.demo"
    assert list(absent_names(text, "docs/README.md", FILES)) == ["b.md", "tests/x.py", "scripts.bench.x"]
    assert list(absent_names("# see docs/learning.md", "bundle/demo/__main__.py", FILES)) == ["docs/learning.md"]


@pytest.fixture(scope="module")
def pages(package):
    """Texts of the package's pages by name."""
    found = {path.relative_to(package.folder).as_posix(): path.read_text() for path in package.folder.rglob("*.md")}
    assert len(found) > 15
    return found


def test_no_page_names_a_file_of_the_repository_alone(package, pages):
    """Whatever stands in code font and is a file of the repository is in the package, under that name at least."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    names = {path.name for path in package.folder.rglob("*")}
    home = [name for name in listed if Path(name).name not in names]
    spans = {(page, span) for page, text in pages.items() for span in re.findall(r"`([\w/-]*[./][\w./-]+)`", text)}
    assert len(spans) > 100
    assert [each for each in sorted(spans) if any(f"/{name}".endswith(f"/{each[1]}") for name in home)] == []
    assert not any(re.search("[Nn]o weights are shipped", text) for text in pages.values())


def test_every_command_of_the_pages_can_be_given(package, pages):
    """`slpd` has the command and takes its words; the configs of MONAI's command are there with its ids."""
    text = "\n".join(pages.values()).replace("\\\n", " ")
    lines = re.findall(r"(?:^|`)slpd ([a-z]+)\b([^`\n]*)", text, flags=re.MULTILINE)
    assert len(lines) > 30
    for name, words in lines:
        if name in COMMANDS:
            read_words(COMMANDS[name], shlex.split(words.split(" # ")[0].replace("...", "")))
        else:
            assert name in {"demo", "doctor", "estimate", "help", "label", "run", "slurm", "import"}, name
    runs = re.findall(r"-m monai\.bundle run [^`\n]*configs/[^`\n]*", text)
    assert runs
    for run in runs:
        configs = [package.folder / name for name in re.findall(r"configs/\w+\.yaml", run)]
        ids = {"config_file", *(name for path in configs for name in yaml.safe_load(path.read_text()))}
        assert {word[2:] for word in shlex.split(run) if word.startswith("--")} <= ids, run
