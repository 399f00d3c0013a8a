"""The commands of docs/README.md, run as they stand there, in a package."""

import json
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
from warm import ENVIRONMENT, run_python

from bundle.console.commands import COMMANDS
from bundle.console.words import read_words
from scripts.bench.processes import bundle_command

ROOT = Path(__file__).parents[2]
# One process starts MONAI's command line for all of them: importing it takes longer than most commands.
STARTER = """
import json, runpy, sys
for words in json.load(open("commands.json")):
    sys.argv[1:] = words
    try:
        runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)
    except BaseException:
        print("FAILED:", *words, file=sys.stderr)
        raise
    print("DONE:", *words)
"""
NETWORK = "--out_dim 64 --hidden_dim 16 --bottleneck_dim 8 --embed_dim 24 --n_heads 3 --depth 1 --max_epochs 1"
READ = "--mpp 4.0 --patch_size 32"
SMALL = {  # what makes a run of each config short; all else is as documented
    "train_patch_encoder.yaml": f"{NETWORK} {READ} --global_size 32 --local_size 16 --vit_patch_size 8 --n_local 2 "
    "--patches_per_slide 8 --batch_size 8",
    "train.yaml": f"{NETWORK} --n_local 2 --batch_size 4",
    "tokenize.yaml": READ,
    "inference.yaml": f"{READ} --patch_batch_size 16",
    "evaluate.yaml": "--n_folds 2 --protocols ['knn','linear'] --n_bootstrap 100 --train_fractions [1.0]",
}


def documented():
    """Command lines in fenced blocks of the page that start Python, torchrun or slpd, in their order, as MONAI's.

    Those on what the demo has made are left to ``scripts/check_docs``, where it has run; a cluster's, to its own tests.
    """
    text = (ROOT / "docs" / "README.md").read_text().replace("\\\n", " ")
    blocks = re.findall(r"```\w*\n(.*?)```", text, re.DOTALL)
    lines = [
        line for block in blocks for line in block.splitlines() if " demo/" not in line and "slpd slurm" not in line
    ]
    return [as_monai(line) for line in lines if re.match(r"(python|torchrun|slpd) ", line)]


def as_monai(line):
    """A line of slpd as the command that it stands for, from the bundle's root; other lines as they are."""
    start, name, *words = shlex.split(line)
    if start != "slpd":
        return line
    command = COMMANDS[name]
    read = read_words(command, words)
    files = [f"configs/{path.name}" for path in (command.path, *read.mixins)]
    return shlex.join(["python", *bundle_command(command.run_id, files, **read.values)[1:]])


def prepared(line, names, run):
    """A command with names filled in, results in a folder of their own, and, for a run, what makes it small."""
    words = [names.get(word, word) for word in shlex.split(line)]
    if " run " in line:
        first = re.findall(r"configs/(\w+\.yaml)", line)[0]
        words += [
            *shlex.split(SMALL.get(first, "").replace("'", '"')),
            "--device",
            "cpu",
            "--output_dir",
            f"made/{run}",
        ]
        words = [word.replace("[knn,linear]", "['knn','linear']") for word in words]
    return words


@pytest.mark.slow
def test_the_commands_of_the_page_run(package, demo_slides, tmp_path):
    """Exports, stage one, tokens, training, also in two processes, evaluation, inference, maps, search end well."""
    folder = tmp_path / "pathology_slpd"
    shutil.copytree(package.folder, folder)
    table = str(demo_slides / "slide_table.csv")
    lines = documented()
    inference = next(run for run, line in enumerate(lines) if "configs/inference.yaml" in line and " run " in line)
    head = next(run for run, line in enumerate(lines) if "--save_head" in line)
    names = {"SLIDES": str(demo_slides), "TOKENS": "made/tokens", "slides.csv": table}
    names["head.safetensors"] = f"made/{head}/head.safetensors"
    names |= {"EMBEDDINGS": f"made/{inference}/embeddings", "SLIDE_ID": next(demo_slides.glob("*.tif*")).stem}
    commands = [prepared(line, names, run) for run, line in enumerate(lines)]
    exports = [words[3:] for words in commands if words[0] == "python" and words[3] != "run"]
    runs = [words[3:] for words in commands if words[0] == "python" and words[3] == "run"]
    assert len(exports) >= 3 and len(runs) >= 7, "the page has lost commands"
    (folder / "commands.json").write_text(json.dumps([*exports, *runs]))
    options = {"cwd": folder, "env": ENVIRONMENT, "timeout": 600}
    done = run_python([sys.executable, "-c", STARTER], **options)
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.count("DONE:") == len(exports) + len(runs)
    several = [words for words in commands if words[0] == "torchrun"]
    assert len(several) == 1
    words = [re.sub(r"^--nproc_per_node=\d+", "--nproc_per_node=2", word) for word in several[0][1:]]
    done = run_python([sys.executable, "-m", "torch.distributed.run", *words], **options)
    assert done.returncode == 0, done.stderr[-4000:]
