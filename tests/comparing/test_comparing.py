"""``comparing`` from another tool's features to its page, stopped and gone on, and what it refuses before the work."""

import ast
import json
import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from cohorts import write_cohort
from region_models import write_table
from workflows import refused, run_config, workflow

from bundle.comparing.plan import Plan
from bundle.training.handlers.history import HistoryHandler
from scripts.pins.foreign_features import DIM, MPP, features, lattice, write_trident

N = 12
TINY = {"embed_dim": 24, "depth": 1, "n_heads": 3, "out_dim": 32, "hidden_dim": 16, "bottleneck_dim": 8, "n_local": 2,
        "batch_size": 16}  # fmt: skip
ROW = ("encoder", "features", "protocol")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Twelve slides of as many patients in TRIDENT's layout, two classes, and a vector of each slide."""
    root = tmp_path_factory.mktemp("trident")
    rng, rows = np.random.default_rng(0), []
    for i in range(N):
        xy = lattice(i, columns=32, rows=16)
        write_trident(root / "features_theirs_v1" / f"s{i}.h5", xy, features(len(xy), i) + i % 2)
        rows.append({"slide": f"s{i}", "patient": f"p{i}", "mpp": MPP, "label": "ab"[i % 2], "one": "a"})
    write_table(root / "table.csv", rows)
    vectors = [{"slide": f"s{i}", **{f"v{k}": v for k, v in enumerate(rng.standard_normal(4))}} for i in range(N)]
    write_table(root / "theirs.csv", vectors)
    return root


def pace(configs, ids, token_dim, region_patches, device, seconds):
    """A machine on which two trainings of two epochs take about a minute, whatever else it does."""
    assert (configs[0].name, ids["depth"], ids["standardize_tokens"], token_dim, region_patches) == (
        "train.yaml",
        1,
        True,
        DIM,
        16,
    )
    return SimpleNamespace(train=5.0, recluster=50.0)


def compare(cohort, output, **ids):
    """A comparison through MONAI's workflow; the folder of its page."""
    return made(cohort, output, **ids).run()[-1].parent


def made(cohort, output, **ids):
    """The config on the cohort, small."""
    given = {
        "tokens_dir": str(output / "tokens"),
        "dataset_dir": str(cohort / "features_theirs_v1"),
        "slide_table": str(cohort / "table.csv"),
        "slide_vectors": {"theirs": str(cohort / "theirs.csv")},
        "output_dir": str(output),
        "n_folds": 2,
        "mil_max_patches": 32,
        "sizes": {"tiny": {"from_regions": 0, **TINY}},
        "min_epochs": 1,
        "max_epochs": 2,
        "device": "cpu",
        "probe": pace,
        "comparison#evaluation#features": ["mean_token", "region_embedding", "patch_tokens"],
        **ids,
    }
    return workflow("compare.yaml", kind="train", run_id="comparing", **given)


@pytest.fixture(scope="module")
def without_pictures():
    """Curves and reports are drawn in tests of their own; here they would take half of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bundle.training.handlers.history.plot_training", lambda *_: None)
        patch.setattr("bundle.evaluation.EvaluationReport.__call__", lambda *_: None)
        yield


@pytest.fixture(scope="module")
def gone_on(cohort, tmp_path_factory, without_pictures):
    """The folder of a comparison that was killed in SLPD's second epoch, and called again."""
    folder, write, epochs = tmp_path_factory.mktemp("comparison"), HistoryHandler.__call__, []

    def note(self, engine):
        epochs.append(Path(self.output_dir).name)
        if epochs == ["DINO", "DINO", "SLPD", "SLPD"]:
            raise KeyboardInterrupt
        write(self, engine)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HistoryHandler, "__call__", note)
        with pytest.raises(KeyboardInterrupt):
            compare(cohort, folder)
        assert not (folder / "comparison.html").exists()
        assert set(json.loads((folder / "pieces.json").read_text())) == {"importing", "training DINO"}
        compare(cohort, folder)
    assert epochs[4:] == ["SLPD"], "DINO is done, and one epoch of SLPD"
    return folder


def records(folder):
    """What a comparison found, with all digits."""
    return json.loads((folder / "comparison.json").read_text())


