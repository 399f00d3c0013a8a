"""What ships runs on Python 3.10, the Model Zoo's; its pins exist for 3.10 and 3.11."""

import ast
import json
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from scripts.zoo import pins
from scripts.zoo.contents import packaged_files

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
NEWER = {  # names of the standard library that came with 3.11 or later, as far as a bundle could want them
    "asyncio": {"Barrier", "Runner", "TaskGroup", "timeout"},
    "contextlib": {"chdir"},
    "datetime": {"UTC"},
    "enum": {"EnumCheck", "FlagBoundary", "ReprEnum", "StrEnum", "member", "nonmember", "property", "verify"},
    "hashlib": {"file_digest"},
    "inspect": {"getmembers_static", "markcoroutinefunction"},
    "itertools": {"batched"},
    "logging": {"getHandlerByName", "getHandlerNames", "getLevelNamesMapping"},
    "math": {"cbrt", "exp2", "fma", "sumprod"},
    "operator": {"call"},
    "os": {"process_cpu_count"},
    "sys": {"exception", "monitoring"},
    "typing": {
        *("LiteralString", "Never", "NotRequired", "Required", "Self", "TypeVarTuple", "Unpack", "assert_never"),
        *("assert_type", "dataclass_transform", "override", "reveal_type", "TypeAliasType", "ReadOnly", "TypeIs"),
    },
    "builtins": {"BaseExceptionGroup", "ExceptionGroup", "EncodingWarning", "PythonFinalizationError"},
}
MODULES = {"annotationlib", "compression", "tomllib", "wsgiref.types"}
KEYWORDS = {"catch_warnings": {"action", "category"}, "relative_to": {"walk_up"}, "warn": {"skip_file_prefixes"}}


def newer_than_310(source):
    """What a module uses that Python 3.10 lacks; a SyntaxError where its grammar lacks it."""
    for node in ast.walk(ast.parse(source, feature_version=(3, 10))):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names if alias.name in MODULES)
            case ast.ImportFrom(module=module, names=names, level=0):
                found = {module} & MODULES | {alias.name for alias in names} & NEWER.get(module, set())
                yield from sorted(found)
            case ast.Attribute(value=ast.Name(id=module), attr=name) if name in NEWER.get(module, ()):
                yield f"{module}.{name}"
            case ast.Name(id=name) if name in NEWER["builtins"]:
                yield name
            case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name), keywords=keywords):
                yield from (f"{name}({k.arg}=)" for k in keywords if k.arg in KEYWORDS.get(name, ()))


def test_what_ships_is_python_310():
    """Every module parses as 3.10 and names nothing newer of the standard library, which four once did; ruff and mypy,
    which knows of arguments as well, take them for 3.10."""
    modules = [name for name in packaged_files(ROOT) if name.endswith(".py")]
    found = {name: list(newer_than_310((ROOT / name).read_text(encoding="utf-8"))) for name in modules}
    assert len(modules) > 100 and {name: newer for name, newer in found.items() if newer} == {}
    assert PROJECT["tool"]["ruff"]["target-version"] == "py310"
    assert PROJECT["tool"]["mypy"]["python_version"] == "3.10"
    assert SpecifierSet(PROJECT["project"]["requires-python"]).contains("3.10")


@pytest.mark.parametrize(
    ("source", "newer"),
    [
        ("import tomllib", ["tomllib"]),
        ("from typing import Any, Self", ["Self"]),
        ("hashlib.file_digest(file)", ["hashlib.file_digest"]),
        ("warnings.catch_warnings(action='ignore')", ["catch_warnings(action=)"]),
        ("raise ExceptionGroup('several', [])", ["ExceptionGroup"]),
        ("from .typing import Self\nx.update(category=1)", []),
    ],
)
def test_newer_names_are_seen(source, newer):
    """Names of 3.11 in each of their forms."""
    assert list(newer_than_310(source)) == newer


def test_newer_grammar_is_seen():
    """except* is of 3.11."""
    with pytest.raises(SyntaxError):
        list(newer_than_310("try:\n    pass\nexcept* ValueError:\n    pass\n"))


@pytest.fixture
def wheels(tmp_path):
    """A registry: a folder of wheels, monai 1.0 for every Python, tifffile 2.0 for 3.11 and later."""
    for name, version, needs in (
        ("monai", "1.0", ">=3.8"),
        ("tifffile", "1.0", ">=3.8"),
        ("tifffile", "2.0", ">=3.11"),
    ):
        info = f"{name}-{version}.dist-info"
        with zipfile.ZipFile(tmp_path / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
            head = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nRequires-Python: {needs}\n"
            wheel.writestr(f"{info}/METADATA", head)
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", "")
    return ["--isolated", "--no-index", f"--find-links={tmp_path}"]


def test_a_pin_without_a_build_for_310_is_named(wheels):
    """A tifffile of 3.11 once stood in the metadata, and the Zoo's check ended at pip."""
    for missing in ("tifffile==2.0", "tifffile==3.0"):  # refuses 3.10; is not there at all
        assert list(pins.missing_pins(["monai==1.0", missing], "3.10", *wheels)) == [missing]


def test_without_a_registry_pins_are_not_looked_for(capsys, tmp_path):
    """It says so, aloud, and is no failure."""
    assert pins.main("--isolated", "--no-index", f"--find-links={tmp_path}") == 0
    assert capsys.readouterr().out.startswith("SKIPPED, pins NOT looked for")


def test_pins_of_the_metadata():
    """MONAI, torch and NumPy as pip calls them, then the other packages."""
    found = [
        Requirement(pin).name for pin in pins.metadata_pins(json.loads((ROOT / "configs/metadata.json").read_text()))
    ]
    assert found[:3] == ["monai", "torch", "numpy"] and "tifffile" in found and len(found) == len(set(found)) > 20
