"""Several subcommands one after another: ``slpd run`` on slides of one's own, ``slpd demo`` on synthetic ones."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..core.errors import BundleError
from ..core.kinds import NOT_GIVEN
from ..core.places import ROOT
from ..core.settings import as_bool
from . import stepping
from .commands import COMMANDS
from .config_ids import ids_of
from .scores import score_lines
from .stepping import Step
from .talking import duration
from .words import CONFIG_FLAGS, check_inputs, read_words, split_options

_FLAGS = {"quick", "dry_run", "verbose", "help"}
# Ids that say the same in each step that has them.
_SHARED = frozenset(
    "slide_table exclude mpp default_mpp max_enlarge patch_size region_patches min_tissue min_tissue_patches keep_fat "
    "encode_background wsi_reader device amp seed verify label patch_encoder patch_mean patch_std patch_input_px "
    "encoders_file patch_encoder_ckpt tokens_dir slide_cache slide_cache_gb".split()
)
_QUICK_PLACE = {"mpp": "2.0", "patch_size": "64"}  # where the small patch encoder of stage one looks
_RUN_HELP = """slpd run SLIDES|TOKENS|FEATURES [--slide_table CSV --label COLUMN] [--id VALUE ...]

The whole chain: tokens, SLPD pre-training, evaluation by patient (with a label), embeddings, an atlas. It goes on
where it was stopped, and ends with one summary. What is made lies in the folder of work, as each step alone would
put it there.

examples
  slpd run SLIDES --slide_table slides.csv --label diagnosis --patch_encoder_ckpt uni.bin
        your slides, a foundation model's patch encoder (docs/encoders.md)
  slpd run SLIDES --slide_table slides.csv --label diagnosis --quick
        a first try on a laptop: a small patch encoder is trained first, at 2 um/px; minutes, not days. Its figures
        say what the chain does, not what SLPD can do
  slpd run FEATURES --slide_table slides.csv --label diagnosis
        features that another tool has extracted (docs/importing.md), or tokens

options
  --work_dir DIR   [.]     where everything is made
  --quick                  small networks, coarse pixels
  --dry_run                say what would be run
  --verbose                everything that MONAI and the steps have to say
  --ID VALUE               of the steps, see slpd STEP --help; what several steps have and means another thing in
                           each stands behind the step's name: --train.batch_size 32"""
_DEMO_HELP = """slpd demo [FOLDER]

From nothing to a trained region encoder, its score and an atlas of 48 synthetic slides: no GPU, no network; some
minutes on two cores. All of it lies in FOLDER (demo). A second call goes on where the first one stopped."""


def run(name: str, typed: Sequence[str]) -> int:
    """``slpd run`` or ``slpd demo``."""
    options, plain = split_options(typed, _FLAGS | CONFIG_FLAGS)
    if "help" in options:
        print(_RUN_HELP if name == "run" else _DEMO_HELP)
        return 0
    is_dry, is_verbose = (as_bool(options.pop(flag, "false")) for flag in ("dry_run", "verbose"))
    started = time.monotonic()
    if name == "demo":
        unknown = [f"--{option}" for option in options if option != "work_dir"] + plain[1:]
        if unknown:
            raise BundleError(f"slpd demo takes a folder and nothing else; {unknown[0]!r} is one thing more.")
        work_dir = Path(plain[0] if plain else options.pop("work_dir", "demo"))
        steps, label = demo_steps(work_dir), "the diagnosis"
        _insist_on_current_demo(work_dir)
    else:
        if len(plain) != 1:
            raise BundleError("slpd run takes one word without a name, the folder of slides, tokens or features.")
        work_dir = Path(options.pop("work_dir", "."))
        steps, label = slide_steps(plain[0], work_dir, options), options.get("label", "label")
    if is_dry:
        print("\n".join(f"slpd {step.command} {shlex.join(step.words)}" for step in steps))
        return 0
    status = stepping.run_steps(steps, is_verbose)
    if status == 0:
        print("\n".join(_summary(name, work_dir, label, time.monotonic() - started)))
    return status


