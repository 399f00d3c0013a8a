"""Values of paths, labels and names are what was typed; nothing of them is run, cut, or made a number."""

import json
import os
import re
import string
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from monai.bundle import ConfigParser, ConfigWorkflow, run
from typed_values import IDS, KEPT, started, write_config
from workflows import refused

from bundle.comparing.pieces import Piece, parsed
from bundle.core import ROOT, BundleError, user_error
from bundle.core.command_line import check_command_line
from bundle.core.kinds import _IDS, FLAG, KIND_OF, MAY_BE_OPEN, NUMBER, TEXT, WORD, read_word

DRAWS = int(os.environ.get("TYPED_DRAWS", 10))
N_COMMANDS = int(os.environ.get("TYPED_COMMANDS", 0))
PROOF = "$__import__('pathlib').Path('{path}').touch()"


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return write_config(tmp_path_factory.mktemp("typed"))


@pytest.fixture
def start(config, monkeypatch):
    return lambda *words: started(config, *words, monkeypatch=monkeypatch)


def tops():
    """Ids above `begin` in each config, with what the config has there; of mixins, all that are not wiring."""
    for path in sorted((ROOT / "configs").glob("*.yaml")):
        wiring = {
            "from_ids",
            "imports",
            "initialize",
            "finalize",
            "network",
            "network_def",
            "rank",
            "run",
            "world_size",
            "sizes",
            "training",
        }
        for name, value in yaml.safe_load(path.read_text().split("\nbegin:")[0]).items():
            if name not in wiring:
                yield path.name, name, value


def test_each_id_has_one_kind_which_fits_what_the_configs_have():
    """An id without a kind would be read as Python and evaluated; one whose kind is wrong would be refused."""
    assert {name for _, name, _ in tops()} == set(KIND_OF)
    names = " ".join(_IDS.values()).replace("|", " ").split()
    assert len(names) == len(set(names))
    for path, name, value in tops():
        kind, here = KIND_OF[name], f"{path}: {name}"
        assert value is not None or name in MAY_BE_OPEN, here
        if kind not in (WORD,) and value is not None and not str(value).startswith("$"):
            assert (kind == FLAG) == isinstance(value, bool), here
            assert (kind == NUMBER) == (isinstance(value, int | float) and not isinstance(value, bool)), here
            assert (kind == TEXT) == isinstance(value, str), here


TYPED = ["20_01", "2024_01", "1e5", "007", "a,b", "a#b", "#x", "@x", "@seed", "$1+1", "$import os", "$import a b", "$("]
TYPED += ["{'_target_':'os.system'}", "[a]", "True", "None ", "'x'", '"x"', "a=b", "-", "--x", "-x", "a::b", " ", "a b"]


@pytest.mark.parametrize("word", TYPED)
def test_a_text_arrives_as_it_was_typed(start, word):
    """Each of these used to arrive as something else, to be run, or to end in a traceback."""
    got = start(f"--label={word}", f"--dataset_dir={word}", f"--query={word}")
    assert [got[name] for name in ("label", "dataset_dir", "query")] == [word] * 3
    assert got["below"] == {"label": word}, "in a dictionary that is handed on, too"


@pytest.mark.parametrize("word", ["null", "None", "none", ""])
def test_an_open_id_stays_open(start, word):
    """`--model_path null` wrote files called null and null.json; a folder called null is given as ./null."""
    got = start("--slide_table", word, "--label", word)
    assert got["slide_table"] is None and got["label"] is None
    assert start("--slide_table", "./null")["slide_table"] == "./null"
    if word:
        assert start("--dataset_dir", word)["dataset_dir"] == word, "this id is never open"


@pytest.mark.parametrize(
    ("path", "word"),
    [(path, "null") for path in sorted((ROOT / "configs").glob("*.yaml"))]
    + [(ROOT / "configs" / "search.yaml", word) for word in ("None", "none", "")],
    ids=lambda given: given.stem if isinstance(given, Path) else given,
)
def test_each_optional_id_of_each_config_is_left_open_by_any_of_these_words(path, word):
    """Whatever the config has there; but for weights that it needs, and a query, which may be a slide called None."""
    needed = {"patch_encoder_ckpt", "region_encoder_ckpt", "second_encoder_ckpt"}
    for name, value in ((name, value) for file, name, value in tops() if file == path.name and name in MAY_BE_OPEN):
        assert read_word(name, word) == (word if name == "query" and word else None), name
        command = ["--config_file", str(path), f"--{name}={word}"]
        if name in needed and value is not None:
            with pytest.raises(BundleError, match="nothing can be done without"):
                check_command_line(command)
        else:
            check_command_line(command)


def test_names_that_look_so_stay_where_they_are_values(start):
    """A class, an encoder, and a slide that is searched for; an id that may be open is left so by the word."""
    got = start("--classes", "['None','null']", "--encoders", "{'none':'null'}", "--query", "none")
    assert (got["classes"], got["encoders"], got["query"]) == (["None", "null"], {"none": "null"}, "none")
    got = start("--query=None", "--label=None")
    assert (got["query"], got["label"]) == ("None", None)


