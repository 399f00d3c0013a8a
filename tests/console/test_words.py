"""What is typed behind ``slpd``: ids, values and help, without an import that takes seconds."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from empty_files import touch

from bundle.console.commands import COMMANDS, ORDER, SUMMARIES
from bundle.console.config_ids import ids_of
from bundle.console.helping import help_of, overview
from bundle.console.starting import equal_command, monai_words
from bundle.console.words import check_inputs, read_words, with_places
from bundle.core import CONFIGS, ROOT, BundleError

commands = pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)


def _told(command, *words):
    with pytest.raises(BundleError) as error:
        read_words(COMMANDS[command], words)
    return str(error.value)


@commands
def test_help_has_every_id_with_its_default_and_comment(command):
    """What stands above a config's first component is what can be given; nothing is left out, nothing is made up."""
    ids, text = ids_of(command.path), help_of(command)
    values = yaml.safe_load(command.path.read_text(encoding="utf-8"))
    above = list(values)[: list(values).index("begin")]
    assert list(ids) == [name for name in above if name not in ("imports", "from_ids", "bundle_root")]
    assert all(one.comment and f"--{one.name} " in text for one in ids.values())
    assert not any("$" in one.shown for one in ids.values()), "defaults are said in words"
    assert len(command.examples) == 3 and all(
        f"slpd {command.name} {words}".rstrip() in text for words, _ in command.examples
    )


@commands
def test_examples_are_understood(command):
    """Each example's words are taken as they stand, and its config has what is run."""
    assert {command.run_id, command.without_first} - {""} <= set(
        yaml.safe_load(command.path.read_text(encoding="utf-8"))
    )
    for words, _ in command.examples:
        split = (
            [word.strip('"') for word in words.replace('"{', "{").replace('}"', "}").split(" ")]
            if "{" not in words
            else []
        )
        read_words(command, [word for word in split if word])


def test_every_command_is_in_the_overview_once():
    """In one group, with a sentence."""
    named = [name for _, names in ORDER for name in names]
    assert sorted(named) == sorted(SUMMARIES) and all(SUMMARIES[name] in overview() for name in named)


def test_words_become_ids():
    """A word without a name is the first id; hyphens, = and flags without a value are understood."""
    read = read_words(COMMANDS["train"], ["tokens", "--max-epochs=3", "--resume", "--label", "None", "--lr", "-1e-3"])
    assert read.values == {"dataset_dir": "tokens", "max_epochs": "3", "resume": "true", "label": "None", "lr": "-1e-3"}
    assert read_words(COMMANDS["train"], ["--resume", "tokens"]).values == {"resume": "true", "dataset_dir": "tokens"}
    formats = [read_words(COMMANDS["maps"], ["--formats", word]).values["formats"] for word in ("png", "png,tiff")]
    assert formats == ["['png']", "png,tiff"], "one word is a list of one"
    assert read_words(COMMANDS["train"], ["-h"]).wants_help and read_words(COMMANDS["train"], ["--dry_run"]).dry_run


def test_what_is_wrong_is_said_with_what_to_do():
    """Unknown ids with the nearest ones; values with the form that works; one word too many."""
    assert "slpd train --help" in _told("train", "--xyzzyx", "3")
    assert "max_epochs" in _told("train", "--max_epochs", "many")
    assert "has no value" in _told("train", "--dataset_dir")
    assert "same" in _told("train", "tokens", "--dataset_dir", "tokens")
    assert "one process" in _told("atlas", "--processes", "2") and "whole number" in _told("train", "--processes", "0")
    assert "no --config_file" in _told("train", "--config_file", "x.yaml"), "slpd chooses the config"


