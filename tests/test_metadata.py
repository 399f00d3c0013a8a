"""What configs/metadata.json promises to MONAI and the Model Zoo."""

import ast
import hashlib
import json
import logging.handlers
import re
import sys
import tomllib
from configparser import ConfigParser
from itertools import product
from pathlib import Path

import jsonschema
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

import bundle

ROOT = Path(__file__).resolve().parent.parent
SCHEMA_SHA256 = "cd64aa8a5904426f6fc6855dabe46af8c742d5bad644b4e9cfb78ebad09ad678"  # as MONAI published it
NOT_FOR_310 = {  # packages whose tested version has no build for Python 3.10
    *("filelock", "imagecodecs", "matplotlib", "numpy", "pillow", "scikit-learn", "scipy", "tifffile")
}
METADATA = json.loads((ROOT / "configs" / "metadata.json").read_text(encoding="utf-8"))


def _pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))


def test_metadata_passes_the_schema():
    """The metadata is valid under the schema that it names, MONAI's, whose copy is the published file to the byte."""
    path = ROOT / "scripts" / "zoo" / Path(METADATA["schema"]).name
    assert hashlib.sha256(path.read_bytes()).hexdigest() == SCHEMA_SHA256
    jsonschema.validate(METADATA, json.loads(path.read_text(encoding="utf-8")))
    assert path.name in (ROOT / "NOTICE").read_text(encoding="utf-8")


def test_network_format_is_the_region_encoders():
    """Input `image` [B, 384, 16, 16] float32, output `pred` [B, 192] without space, as the Zoo checks them."""
    formats = METADATA["network_data_format"]
    image, pred = formats["inputs"]["image"], formats["outputs"]["pred"]
    assert (image["num_channels"], image["spatial_shape"], image["dtype"]) == (384, [16, 16], "float32")
    assert (pred["num_channels"], pred["spatial_shape"], pred["dtype"]) == (192, [], "float32")


def test_one_version_everywhere():
    """Package, project file, metadata, its changelog, CHANGELOG.md and CITATION.cff name the same version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == METADATA["version"] == bundle.__version__
    assert bundle.__version__ in METADATA["changelog"]
    assert f"## {bundle.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"version: {bundle.__version__}" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_changelogs_have_the_same_versions():
    """Every version of CHANGELOG.md has a line in the metadata, and the other way round; the newest is the version."""
    headings = re.findall(r"^## (\d\S*)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings == sorted(METADATA["changelog"], key=Version, reverse=True)
    assert headings[0] == METADATA["version"]


def test_every_import_is_a_required_package():
    """What the bundle imports is in required_packages_version, but for what it can do without."""
    optional = {
        "cucim",  # another reader takes the slides
        "faiss",  # the batched engine clusters and matches
        "triton",  # comes with torch for GPUs
        "fastapi",  # of MONAI Label's server, which has an environment of its own (scripts/label)
        "monailabel",
        "pydantic",
        "starlette",
    }
    distributions = {"PIL": "pillow", "ignite": "pytorch-ignite", "openslide": "openslide-python"}
    distributions |= {"jinja2": "Jinja2", "sklearn": "scikit-learn", "yaml": "PyYAML"}
    imported = set()
    for path in (ROOT / "bundle").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(str(node.module).split(".")[0])
    needed = imported - optional - {"monai", "numpy", "torch"} - sys.stdlib_module_names
    assert {distributions.get(name, name) for name in needed} <= METADATA["required_packages_version"].keys()


def test_large_files_can_be_checked():
    """Each file of large_files.yml has an address and a SHA-256 of 64 digits."""
    entries = yaml.safe_load((ROOT / "large_files.yml").read_text(encoding="utf-8"))["large_files"]
    for entry in entries:
        assert entry["url"].startswith("https://") and entry["hash_type"] == "sha256"
        assert re.fullmatch("[0-9a-f]{64}", entry["hash_val"])


def test_metadata_versions_are_the_tested_ones():
    """Every version in the metadata is the pin in constraints.txt, but for those that have no build for Python 3.10,
    which are older; every one of both lies in pyproject's range."""
    pins = _pins()
    named = METADATA["required_packages_version"] | {
        "monai": METADATA["monai_version"],
        "torch": METADATA["pytorch_version"],
        "numpy": METADATA["numpy_version"],
    }
    assert {name for name, version in named.items() if version != pins[name]} == NOT_FOR_310
    assert all(Version(named[name]) < Version(pins[name]) for name in NOT_FOR_310)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(r for e in ("cpu", "dev") for r in project["optional-dependencies"][e])]
    lower = {name.lower(): version for name, version in pins.items()}
    both = lower, lower | {name.lower(): version for name, version in named.items()}
    for requirement, versions in product(map(Requirement, wanted), both):
        assert requirement.specifier.contains(versions[requirement.name.lower()]), requirement


def test_logging_needs_only_the_standard_library():
    """configs/logging.conf can be read anywhere: its handlers are the standard library's."""
    config = ConfigParser()
    config.read(ROOT / "configs" / "logging.conf")
    handlers = [config[f"handler_{name.strip()}"]["class"] for name in config["handlers"]["keys"].split(",")]
    assert handlers and all(hasattr(logging, name) or hasattr(logging.handlers, name) for name in handlers)