def slide_steps(source: str, work_dir: Path, options: Mapping[str, str]) -> list[Step]:
    """The steps from slides, tokens or features to an atlas, each with its words.

    Args:
        source: folder of slides, tokens or features.
        work_dir: where things are made.
        options: ids of the steps, and ``quick``.

    Raises:
        BundleError: there is no such folder; an id is unknown, or stands in several steps with several meanings; there
            is no patch encoder.
    """
    if not Path(source).exists():
        raise BundleError(f"there is no {source}; give the folder of slides, tokens or features: slpd run SLIDES")
    ids = {name: word for name, word in options.items() if name not in _FLAGS}
    is_quick, has_slides = as_bool(options.get("quick", "false")), _has_slides(source)
    has_target = "label" in ids or "time" in ids
    if has_target and "slide_table" not in ids:
        raise BundleError("a label needs the table that it stands in: --slide_table slides.csv (docs/slide_table.md).")
    _check_table(ids)
    tokens = ids.get("tokens_dir", str(work_dir / "tokens")) if has_slides else source
    steps = []
    small = ["--with=demo_train"] if is_quick else []
    if has_slides:
        steps += _to_tokens(source, work_dir, ids, is_quick)
    steps.append(Step("train", "SLPD pre-training", [tokens, "--resume=true", *small]))
    if has_target:
        steps.append(Step("evaluate", "evaluation by patient", [tokens, "--n_folds=auto", "--untrained=true"]))
    steps.append(Step("infer", "embeddings", [tokens]))
    steps.append(Step("atlas", "atlas", [f"--slides_dir={source}"] if has_slides else []))
    _hand_out(steps, ids)
    for step in steps:
        step.words.append(f"--work_dir={work_dir}")
        _check(step)
    return steps


def _check_table(ids: Mapping[str, str]) -> None:
    """The columns that are asked for stand in the table; said before hours of other steps.

    Raises:
        BundleError: there is no such file or column.
    """
    asked = {name: ids[name] for name in ("label", "time", "event", "site") if ids.get(name, "null") not in NOT_GIVEN}
    if not asked or not Path(ids["slide_table"]).is_file():
        return  # a table that is not there is told by the step that reads it
    from ..cohort import SlideTable

    table = SlideTable.read(ids["slide_table"])
    for name, column in asked.items():
        table.check_column(column, name)


def _to_tokens(source: str, work_dir: Path, ids: dict[str, str], is_quick: bool) -> list[Step]:
    """Stage one where it is asked for, and tokenizing."""
    if not is_quick or "patch_encoder_ckpt" in ids:
        found = Path(ids.get("patch_encoder_ckpt", work_dir / "models" / "patch_encoder.pt"))
        if not found.exists():
            raise BundleError(
                f"there is no patch encoder at {found}. Give one (--patch_encoder_ckpt FILE, docs/encoders.md lists "
                "those that are known by name), train one on your slides (slpd encoder SLIDES: days on a GPU), or see "
                "the chain at work with a small one (--quick: minutes)."
            )
        return [Step("tokenize", "slides to tokens", [source])]
    for name, value in _QUICK_PLACE.items():
        ids.setdefault(name, value)
    small = ["--with=demo_patch_encoder", *(f"--{name}={ids[name]}" for name in _QUICK_PLACE)]
    own = Step("encoder", "a small patch encoder of these slides", [source, "--resume=true", *small])
    tokens = Step("tokenize", "slides to tokens", [source, "--batch_size=32"])
    is_done = (work_dir / "eval" / "patch_encoder" / "exported.json").is_file()  # written when the run is complete
    return [tokens] if is_done and (work_dir / "models" / "patch_encoder.pt").is_file() else [own, tokens]


def _hand_out(steps: Sequence[Step], ids: Mapping[str, str]) -> None:
    """Give each id to the steps that it is meant for.

    Raises:
        BundleError: an id is nobody's, or could be several steps'.
    """
    for name, word in ids.items():
        chosen, dot, rest = name.partition(".")
        if dot and chosen in COMMANDS:
            owners, name = [step for step in steps if step.command == chosen], rest
            if not owners:
                raise BundleError(f"--{chosen}.{rest}: this chain has no step {chosen}.")
        else:
            owners = [step for step in steps if name in ids_of(COMMANDS[step.command].path)]
        if not owners:
            raise BundleError(f"no step of the chain has --{name}; slpd run --help tells how ids are given.")
        if len(owners) > 1 and name not in _SHARED:
            own = " or ".join(f"--{step.command}.{name}" for step in owners)
            raise BundleError(f"--{name} could be of several steps; say which: {own}.")
        for step in owners:
            step.words = [given for given in step.words if not given.startswith(f"--{name}=")]
            step.words.append(f"--{name}={word}")
            _hand_on(steps, step, name, word)