def test_everybody_stands_in_one_table(gone_on):
    """Rivals, an untrained encoder, the user's vectors, DINO and SLPD; two last lines; the pieces' own files."""
    found = records(gone_on)
    assert [tuple(row[name] for name in ROW) for row in found["rows"]] == [
        ("tokens", "mean_token", "linear"),
        ("tokens", "patch_tokens", "mil"),
        ("untrained", "region_embedding", "linear"),
        ("theirs", "slide_vector", "linear"),
        ("DINO", "region_embedding", "linear"),
        ("SLPD", "region_embedding", "linear"),
    ]
    assert [line["text"].split(" (")[0].split(":")[0] for line in found["lines"]] == [
        "SLPD against the best of mean token and attention MIL on tokens",
        "SLPD against DINO",
    ]
    assert found["plan"]["max_epochs"] == 2 and found["plan"]["size"] == "tiny"
    names = {path.relative_to(gone_on).as_posix() for path in gone_on.rglob("*") if path.is_file()}
    assert {"comparison.html", "comparison.csv", "comparison.md", "DINO/model.pt", "SLPD/model.pt"} <= names
    assert {"evaluation/results.json", "tokens/s0.h5", "tokens/import/slides.csv"} <= names
    assert "without labels, the slides that they are tested on" in (gone_on / "comparison.html").read_text()


def test_a_killed_one_ends_as_the_printed_commands_do(gone_on, tmp_path):
    """The commands of the page, typed one after the other for an empty folder, give the same metrics to 1e-9."""
    for piece in json.loads((gone_on / "pieces.json").read_text()).values():
        if "run importing" not in piece["command"]:
            repeat(
                piece["command"].replace(str(gone_on), str(tmp_path)).replace(f"{tmp_path}/tokens", f"{gone_on}/tokens")
            )
    theirs = json.loads((tmp_path / "evaluation" / "results.json").read_text())
    own = {tuple(row[name] for name in ROW): row for row in records(gone_on)["rows"]}
    assert len(theirs["results"]) == len(own)
    for result in theirs["results"]:
        same(own[tuple(result[name] for name in ROW)]["summary"], result["summary"])
    compared = {tuple(c["b"][name] for name in ROW): c for c in theirs["comparisons"] if c["a"]["encoder"] == "SLPD"}
    assert {encoder for encoder, *_ in compared} == {"tokens", "DINO"}
    for other, comparison in compared.items():
        same(own[other]["difference"]["difference"], comparison["difference"])


def repeat(command):
    """Run what a command says, in this process."""
    words = shlex.split(command)
    assert words[:4] == "python -m monai.bundle run".split() and words[5] == "--config_file"
    ids = dict(zip((w.removeprefix("--") for w in words[7::2]), map(literal, words[8::2]), strict=True))
    run_config(words[6].removeprefix("configs/"), kind="train", run_id=words[4], **ids)


def literal(word):
    """A word of the command line as fire reads it."""
    try:
        return ast.literal_eval(word)
    except (ValueError, SyntaxError):
        return word


