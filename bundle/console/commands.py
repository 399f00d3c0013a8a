"""What ``slpd`` can do: each subcommand with its config, the id that stands first, and three examples."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..core.places import CONFIGS


@dataclass(frozen=True)
class Command:
    """A subcommand that runs one config.

    Attributes:
        name: after ``slpd``.
        config: file of :data:`CONFIGS`.
        run_id: what of it is run.
        first_shown: a word without a name, in usage lines.
        examples: words after the name, and what they do.
        first: the id that this word stands for.
        made: ids of places that the run writes to.
        next: what people run afterwards.
        without_first: what is run where the first id is not given; empty: the same.
        without_data: what is run where ``dataset_dir`` is not given and its default is not there; empty: the same.
        several: whether several processes share the work.
    """

    name: str
    config: str
    run_id: str
    first_shown: str
    examples: tuple[tuple[str, str], ...]
    first: str = "dataset_dir"
    made: tuple[str, ...] = ("output_dir",)
    next: tuple[str, ...] = ()
    without_first: str = ""
    without_data: str = ""
    several: bool = field(default=False)

    @property
    def path(self) -> Path:
        """The config's file."""
        return CONFIGS / self.config


COMMANDS: dict[str, Command] = {
    command.name: command
    for command in (
        Command(
            "check",
            "check.yaml",
            "checking",
            "SLIDES",
            (
                ("SLIDES", "pictures, problems and quarantine.txt, a second a slide"),
                ("SLIDES --slide_table slides.csv --label diagnosis", "the table and its labels, too"),
                ("TOKENS", "every token file against its checksums"),
            ),
            next=("slpd tokenize SLIDES --exclude QUARANTINE",),
        ),
        Command(
            "import",
            "import.yaml",
            "importing",
            "FEATURES",
            (
                ("FEATURES --tokens_dir tokens", "TRIDENT, CLAM, STAMP, HIPT, ...: the layout is found out"),
                ("FEATURES --default_mpp 0.25", "where nobody says the um/px of the slides"),
                ("FEATURES --slides_dir SLIDES", "um/px from the slides' headers"),
            ),
            made=("tokens_dir", "output_dir"),
            next=("slpd train TOKENS",),
            several=True,
        ),
        Command(
            "encoder",
            "train_patch_encoder.yaml",
            "training",
            "SLIDES",
            (
                ("SLIDES", "stage one: days on a GPU for some hundred slides, for those who have no patch encoder"),
                ("SLIDES --patch_encoder_ckpt vit256_small_dino.pth", "start from HIPT's weights"),
                ("SLIDES --with demo_patch_encoder", "a small one in minutes on a laptop, to see how it works"),
            ),
            made=("model_path", "output_dir"),
            next=("slpd tokenize SLIDES",),
            several=True,
        ),
        Command(
            "tokenize",
            "tokenize.yaml",
            "tokenizing",
            "SLIDES",
            (
                ("SLIDES --patch_encoder_ckpt FILE", "by a foundation model's file (docs/encoders.md)"),
                ("SLIDES --default_mpp 0.25", "um/px of slides that do not say"),
                ("SLIDES --processes 4", "on four GPUs, or cores"),
            ),
            made=("tokens_dir", "output_dir"),
            next=("slpd train TOKENS",),
            several=True,
        ),
        Command(
            "train",
            "train.yaml",
            "training",
            "TOKENS",
            (
                ("TOKENS", "SLPD pre-training of the region encoder"),
                ("TOKENS --resume true", "go on after a stop, to the same weights"),
                ("TOKENS --with paper_nsclc", "the paper's recipe"),
            ),
            made=("model_path", "output_dir"),
            next=("slpd evaluate TOKENS --slide_table slides.csv --label diagnosis", "slpd infer TOKENS"),
            several=True,
        ),
        Command(
            "evaluate",
            "evaluate.yaml",
            "evaluating",
            "TOKENS",
            (
                ("TOKENS --slide_table slides.csv --label diagnosis", "kNN, linear probe, attention MIL, by patient"),
                ("TOKENS --slide_table slides.csv --time months --event died", "survival"),
                ("TOKENS --slide_table slides.csv --encoders \"{'A': 'a.pt', 'B': 'b.pt'}\"", "encoders side by side"),
            ),
            next=("slpd infer TOKENS",),
        ),
        Command(
            "infer",
            "inference.yaml",
            "inferring",
            "SLIDES|TOKENS",
            (
                ("TOKENS", "embeddings, prototypes, attention: an .h5 a slide"),
                ("SLIDES", "the same from slides; tokens that exist are used"),
                ("SLIDES --head head.safetensors", "what a saved head says of slides (docs/heads.md)"),
            ),
            next=("slpd atlas --slides_dir SLIDES", "slpd maps --slides_dir SLIDES", "slpd search SLIDE"),
            several=True,
        ),
        Command(
            "maps",
            "maps.yaml",
            "mapping",
            "EMBEDDINGS",
            (
                ("--slides_dir SLIDES", "prototypes, similarity, attention over each slide"),
                ("--formats geojson", "only what QuPath reads"),
                ("--prototype 2", "similarity to one prototype"),
            ),
        ),
        Command(
            "atlas",
            "atlas.yaml",
            "charting",
            "EMBEDDINGS",
            (
                ("--slides_dir SLIDES", "kinds of tissue and all slides on one page"),
                ("--slide_table slides.csv --label diagnosis", "shares of tissue by class"),
                ("--n_kinds 12", "so many kinds of tissue"),
            ),
        ),
        Command(
            "search",
            "search.yaml",
            "searching",
            "SLIDE",
            (
                ("slide_7", "slides like this one and why; the index is made, or brought up to date, first"),
                ("new.h5 --by regions --region 40000,52000", "regions like the one at this place"),
                ("", "only bring the index up to date"),
            ),
            first="query",
            made=("index_dir", "output_dir"),
            without_first="indexing",
            without_data="querying",
        ),
        Command(
            "export",
            "export.yaml",
            "exporting",
            "EMBEDDINGS",
            (
                ("--formats trident,anndata", "the layouts of other tools"),
                ("--formats parquet --slide_table slides.csv", "with the table's columns"),
                ("EMBEDDINGS --output_dir DIR", "into a folder of your own"),
            ),
        ),
        Command(
            "compare",
            "compare.yaml",
            "comparing",
            "TOKENS|FEATURES",
            (
                ("TOKENS --slide_table slides.csv --label diagnosis", "is SLPD worth it here? with everybody's rivals"),
                ("TOKENS --slide_table slides.csv --time_budget 600", "with ten hours for the two trainings"),
                ("TOKENS --slide_table slides.csv --slide_vectors \"{'TITAN': 'titan/'}\"", "beside vectors of others"),
            ),
        ),
    )
}  # fmt: skip
# What has a program of its own.
OTHERS: dict[str, str] = {
    "run": "slides (or tokens, or features) to a score and an atlas, in one command",
    "demo": "the same on synthetic slides, from nothing, in minutes",
    "slurm": "the same as jobs of a Slurm cluster, from a plan",
    "label": "serve slides to QuPath by MONAI Label: maps, similar regions, training",
    "estimate": "regions, disk and hours that a folder of slides will take on this machine",
    "doctor": "is this machine right: packages, GPU, memory, disk",
}
SUMMARIES: dict[str, str] = {
    "check": "what is wrong with slides and tables, before a long run",
    "import": "features of another tool to tokens",
    "encoder": "stage one: a patch encoder of your own slides",
    "tokenize": "slides to tokens",
    "train": "SLPD pre-training of the region encoder",
    "evaluate": "subtyping, grading, staging, survival, by patient, with intervals",
    "infer": "embeddings, prototypes and attention of slides",
    "maps": "prototypes and attention over slides: pictures, QuPath, OME-TIFF, NIfTI",
    "atlas": "kinds of tissue and all slides on one page",
    "search": "similar slides and regions, and why",
    "export": "embeddings in the layouts of other tools",
    "compare": "whether SLPD is worth it on your slides",
} | OTHERS
ORDER = (
    ("first steps", ("demo", "run", "doctor", "check", "estimate")),
    ("step by step", ("encoder", "tokenize", "import", "train", "evaluate", "infer", "slurm")),
    ("look and use", ("atlas", "maps", "search", "compare", "export", "label")),
)