def test_places_lie_in_the_folder_of_work(tmp_path):
    """Whatever a config puts below the bundle's root; what is typed stays, and only that is handed on."""
    command = COMMANDS["evaluate"]
    read = read_words(command, ["tokens", "--work_dir", str(tmp_path)])
    places = with_places(command, read)
    assert places["dataset_dir"] == "tokens" and places["output_dir"] == str(tmp_path / "eval" / "slide_level")
    assert monai_words(command, read, places)[3:] == [f"--bundle_root={tmp_path}", "--dataset_dir=tokens"]
    places = with_places(COMMANDS["import"], read_words(COMMANDS["import"], []))
    assert places["output_dir"] == str(Path("eval/import")) and places["tokens_dir"] == "tokens"
    assert with_places(COMMANDS["tokenize"], read_words(COMMANDS["tokenize"], []))["tokens_dir"] == "tokens"


def test_it_is_monais_command(tmp_path):
    """Config, mixins, run and ids as they would be typed; search without a query only brings its index up to date."""
    command = COMMANDS["train"]
    read = read_words(command, ["tokens", "--with", "paper_nsclc", "--processes", "2"])
    words = monai_words(command, read, read.values)
    files = [str(CONFIGS / name) for name in ("train.yaml", "multi_gpu_train.yaml", "paper_nsclc.yaml")]
    assert words == ["run", "training", f"--config_file={files}", "--bundle_root=.", "--dataset_dir=tokens"]
    assert "torchrun --standalone --nproc_per_node=2 -m monai.bundle run training" in equal_command(words, 2)
    search = COMMANDS["search"]
    for typed, run_id in (([], "indexing"), (["a", "--dataset_dir", "e", "-k", "3"], "searching"), (["a"], "querying")):
        read = read_words(search, [*typed, "--work_dir", str(tmp_path)])
        assert monai_words(search, read, with_places(search, read))[1] == run_id
    assert read_words(search, ["a", "-k", "3"]).values == {"query": "a", "k_neighbors": "3"}


def test_missing_inputs_are_named_before_the_run(tmp_path):
    """The id or the place, and what to do; ids that are open, and places nobody needs, are not asked for."""
    command = COMMANDS["tokenize"]

    def told(*words):
        read = read_words(command, words)
        with pytest.raises(BundleError) as error:
            check_inputs(command, read, with_places(command, read))
        return str(error.value)

    assert "slpd tokenize SLIDES" in told(str(tmp_path / "none"))
    assert "slpd encoder SLIDES" in told(str(tmp_path), "--work_dir", str(tmp_path))
    touch(tmp_path, "models/patch_encoder.pt")
    assert "--slide_table is" in told(str(tmp_path), "--work_dir", str(tmp_path), "--slide_table", "none.csv")
    read = read_words(command, [str(tmp_path), "--work_dir", str(tmp_path), "--slide_table", "null"])
    check_inputs(command, read, with_places(command, read))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--help"], "first steps"),
        (["train", "--help"], "--max_epochs"),
        (["tran"], "slpd train?"),
        (["train", "--x", "1"], "no --x"),
    ],
)
def test_help_and_errors_need_no_torch(words, said):
    """They come in the time that Python takes to start."""
    code = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); from bundle.console.__main__ import main;"
        "status = main(sys.argv[1:]);"
        "assert not {'torch', 'monai', 'scipy'} & set(sys.modules); sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code, str(ROOT), *words], capture_output=True, text=True)
    assert said in done.stdout + done.stderr and done.returncode == (0 if "--help" in words else 2), done.stderr


def test_a_wheel_holds_what_is_listed():
    """Everything that its list names is there, and lies at the same place below its root; the entry stands above."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert all((ROOT / name).exists() for name in wheel["only-include"])
    assert {"bundle", "configs", "models", "docs"} <= set(wheel["only-include"])
    tops = {name.split("/")[0] for name in wheel["only-include"]}
    assert wheel["sources"] == {name: f"slpd/root/{name}" for name in sorted(tops)}
    assert wheel["force-include"] == {"bundle/console/installed.py": "slpd/__init__.py", "LICENSE": "slpd/root/LICENSE"}
    assert project["project"]["scripts"] == {"slpd": "slpd:main"}
