"""The floors of the house as a test. What stands on which floor is said once, in `FLOORS`."""

import ast
import importlib
import re
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FLOORS = {
    0: {"functional", "cohort"},
    1: {"slides", "tokens", "embeddings", "transforms", "weights", "synthetic"},
    2: {"networks", "losses", "prototypes", "metrics", "protocols", "reports", "maps", "search"},
    3: {"handlers", "engines", "apps"},
    4: {"benchmarks", "packaging"},
}
FLOOR_OF = {package: floor for floor, packages in FLOORS.items() for package in packages}
MODULES = sorted((ROOT / "bundle").rglob("*.py"))
PACKAGES = sorted(path.parent.name for path in (ROOT / "bundle").glob("*/__init__.py"))
UNSAFE_MODULES = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
LINES_TO_TALK_ABOUT = 300
module_names = pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())


def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def _dotted(node: ast.AST) -> str:
    return ast.unparse(node) if isinstance(node, ast.Name | ast.Attribute) else ""


def _imported(tree: ast.AST, path: Path) -> Iterator[tuple[int, str]]:
    """Line and absolute dotted name of everything imported anywhere in a module, inside functions too."""
    parents = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = list(parents[: len(parents) - node.level + 1]) if node.level else []
            base += node.module.split(".") if node.module else []
            yield from ((node.lineno, ".".join([*base, alias.name])) for alias in node.names)
        elif isinstance(node, ast.Call) and _dotted(node.func).split(".")[-1] in {"import_module", "__import__"}:
            yield from ((node.lineno, a.value) for a in node.args if isinstance(a, ast.Constant) and a.value)


def _misplaced(source: str, path: Path) -> list[str]:
    """What a module imports from the bundle although it may not, one sentence each."""
    own, found = path.relative_to(ROOT / "bundle").parts[0], []
    for line, name in _imported(ast.parse(source), path):
        root, *rest = name.split(".")
        if root != "bundle" or not rest or rest[0] in {own, "__version__"}:
            continue
        if rest[0] not in FLOOR_OF:
            found.append(f"line {line}: {name} is on no floor")
        elif FLOOR_OF[rest[0]] >= FLOOR_OF[own]:
            found.append(
                f"line {line}: {own} (floor {FLOOR_OF[own]}) imports {name} (floor {FLOOR_OF[rest[0]]}); "
                "only lower floors may be imported, let YAML hand the part in"
            )
    return found


def test_imports_of_the_bundle_are_relative():
    """The Model Zoo's sorter of imports, which sees the bundle inside another repository, keeps relative ones."""
    absolute = re.compile(r"^(?:from|import) bundle\b", re.MULTILINE)
    assert [path.name for path in MODULES if absolute.search(path.read_text(encoding="utf-8"))] == []


def test_every_package_has_a_floor():
    """A folder in bundle/ is a package, and a package stands on a floor; no module lies beside the packages."""
    folders = sorted(p.name for p in (ROOT / "bundle").iterdir() if p.is_dir() and any(p.rglob("*.py")))
    assert folders == PACKAGES, "a folder of modules without __init__.py"
    assert set(PACKAGES) <= set(FLOOR_OF), "put the new package on a floor, here and in docs/architecture.md"
    assert [p.name for p in (ROOT / "bundle").glob("*.py")] == ["__init__.py"]


@module_names
def test_imports_go_down(path):
    """A module imports its own package and lower floors: never above, never across."""
    if path.parent == ROOT / "bundle":
        assert not list(_imported(_parse(path), path)), "bundle/__init__.py imports nothing"
    else:
        assert _misplaced(path.read_text(encoding="utf-8"), path) == []


@pytest.mark.parametrize(
    "source",
    [
        "from bundle.losses import DINOLoss",
        "from ..losses.dino import DINOLoss",
        "from .. import losses",
        "import bundle.handlers.ema",
        "def f():\n    from bundle import engines",
        "import importlib\nimportlib.import_module('bundle.reports')",
        "from bundle.unheard_of import x",
    ],
)
def test_every_way_to_import_is_seen(source):
    """From networks (floor 2) each of these is caught: absolute, relative, inside a function, by name."""
    assert len(_misplaced(source, ROOT / "bundle" / "networks" / "vit.py")) == 1


