"""Every config can be started: MONAI finds what it asks for, and every part is built."""

from itertools import combinations
from pathlib import Path

import pytest
import yaml
from cohorts import write_cohort
from monai.bundle import ConfigExpression
from tiny_training import NETWORK
from workflows import workflow

from bundle.core.from_ids import located, taken_from_ids
from bundle.networks import load_region_encoder, read_about
from bundle.storage import read_embeddings
from scripts.pins.wiring import shared_blocks

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs"
TINY = {**NETWORK, "depth": 2, "device": "cpu"}
RUNNABLE = {
    "train.yaml",
    "train_patch_encoder.yaml",
    "tokenize.yaml",
    "import.yaml",
    "evaluate.yaml",
    "export.yaml",
    "inference.yaml",
    "maps.yaml",
    "search.yaml",
    "atlas.yaml",
    "check.yaml",
    "compare.yaml",
}
MIXINS = {
    "multi_gpu_train.yaml",
    "paper_nsclc.yaml",
    "paper_brca.yaml",
    "demo_patch_encoder.yaml",
    "demo_train.yaml",
    "two_encoders.yaml",
}
ADDING = {"multi_gpu_train.yaml", "two_encoders.yaml"}  # mixins with ids of their own
TRAIN = ["train.yaml"]


def names(path):
    """Top-level ids."""
    return yaml.safe_load(path.read_text())


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_every_config_is_known_here(path):
    """A new config is either a mixin or has a test below."""
    assert path.name in RUNNABLE | MIXINS
    if path.name in RUNNABLE:
        ids = names(path)
        assert {"run", "bundle_root", "device", "dataset_dir", "begin"} <= set(ids)
        first = ids["run"][0] if isinstance(ids["run"], list) else None
        assert first == "$@begin", "the command line is checked first"


@pytest.mark.parametrize("mixin", sorted(MIXINS - ADDING))
def test_a_mixin_names_only_ids_of_what_it_is_mixed_into(mixin):
    """A misspelled id in a mixin would change nothing and say nothing."""
    base = "train_patch_encoder.yaml" if "patch_encoder" in mixin else "train.yaml"
    assert set(names(CONFIGS / mixin)) <= set(names(CONFIGS / base))


def test_a_second_encoder_is_asked_for_what_the_first_is(tmp_path):
    """Each id of the second encoder is used by it alone, and for everything else both are loaded as the first is."""
    mixin, base = (names(CONFIGS / name) for name in ("two_encoders.yaml", "tokenize.yaml"))
    first, second = mixin["network_def"]["encoders"]
    assert first == base["network_def"] and second["of"] == first["of"]
    taken = dict.fromkeys(taken_from_ids(located(first["of"]), base, {}))
    own = {key: value for key, value in second.items() if key not in ("_target_", "of")}
    assert {value.removeprefix("@") for value in own.values()} == set(mixin) - {"network_def"} and set(own) < set(taken)
    assert set(taken) - set(own) == {"reading", "encoders_file", "device", "amp", "compile"}


@pytest.mark.parametrize("mixin", [[], ["paper_nsclc.yaml"], ["paper_brca.yaml"], ["demo_train.yaml"]])
@pytest.mark.parametrize("has_labels", [False, True])
def test_training_has_all_that_monai_asks_for(tmp_path, mixin, has_labels):
    """check_properties finds nothing missing, and the trainer with all its handlers is built."""
    tokens = write_cohort(tmp_path / "tokens")
    table = {"slide_table": str(tokens / "slide_table.csv")} if has_labels else {}
    made = workflow(
        "train.yaml", *mixin, kind="train", dataset_dir=str(tokens), output_dir=str(tmp_path), **TINY, **table
    )
    assert made.check_properties() == []
    assert made.trainer.state.max_epochs == made.max_epochs
    assert (made.evaluator is not None) and len(made.train_dataset) == 13


def test_centered_tokens_are_asked_for_once(tmp_path):
    """One id centers the tokens, is in the weights, and in what is noted beside them; the run trains."""
    tokens = write_cohort(tmp_path / "tokens")
    ids = {"center_tokens": "slide", "max_epochs": 1, "prototype_warmup_epochs": 0, "lr_warmup_epochs": 0, "n_local": 2}
    paths = {"output_dir": str(tmp_path), "model_path": str(tmp_path / "model.pt")}
    made = workflow("train.yaml", kind="train", dataset_dir=str(tokens), **paths, **ids, **TINY)
    assert made.train_dataset.center_tokens == "slide"
    made.run()
    assert load_region_encoder(tmp_path / "model.pt", takes_centered=True).takes_centered
    assert read_about(tmp_path / "model.pt")["center_tokens"] == "slide"
    inference = {"dataset_dir": str(tokens), "region_encoder_ckpt": str(tmp_path / "model.pt")}
    asked = workflow("inference.yaml", kind="infer", output_dir=str(tmp_path / "out"), device="cpu", **inference)
    asked.run()
    assert read_embeddings(tmp_path / "out" / "embeddings" / "slide_0.h5").attributes["center_tokens"] == "slide"


def test_stage_one_has_all_that_monai_asks_for(tmp_path, demo_slides):
    """The same for the patch encoder's training, on real files."""
    made = workflow(
        "train_patch_encoder.yaml",
        "demo_patch_encoder.yaml",
        kind="train",
        dataset_dir=str(demo_slides),
        output_dir=str(tmp_path),
        patches_per_slide=4,
        max_enlarge=2.0,
    )
    assert made.check_properties() == []
    assert made.trainer.state.max_epochs == names(CONFIGS / "demo_patch_encoder.yaml")["max_epochs"]


def test_documented_ids_exist_everywhere():
    """Every id at a config's top carries a comment that says its unit, its choices or its reason."""
    for name in RUNNABLE:
        head = (CONFIGS / name).read_text().split("\nbegin:")[0]
        knobs = [line for line in head.splitlines() if line and not line.startswith(("#", " ")) and ":" in line]
        bare = [line for line in knobs if "#" not in line]
        assert len(bare) <= len(knobs) / 3, f"{name}: {bare}"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_no_expression_is_taken_for_an_import(path):
    """MONAI reads an expression with "import" in it as a statement before references are filled in: a folder of that
    name ended every import that did not name another."""
    for value in names(path).values():
        ConfigExpression.is_import_statement(value)


def test_no_two_configs_share_ten_lines_of_wiring():
    """What several share is a component that takes its arguments from their ids (`scripts/wiring` shows the rest)."""
    for one, other in combinations(sorted(CONFIGS.glob("*.yaml")), 2):
        assert all(len(block) < 10 for block in shared_blocks(one, other)), f"{one.name}, {other.name}"


def test_lines_that_are_shared_are_found(tmp_path):
    """Ten lines of a component in both, whatever stands around them; `begin` and `table` are in every config."""
    part = "\n".join(["part:", "  _target_: a.b", *(f"  x{i}: '@y{i}'" for i in range(8))])
    for name, before in (("a", "begin:\n  _target_: c.d\n"), ("b", "begin:\n  _target_: c.d\nother: 1\n")):
        (tmp_path / name).write_text(f"{before}{part}\nlast: 2\n")
    assert [len(block) for block in shared_blocks(tmp_path / "a", tmp_path / "b")] == [10]


def test_training_stays_readable():
    """Under 260 lines, at most 15 of them with an expression."""
    lines = (CONFIGS / "train.yaml").read_text().splitlines()
    assert len(lines) < 260 and sum("$" in line for line in lines if not line.lstrip().startswith("#")) <= 15
