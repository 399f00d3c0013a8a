"""Chains of subcommands: which steps, with which words; what is wrong is said before the first one runs."""

import signal

import pytest
from empty_files import touch

from bundle.console import chains, stepping
from bundle.console.chains import demo_steps, slide_steps
from bundle.console.commands import COMMANDS
from bundle.console.scores import score_lines
from bundle.console.starting import monai_words
from bundle.console.words import read_words, with_places
from bundle.core import BundleError
from bundle.core.command_line import check_command_line


@pytest.fixture
def slides(tmp_path, request):
    """A folder with one file that is called like a slide; chains look no further."""
    folder = tmp_path / "slides"
    folder.mkdir()
    (folder / "a.svs").write_bytes(b"no slide")
    (tmp_path / "table.csv").write_text("slide,kind\na,x\n")
    (tmp_path / "encoder.pt").touch()
    return folder


def _by_name(steps):
    return {step.command: step.words for step in steps}


def test_slides_with_an_encoder_go_all_the_way(slides, tmp_path):
    """Tokens, training, evaluation, embeddings, atlas: each gets the ids that it has, and the same folder of work."""
    ids = {"slide_table": str(tmp_path / "table.csv"), "label": "kind", "mpp": "1", "train.batch_size": "8"}
    steps = slide_steps(str(slides), tmp_path, ids | {"patch_encoder_ckpt": str(tmp_path / "encoder.pt")})
    words = _by_name(steps)
    assert list(words) == ["tokenize", "train", "evaluate", "infer", "atlas"]
    assert "--mpp=1" in words["tokenize"] and "--mpp=1" in words["infer"] and "--mpp=1" not in words["train"]
    assert "--batch_size=8" in words["train"] and not any("batch_size" in word for word in words["evaluate"])
    assert words["train"][0] == words["evaluate"][0] == words["infer"][0] == str(tmp_path / "tokens")
    assert all(f"--work_dir={tmp_path}" in each for each in words.values())
    assert "--label=kind" in words["evaluate"] and f"--slides_dir={slides}" in words["atlas"]


def test_tokens_are_not_made_twice_and_nothing_is_evaluated_without_a_label(tmp_path):
    """A folder without slides holds tokens or features, which training takes as they are."""
    words = _by_name(slide_steps(str(tmp_path), tmp_path, {}))
    assert list(words) == ["train", "infer", "atlas"] and words["train"][0] == str(tmp_path)


def test_quick_trains_a_small_patch_encoder_first(slides, tmp_path):
    """Stage one, tokenizing and inferring read at the same coarse scale."""
    words = _by_name(slide_steps(str(slides), tmp_path, {"quick": "true"}))
    assert list(words) == ["encoder", "tokenize", "train", "infer", "atlas"]
    assert all(
        "--mpp=2.0" in words[name] and "--patch_size=64" in words[name] for name in ("encoder", "tokenize", "infer")
    )
    assert "--with=demo_train" in words["train"]


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        ({"quick": "true", "nonsense": "8"}, "no step"),
        ({"quick": "true", "maps.seed": "8"}, "no step maps"),
        ({"quick": "true", "slide_table": "missing.csv"}, "missing.csv"),
        ({"quick": "true", "train.max_epochs": "many"}, "max_epochs"),
        (
            {"quick": "true", "slide_table": "TABLE", "label": "diagnosis"},
            r"no column 'diagnosis' \(found: slide, kind\); give --label one of these",
        ),
    ],
)
def test_what_is_wrong_is_said_before_the_first_step(slides, tmp_path, ids, said):
    """Each with what to do."""
    ids = {name: word.replace("TABLE", str(tmp_path / "table.csv")) for name, word in ids.items()}
    with pytest.raises(BundleError, match=said):
        slide_steps(str(slides), tmp_path, ids)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(BundleError, match="slpd run SLIDES"):
        slide_steps(str(tmp_path / "none"), tmp_path, {})


def test_what_is_typed_takes_the_place_of_what_a_chain_presets(slides, tmp_path):
    """Each preset; a flag of a step may stand alone; its own config comes with --train.with."""
    typed = {"slide_table": str(tmp_path / "table.csv"), "label": "kind", "quick": "yes", "n_folds": "3"}
    typed |= {"untrained": "false", "train.resume": "false", "tokenize.batch_size": "8", "train.with": "paper_nsclc"}
    words = _by_name(slide_steps(str(slides), tmp_path, typed))
    assert [word for word in words["evaluate"] if "n_folds" in word] == ["--n_folds=3"]
    assert "--untrained=false" in words["evaluate"] and "--untrained=true" not in words["evaluate"]
    assert "--resume=false" in words["train"] and "--resume=true" not in words["train"]
    assert "--batch_size=8" in words["tokenize"] and "--batch_size=32" not in words["tokenize"]
    assert [word for word in words["train"] if word.startswith("--with")] == ["--with=paper_nsclc"]


def test_each_step_is_a_command_that_monai_takes(slides, tmp_path):
    """What a chain presets goes through the same check as what is typed: n_folds auto once failed after an hour."""
    ids = {"slide_table": str(tmp_path / "table.csv"), "label": "kind", "quick": "true"}
    for step in [*slide_steps(str(slides), tmp_path, ids), *demo_steps(tmp_path / "demo")]:
        if step.command == "draw":
            continue
        command = COMMANDS[step.command]
        read = read_words(command, step.words)
        check_command_line(monai_words(command, read, with_places(command, read)))


