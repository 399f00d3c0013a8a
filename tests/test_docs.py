"""The documents name only what there is."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from bundle.console.commands import COMMANDS
from bundle.console.words import read_words
from scripts.docs_checking.printed import printed

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    """Every relative link of a page is a file."""
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", [*PAGES, ROOT / "models" / "README.md"], ids=lambda page: page.name)
def test_files_that_are_named_exist(page):
    """Configs, scripts, modules, tests and pages that a text names, commands included, are there; a glob finds some."""
    named = re.findall(r"(?<![\w/.<-])(?:\./)?((?:configs|scripts|bundle|tests|docs)/[\w./*<>-]*\w)", page.read_text())
    assert [name for name in named if "<" not in name and not list(ROOT.glob(name))] == []


PRINTED = [one.text for page in PAGES for one in printed(page.relative_to(ROOT).as_posix())]


def commands():
    """Every `monai.bundle run` command of the documents and configs."""
    joined = "\n".join([*PRINTED, *(path.read_text() for path in (ROOT / "configs").glob("*.yaml"))])
    return sorted(set(re.findall(r"-m monai\.bundle run [^`\n]*configs/[^`\n]*", joined)))


@pytest.mark.parametrize("command", commands())
def test_commands_use_configs_and_ids_that_exist(command):
    """The config files are there, and each --id is one of theirs."""
    files = [ROOT / name for name in re.findall(r"configs/\w+\.yaml", command)]
    assert files and all(path.exists() for path in files)
    ids = {"config_file", *(name for path in files for name in yaml.safe_load(path.read_text()))}
    given = [word[2:] for word in shlex.split(command.replace("#", "")) if word.startswith("--")]
    assert [name for name in given if name not in ids] == []


def slpd_lines():
    """Every `slpd COMMAND ...` of the documents that is one of a config, as it would be typed."""
    found = [re.match(rf"slpd ((?:{'|'.join(COMMANDS)})\b.*)", text) for text in PRINTED]
    return sorted({match[1].replace("...", "").strip() for match in found if match})


@pytest.mark.parametrize("line", slpd_lines())
def test_slpd_is_called_as_it_can_be(line):
    """Each word is understood: ids that the config has, values of their kind."""
    name, *words = shlex.split(line)
    read_words(COMMANDS[name], words)