@pytest.mark.parametrize(
    ("words", "got"),
    [
        (["--seed", "7"], {"seed": 7}),
        (["--amp"], {"amp": True}),
        (["--amp", "no"], {"amp": False}),
        (["--cache", "none"], {"cache": "none"}),
        (["--classes", "[a,20_01,1e5]"], {"classes": ["a", "20_01", "1e5"]}),
        (["--classes", "['$import os','@seed','a#b']"], {"classes": ["$import os", "@seed", "a#b"]}),
        (["--encoders", "{A: x/y, 'B': '$b'}"], {"encoders": {"A": "x/y", "B": "$b"}}),
        (["--encoders#SLPD", "20_01"], {"encoders": {"SLPD": "20_01"}}),
        (["-label", "x"], {"label": "x"}),
    ],
)
def test_other_kinds_are_what_they_say(start, words, got):
    """Numbers, flags, lists of texts and names of texts; items of lists are what was typed, too."""
    found = start(*words)
    assert {name: found[name] for name in got} == got and type(found["seed"]) is int


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--seed", "$1+1"], r"--seed is '\$1\+1'; give a number\."),
        (["--seed", "@amp"], "--seed is '@amp'; give a number"),
        (["--seed", "True"], "--seed is 'True'; give a number"),
        (["--seed", "1,2"], "--seed is '1,2'; give a number"),
        (["--amp", "maybe"], "--amp is 'maybe'; give true or false"),
        (["--cache", "$1"], r"--cache is '\$1'; give a word or a number"),
        (["--label"], "--label has no value; write --label=VALUE"),
        (["--label", "-"], "--label has no value; write --label=VALUE"),
        (["--dataset_dir="], "--dataset_dir is ''; give a text that is not empty"),
        (["--dataset_dir", "%seed"], r"--dataset_dir is '%seed'.* give a path as \./%seed"),
        (["--classes", "[a b]"], r"--classes is '\[a b\]'; give a list with its items in quotes: \"\['one','two'\]\""),
        (["--classes", "a,b#c"], "give a list with its items in quotes"),
        (["--encoders", "{'a':'x','a':'y'}"], "a name stands there twice"),
        (["--encoders#SLPD", "@x"], "--encoders#SLPD is '@x'; give the whole of --encoders, its items in quotes"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_the_form_that_works(start, words, said):
    """The message has id, value and form."""
    assert re.search(said, refused(start, *words))


@pytest.mark.parametrize("name", sorted(IDS))
def test_nothing_is_run(start, name, tmp_path):
    """`--seed '$...'` used to run it, as did every id; so did a list's item, and `$import`, which comes first."""
    path = tmp_path / "ran"
    code = PROOF.format(path=path)
    (tmp_path / "ran_on_import.py").write_text(f"open({str(path)!r}, 'w')")
    sys.path.insert(0, str(tmp_path))
    try:
        target = f"{{'_target_':'pathlib.Path.touch','self':'$pathlib.Path({str(path)!r})'}}"
        for word in (code, f'["{code}"]', "$import ran_on_import", "['$import ran_on_import']", target):
            try:
                start(f"--{name}={word}")
            except Exception as error:
                assert user_error(error) is not None
    finally:
        sys.path.remove(str(tmp_path))
    assert not path.exists()


WORDS = st.one_of(
    st.text(st.sampled_from("$@%#,:.=-_ '\"\\/{}[]()01eE" + string.ascii_letters), max_size=12),
    st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=12),
    st.builds(
        "{}{}".format, st.sampled_from(["$", "@", "#", "0x", "1_", "-", "--", "~"]), st.text("abs(1)", max_size=6)
    ),
)
MONAIS = re.compile(r"^%|[@%](#|::){2}")  # a macro, and ids relative to where they stand: before our code runs