def same(one, other):
    """Metrics are equal to 1e-9, missing ones are missing in both."""
    if isinstance(one, dict):
        assert set(one) == set(other)
        for name in one:
            same(one[name], other[name])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for pair in zip(one, other, strict=True):
            same(*pair)
    else:
        assert one == (pytest.approx(other, abs=1e-9) if isinstance(other, float) else other)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ({"label": "one"}, "all 12 labelled patients are of one class in the column 'one'"),
        ({"n_folds": 7}, r"patients with class a: 6, too few for 7 folds"),
        ({"label": "nothing"}, "has no column 'nothing'"),
        ({"slide_table": "strangers.csv"}, "no slide has a value in column 'label' of .*strangers.csv"),
        ({"slide_vectors": {"others": "others.csv"}}, "slide_vectors others: 11 of 12 slides have no vector"),
        ({"slide_vectors": {"SLPD": "theirs.csv"}}, "slide_vectors are called 'SLPD', as an encoder is"),
        ({"size": "huge"}, "size is 'huge'; give auto, tiny"),
        ({"training": {"max_epochs": 3}}, "training has max_epochs, which comparing decides itself"),
        ({"sizes": {"tiny": {"prototype_warmup_epochs": 1}}}, "size tiny has prototype_warmup_epochs, which comparing"),
        ({"sizes": {"tiny": None}}, "size tiny is None; give ids of configs/train.yaml"),
        ({"time_budget": "much"}, "time_budget is 'much'; give a number"),
        ({"time_budget": 0.001}, "time_budget is 0.001 minutes, which holds not one epoch of 2 trainings of size tiny"),
    ],
)
def test_mistakes_are_told_before_the_work(cohort, tmp_path, ids, message):
    """Labels, folds, slides, vectors before anything is imported; the time before anything is trained."""
    write_table(cohort / "strangers.csv", [{"slide": f"other{i}", "label": "ab"[i % 2]} for i in range(N)])
    write_table(cohort / "others.csv", [{"slide": f"s{i + N - 1}", "v": 0.5} for i in range(N)])
    for name in ("slide_table", "slide_vectors"):
        value = ids.get(name)
        ids = ids | ({name: str(cohort / value)} if isinstance(value, str) else {})
        ids = ids | ({name: {k: str(cohort / v) for k, v in value.items()}} if isinstance(value, dict) else {})
    assert re.search(message, refused(compare, cohort, tmp_path, **ids))
    assert list(tmp_path.glob("tokens/*.h5")) == [] or "time_budget" in ids or "size" in ids
    assert not list(tmp_path.rglob("*.pt"))


def test_other_settings_need_another_folder(cohort, gone_on):
    """Trainings with other settings would overwrite; another label is only evaluated."""
    said = refused(compare, cohort, gone_on, seed=1)
    assert "trained with other seed: give these as they were, or another output_dir" in said


def test_slides_without_a_row_are_told(cohort, tmp_path):
    """Encoders learn from them, nothing is predicted of them; the page says so."""
    table = tmp_path / "some.csv"
    table.write_text("".join((cohort / "table.csv").read_text().splitlines(keepends=True)[:-1]))
    small = made(cohort, tmp_path / "out", slide_table=str(table))
    notes, data = small.parser.get_parsed_content("comparison")._check()
    assert len(data.slide_ids) == N
    assert len(notes) == 1 and notes[0].startswith(f"1 slides have no row in {table}, such as s11")


def test_slides_that_could_not_be_imported_are_missed_before_the_trainings(cohort, tmp_path):
    """Features of six patients a class, tokens of two: three folds are refused before steps are measured."""
    write_cohort(tmp_path / "tokens", regions=(1, 1, 1, 1))
    rows = [{"slide": f"s{i}", "label": "ab"[i % 2]} for i in range(N)]
    write_table(tmp_path / "table.csv", [*rows, *({"slide": f"slide_{i}", "label": "ab"[i % 2]} for i in range(4))])
    given = {"slide_table": str(tmp_path / "table.csv"), "slide_vectors": None, "n_folds": 3}
    small = made(cohort, tmp_path / "out", probe=lambda *_: pytest.fail("measured"), **given)
    comparison = small.parser.get_parsed_content("comparison")
    comparison._tokens = lambda: str(tmp_path / "tokens")
    assert "patients with class a: 2, too few for 3 folds" in refused(comparison.run)


def test_without_sites(cohort, tmp_path):
    """``--site null`` is said to evaluating, whose own value is another; it used to be left out."""
    small = made(cohort, tmp_path, site=None)
    piece = small.parser.get_parsed_content("comparison")._evaluating("tokens", {})
    assert piece.ids["site"] is None and "--site None" in piece.command
    assert "--time" not in piece.command


def test_what_training_says_goes_before_the_size(cohort, tmp_path):
    """Whatever id it is; the others stay the size's."""
    small = made(cohort, tmp_path, training={"batch_size": 8})
    comparison = small.parser.get_parsed_content("comparison")
    plan = Plan("tiny", 2, 1, 1, 24, 1.0)
    assert comparison._training("SLPD", "tokens", plan).ids["batch_size"] == 8
    assert comparison._training("SLPD", "tokens", plan).ids["embed_dim"] == TINY["embed_dim"]