def _hand_on(steps: Sequence[Step], maker: Step, name: str, word: str) -> None:
    """Weights that a step writes somewhere else are what the later steps read."""
    if name != "model_path":
        return
    read = {"encoder": {"tokenize": f"--patch_encoder_ckpt={word}", "infer": f"--patch_encoder_ckpt={word}"}}
    read["train"] = {"evaluate": f"--encoders={ {'SLPD': word} }", "infer": f"--region_encoder_ckpt={word}"}
    for step in steps:
        if step.command in read.get(maker.command, {}):
            step.words.append(read[maker.command][step.command])


def _check(step: Step) -> None:
    """What is wrong with a step's words, before the first step has run; what earlier steps make is not there yet."""
    command = COMMANDS[step.command]
    read = read_words(command, step.words)
    given = {name: word for name, word in read.values.items() if name in ("slide_table", "exclude", "splits")}
    read.values = given
    check_inputs(command, read, given)


def _has_slides(source: str) -> bool:
    from ..slides import find_slides

    try:
        return bool(find_slides(source))
    except BundleError:
        return False


def demo_steps(work_dir: Path) -> list[Step]:
    """The demo: a cohort whose two diagnoses differ in which tissues lie together."""
    slides, table = work_dir / "slides", work_dir / "slides" / "slide_table.csv"
    tokens = str(work_dir / "tokens")
    where = [f"--work_dir={work_dir}", f"--slide_table={table}"]
    encoder = ROOT / "models" / "demo_patch_encoder.pt"
    return [
        Step("draw", "48 synthetic H&E slides of two diagnoses", [str(slides)]),
        Step(
            "tokenize",
            "slides to tokens, by a small patch encoder that comes along",
            [str(slides), *where, f"--patch_encoder_ckpt={encoder}", "--mpp=4", "--patch_size=32", "--batch_size=256",
             "--min_tissue_patches=128"],
        ),
        Step(
            "train",
            "SLPD: the region encoder",
            [tokens, *where, f"--slides_dir={slides}", "--with=demo_train", "--resume=true"],
        ),
        Step(
            "evaluate",
            "the diagnosis by nearest neighbors, beside the mean token and an untrained encoder",
            [tokens, *where, f"--slides_dir={slides}", "--untrained=true", "--protocols=['knn']", "--n_folds=5",
             "--features=['mean_token','region_embedding']", "--train_fractions=[1.0]"],
        ),
        Step("infer", "embeddings, a file a slide", [tokens, *where]),
        Step("atlas", "kinds of tissue, slides, their neighbors, on one page", [*where, f"--slides_dir={slides}"]),
    ]  # fmt: skip


def _insist_on_current_demo(work_dir: Path) -> None:
    table = work_dir / "slides" / "slide_table.csv"
    if table.is_file() and "segregated" not in table.read_text(encoding="utf-8", errors="replace"):
        raise BundleError(f"{work_dir} holds the slides of an earlier demo; give another folder: slpd demo FOLDER")


def _summary(name: str, work_dir: Path, label: str, seconds: float) -> list[str]:
    """What was measured, where things are, what comes next."""
    places = (
        ("eval/slide_level/report.html", "figures with intervals, by patient: open it in a browser"),
        ("eval/atlas/atlas.html", "kinds of tissue and all slides on one page: open it in a browser"),
        ("eval/slpd/training.png", "the course of the training"),
        ("eval/inference/embeddings", "embeddings and prototypes, an .h5 a slide"),
        ("models/model.pt", "the region encoder"),
    )
    lines = ["", f"done in {duration(seconds)}", *score_lines(work_dir / "eval" / "slide_level", label)]
    lines += [f"  {work_dir / place!s:<38} {what}" for place, what in places if (work_dir / place).exists()]
    where = "" if work_dir == Path(".") else f" --work_dir {work_dir}"
    if name == "demo":
        lines.append("  Synthetic slides of one seed; another seed has other figures")
        lines.append("next  slpd run SLIDES --slide_table slides.csv --label diagnosis     your own slides")
    else:
        lines.append(f"next  slpd search SLIDE_ID{where}, slpd maps --slides_dir SLIDES{where}, slpd compare --help")
    return lines