def test_lower_floors_and_the_own_package_are_allowed():
    """Imports downward and at home, and the version, raise no complaint."""
    lines = ["from bundle.functional import entropy", "from .drop import x", "from ..cohort import y"]
    source = "\n".join([*lines, "from bundle import __version__"])
    assert _misplaced(source, ROOT / "bundle" / "networks" / "vit.py") == []


@pytest.mark.parametrize("package", PACKAGES)
def test_init_only_reexports(package):
    """An __init__ holds a docstring, imports from its own package, and `__all__`."""
    path = ROOT / "bundle" / package / "__init__.py"
    for node in _parse(path).body:
        is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        is_all = isinstance(node, ast.Assign) and _dotted(node.targets[0]) == "__all__"
        assert is_docstring or is_all or isinstance(node, ast.ImportFrom), f"line {node.lineno}: more than a re-export"
    strangers = [name for _, name in _imported(_parse(path), path) if not name.startswith(f"bundle.{package}.")]
    assert strangers == [], "an __init__ re-exports what its own package defines"


@pytest.mark.parametrize("package", PACKAGES)
def test_public_surface(package):
    """`__all__` is there, sorted, free of doubles, and every name in it can be imported."""
    module = importlib.import_module(f"bundle.{package}")
    assert list(module.__all__) == sorted(set(module.__all__))
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


@module_names
def test_nothing_is_unpickled(path):
    """No module that unpickles, no `torch.load` without `weights_only=True`, no `allow_pickle=True`."""
    tree = _parse(path)
    assert {name.split(".")[0] for _, name in _imported(tree, path)} & UNSAFE_MODULES == set()
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        options = {k.arg: k.value.value for k in call.keywords if isinstance(k.value, ast.Constant)}
        assert options.get("allow_pickle") is not True, f"line {call.lineno}"
        if _dotted(call.func) == "torch.load":
            assert options.get("weights_only") is True, f"line {call.lineno}: torch.load needs weights_only=True"


@module_names
def test_file_is_small_and_named_after_what_it_holds(path):
    """No `utils.py` and its kin; more than 300 lines is a warning, not a failure."""
    assert path.stem not in {"utils", "util", "helpers", "misc", "common"}
    n_lines = len(path.read_text(encoding="utf-8").splitlines())
    if n_lines > LINES_TO_TALK_ABOUT:
        warnings.warn(f"{path.relative_to(ROOT)} has {n_lines} lines: does it hold one idea?", stacklevel=1)


def test_test_file_names_are_unique():
    """Two test files never share a name, so that a failure names one place."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))


def _repository_texts() -> Iterator[tuple[Path, str]]:
    """Every text file that is tracked or about to be (not ignored)."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout: the list of tracked files cannot be had")
    for name in filter(None, listed.stdout.decode().split("\0")):
        path = ROOT / name
        if path.is_file() and b"\0" not in (data := path.read_bytes())[:4096]:
            yield path, data.decode("utf-8", errors="replace")


def test_no_path_of_one_machine():
    """No file names a folder that exists on its author's machine only."""
    folders = "|".join(["work", "farm", "root", "home", "Users", "tmp/dev", "tmp/plan"])
    pattern = re.compile(rf"(?<![\w.:/-])/(?:{folders})/[\w.]")
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
        for path, text in _repository_texts()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]
    assert found == []


@pytest.mark.parametrize("folder", ["scripts", ".ci"])
def test_scripts_name_no_network_host(folder):
    """Scripts leave the choice of package source to the machine: no address stands in them."""
    for path in sorted(p for p in (ROOT / folder).rglob("*") if p.is_file() and p.suffix != ".pyc"):
        assert not re.search(r"\b(?:https?|ftp|ssh|git)://", path.read_text(encoding="utf-8")), path.name