def test_a_finished_patch_encoder_is_not_looked_at_again(slides, tmp_path):
    """Its run is complete, and its weights are there."""
    touch(tmp_path, "eval/patch_encoder/exported.json", "models/patch_encoder.pt")
    assert "encoder" not in _by_name(slide_steps(str(slides), tmp_path, {"quick": "true"}))


def test_weights_that_are_named_are_those_that_later_steps_read(slides, tmp_path):
    """A patch encoder that is there is not trained again; a model under another name is the one that is evaluated."""
    ids = {"slide_table": str(tmp_path / "table.csv"), "label": "kind", "train.model_path": "mine.pt"}
    ids |= {"patch_encoder_ckpt": str(tmp_path / "encoder.pt")}
    words = _by_name(slide_steps(str(slides), tmp_path, ids | {"quick": "true"}))
    assert list(words) == ["tokenize", "train", "evaluate", "infer", "atlas"]
    assert "--encoders={'SLPD': 'mine.pt'}" in words["evaluate"] and "--region_encoder_ckpt=mine.pt" in words["infer"]
    words = _by_name(slide_steps(str(slides), tmp_path, {"quick": "true", "encoder.model_path": "own.pt"}))
    assert "--patch_encoder_ckpt=own.pt" in words["tokenize"] and "--patch_encoder_ckpt=own.pt" in words["infer"]


@pytest.mark.parametrize("word", [["--dry_run"], ["--dry_run", "yes"], ["--dry_run=1"], ["--dry_run=True"]])
def test_a_dry_run_runs_nothing(slides, tmp_path, capsys, monkeypatch, word):
    """However yes is said; and what is of no step of the demo is refused."""
    monkeypatch.setattr(stepping, "run_steps", lambda *_: pytest.fail("it ran"))
    assert chains.run("run", [str(slides), "--quick", "--work_dir", str(tmp_path), *word]) == 0
    assert "slpd tokenize" in capsys.readouterr().out
    assert chains.run("demo", [str(tmp_path / "demo"), *word]) == 0
    for more in (["--processes", "3"], ["other"]):
        with pytest.raises(BundleError, match="one thing more"):
            chains.run("demo", [str(tmp_path / "demo"), *more, *word])


def test_a_signal_that_comes_while_a_step_starts_reaches_it(tmp_path, monkeypatch):
    """The start takes seconds; SIGTERM in them once went nowhere."""

    class Starting:
        pid = exitcode = None

    process, sent = Starting(), []
    monkeypatch.setattr(stepping.os, "kill", lambda pid, number: sent.append((pid, number)))
    with stepping._handing_on(process) as arrived:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        assert sent == []
        process.pid = 7
        arrived()
        assert sent == [(7, signal.SIGTERM), (7, signal.SIGINT)]
        signal.raise_signal(signal.SIGUSR1)
        signal.raise_signal(signal.SIGINT)  # the terminal has told the step as well
        assert sent[2:] == [(7, signal.SIGUSR1)]


def test_steps_run_until_one_fails(tmp_path, monkeypatch, capfd):
    """Each in a process of its own; the status is that of the step that failed, and what it said is one line."""
    monkeypatch.setattr(stepping, "_PRELOADED", [])
    slides = tmp_path / "slides"
    slides.mkdir()
    (slides / "slide_table.csv").write_text("slide,label\n")
    draw = stepping.Step("draw", "slides", [str(slides)])
    status = stepping.run_steps([draw, stepping.Step("check", "a look", [str(tmp_path / "none")]), draw], False)
    out, err = capfd.readouterr()
    assert status == 2 and "[1/3] slides" in out and "[2/3] a look" in out and "[3/3]" not in out
    assert f"slpd: there is no {tmp_path / 'none'}" in err and "step 2, check, ended with status 2" in err
    assert "Traceback" not in err
    assert stepping.run_steps([draw], False) == 0


def test_the_demo_lives_in_its_folder(tmp_path):
    """Nothing is written beside it, and no default place is left."""
    for step in demo_steps(tmp_path / "demo"):
        assert step.command == "draw" or f"--work_dir={tmp_path / 'demo'}" in step.words
        places = [word for word in step.words if str(tmp_path) in word]
        assert all(str(tmp_path / "demo") in word for word in places)


def test_scores_of_an_evaluation(tmp_path):
    """A line a method, best first; of a task that has no AUC its own metric; nothing where there is no table."""
    assert score_lines(tmp_path, "kind") == []
    head, folds = "encoder,features,protocol,train_fraction,metric,value,low,high,interval,n\n", "nadeau-bengio,5"
    rows = [f"tokens,mean_token,knn,1,auc,0.5,0.3,0.7,{folds}", f"SLPD,region_embedding,knn,1,auc,0.9,,,{folds}"]
    rows += [f"SLPD,region_embedding,knn,{part},{folds}" for part in ("0.25,auc,0.95,0.9,1", "1,accuracy,1,1,1")]
    (tmp_path / "results.csv").write_text(head + "\n".join(rows))
    lines = score_lines(tmp_path, "kind")
    assert lines[0] == "auc of kind, by patient, mean of 5 folds [95 % interval]" and len(lines) == 3
    assert "SLPD" in lines[1] and "0.90  [nan, nan]" in lines[1] and "mean patch token" in lines[2]
    (tmp_path / "results.csv").write_text(head + "SLPD,regions,cox,1,c_index,0.6,0.5,0.7,bootstrap,2000\n")
    assert score_lines(tmp_path, "survival")[0] == "c_index of survival, by patient [95 % interval]"