@settings(max_examples=DRAWS, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(word=WORDS, name=st.sampled_from(["label", "dataset_dir", "slide_table", "query"]), is_joined=st.booleans())
@example(word="@#x", name="label", is_joined=True)
def test_any_word_arrives_as_typed_or_is_refused(config, monkeypatch, word, name, is_joined):
    """Fire's reading and what puts it right; TYPED_DRAWS says how many."""
    if MONAIS.search(word):
        return
    words = [f"--{name}={word}"] if is_joined else [f"--{name}", word]
    try:
        got = started(config, *words, monkeypatch=monkeypatch)[name]
    except (Exception, SystemExit) as error:
        mistake = user_error(error)
        assert mistake is not None, (words, error)
        is_flag = not is_joined and word[:1] == "-"
        assert is_flag or (not word and name not in MAY_BE_OPEN), (words, mistake)
        return
    is_open = name in MAY_BE_OPEN and word in ("", "null", "None", "none")
    assert got == (None if is_open else word), words


def python(config, **ids):
    """What the part gets in a workflow that Python made."""
    KEPT.clear()
    made = ConfigWorkflow(str(config), logging_file=False, **ids)
    made.initialize()
    made.run()
    return KEPT[-1]


def test_python_s_users_are_as_safe(config, tmp_path):
    """What comes by keyword is no code either; only what joins ids, as configs do, keeps its meaning."""
    code = PROOF.format(path=tmp_path / "ran")
    got = python(config, label=code, query="@nobody", dataset_dir=tmp_path / "a#b", classes=[code], slide_table=code)
    assert (got["label"], got["query"], got["classes"], got["slide_table"]) == (code, "@nobody", [code], code)
    assert got["dataset_dir"] == str(tmp_path / "a#b")
    joined = python(config, dataset_dir="$@bundle_root + '/x'", encoders={"A": "@label"}, amp="$@device == 'cpu'")
    assert (joined["dataset_dir"], joined["encoders"]) == (f"{config.parent}/x", {"A": "label"}) and joined[
        "amp"
    ] is True
    assert "seed is" in refused(python, config, seed=code) and "give a number" in refused(python, config, seed=code)
    for hidden in (f"$int(x={code[1:]})", f"$int(**{code[1:]})"):
        assert "seed is" in refused(python, config, seed=hidden)
    assert "give it as a text" in refused(python, config, label=2001)
    assert "pathlib.Path" in refused(python, config, dataset_dir="a#b")
    assert not (tmp_path / "ran").exists()


def test_monai_s_own_function_hands_over_what_it_was_given(config, tmp_path):
    """`monai.bundle.run` in Python, and its args_file: a # stays, and nothing is run."""
    code = PROOF.format(path=tmp_path / "ran")
    (tmp_path / "args.yaml").write_text(yaml.safe_dump({"query": "a#b", "slide_table": "null", "seed": 3}))
    run(config_file=str(config), args_file=str(tmp_path / "args.yaml"), label=code, dataset_dir="x#y")
    got = KEPT[-1]
    assert (got["label"], got["dataset_dir"], got["query"], got["seed"]) == (code, "x#y", "a#b", 3)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_every_config_begins_with_it(path):
    """Before any other id, since an $import among these would be run first; and `begin` says what was wrong."""
    config = yaml.safe_load(path.read_text())
    if "begin" in config:
        assert list(config)[0] == "imports" and config["imports"][0] == "$from bundle.core.as_typed import values"
        assert config["from_ids"] == "@imports#0" and config["begin"]["of"] == "bundle.core.begin"


def test_a_comparison_hands_names_on_as_they_are():
    """A column called a#b was looked for as a::b in the pieces of a comparison."""
    ids = {"label": "a#b", "slide_table": "$x", "bundle_root": "."}
    got = parsed(Piece("one", "evaluating", "evaluate.yaml", ids), ROOT)
    assert [got.get_parsed_content(name) for name in ("label", "slide_table")] == ["a#b", "$x"]
    assert got.get_parsed_content("evaluator#settings#label") == "a#b"


def test_a_nested_config_does_not_take_the_command_s_words(config, monkeypatch):
    """A config that is run by another has ids of its own: --label of the one is not the other's."""
    seen = []

    def inner(**ids):
        parser = ConfigParser(ConfigParser.load_config_file(str(config)))
        parser["label"] = "$inner"
        seen.append(parser.get_parsed_content("label"))

    monkeypatch.setattr("typed_values.keep", inner)
    with pytest.raises(IndexError):  # nothing was kept
        started(config, "--label", "outer", monkeypatch=monkeypatch)
    assert seen == ["$inner"]


COMMANDS = """
import json, os, runpy, sys, typed_values, monai.bundle
for word in json.loads(sys.argv[2]):
    if os.fork() == 0:  # a command of its own; what it imports is there already
        sys.argv = ["-m", "run", "--config_file", sys.argv[1], f"--query={word}"]
        runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)
        print("GOT " + json.dumps(typed_values.KEPT[-1]["query"]), flush=True)
        os._exit(0)
    assert os.wait()[1] == 0
"""


@pytest.mark.skipif(N_COMMANDS == 0, reason="TYPED_COMMANDS says how many: half a minute for 20")
def test_real_commands(config):
    """The same by `python -m monai.bundle`, each in a process of its own."""
    words = (["null"] + TYPED)[:N_COMMANDS]
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS, str(config), json.dumps(words)],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}, cwd=config.parent,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    got = [json.loads(line[4:]) for line in done.stdout.splitlines() if line.startswith("GOT ")]
    assert got == [None if word == "null" else word for word in words]


def test_a_word_is_read_by_its_kind_alone():
    """Huge numbers and deep brackets are refused, not crashed on."""
    for name, word in (("seed", "9" * 5000), ("classes", "[" * 500), ("encoders", "{" * 500)):
        with pytest.raises(BundleError, match=f"^--{name} is "):
            read_word(name, word)
