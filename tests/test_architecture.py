"""The layers of the code as a test. What stands on which layer is said once, in `LAYERS`."""

import ast
import graphlib
import importlib
import re
import statistics
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS = {
    "bottom": ("cohort", "core", "pages", "parallel"),
    "middle": ("heads", "networks", "prototypes", "slides", "storage"),
    "top": ("comparing", "console", "demo", "evaluation", "explore", "pipelines", "serving", "training"),
}
LAYER_OF = {package: layer for layer, packages in enumerate(LAYERS.values()) for package in packages}
TOP = len(LAYERS) - 1
MODULES = sorted((ROOT / "bundle").rglob("*.py"))
PYTHON = sorted([*MODULES, *(ROOT / "scripts").rglob("*.py")])
PACKAGES = sorted(path.parent.name for path in (ROOT / "bundle").glob("*/__init__.py"))
UNSAFE_MODULES = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
MOST_LINES = 300
module_names = pytest.mark.parametrize("path", PYTHON, ids=lambda path: path.relative_to(ROOT).as_posix())


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
        if root == "scripts":
            found.append(f"line {line}: {name}: the package knows nothing of scripts/, which does not ship")
        if root != "bundle" or not rest or rest[0] in {own, "__version__"}:
            continue
        if rest[0] not in LAYER_OF:
            found.append(f"line {line}: {name} is on no layer")
        elif LAYER_OF[rest[0]] > LAYER_OF[own] or LAYER_OF[rest[0]] == TOP:
            found.append(
                f"line {line}: {own} imports {name}; a package imports lower layers, the lower two also neighbors, "
                "at the top none of them: put what both need a layer down, or let YAML hand the part in"
            )
    return found


def _circle(sources: Iterable[tuple[Path, str]], of_packages: bool) -> list[str]:
    """Modules (or packages) that import one another in a circle; empty where there is none."""
    texts = {_dotted_name(path): (path, source) for path, source in sources}
    graph: dict[str, set[str]] = defaultdict(set)
    for own, (path, source) in texts.items():
        for _, name in _imported(ast.parse(source), path):
            target = name if name in texts else name.rpartition(".")[0]
            if target in texts and target != own:
                pair = (own.split(".")[1], target.split(".")[1]) if of_packages else (own, target)
                if pair[0] != pair[1]:
                    graph[pair[0]].add(pair[1])
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def _dotted_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_imports_of_the_bundle_are_relative():
    """The Model Zoo's sorter of imports, which sees the bundle inside another repository, keeps relative ones."""
    absolute = re.compile(r"^(?:from|import) bundle\b", re.MULTILINE)
    assert [path.name for path in MODULES if absolute.search(path.read_text(encoding="utf-8"))] == []


def test_every_package_has_a_layer():
    """A folder in bundle/ is a package, and stands on a layer; every folder of modules has its `__init__.py`."""
    folders = sorted(p.name for p in (ROOT / "bundle").iterdir() if p.is_dir() and any(p.rglob("*.py")))
    assert folders == PACKAGES, "a folder of modules without __init__.py"
    assert set(PACKAGES) == set(LAYER_OF), "put the new package on a layer, here and in docs/architecture.md"
    assert [p.name for p in (ROOT / "bundle").glob("*.py")] == ["__init__.py"]
    assert [p for p in {path.parent for path in MODULES} if not (p / "__init__.py").is_file()] == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_go_down(path):
    """A module imports its own package and lower layers, on the lower two its neighbors; at the top, no neighbor."""
    if path.parent == ROOT / "bundle":
        assert not list(_imported(_parse(path), path)), "bundle/__init__.py imports nothing"
    else:
        assert _misplaced(path.read_text(encoding="utf-8"), path) == []


def test_no_circle():
    """Neither modules nor packages import one another in a circle, imports within functions included."""
    sources = [(path, path.read_text(encoding="utf-8")) for path in MODULES if path.parent != ROOT / "bundle"]
    assert _circle([pair for pair in sources if pair[0].name != "__init__.py"], of_packages=False) == []
    assert _circle(sources, of_packages=True) == []


def test_a_circle_is_seen():
    """Two modules, and two packages of one layer, that import each other are found."""
    slides, storage = (ROOT / "bundle" / name for name in ("slides", "storage"))
    one = [(slides / "a.py", "def f():\n    from .b import x"), (slides / "b.py", "from .a import y")]
    assert set(_circle(one, of_packages=False)) == {"bundle.slides.a", "bundle.slides.b"}
    two = [
        *((slides / "__init__.py", ""), (storage / "__init__.py", "")),
        *((slides / "a.py", "from ..storage import x"), (storage / "b.py", "from ..slides import y")),
    ]
    assert set(_circle(two, of_packages=True)) == {"slides", "storage"} and _circle(two[:3], of_packages=True) == []


@pytest.mark.parametrize(
    "source",
    [
        "from bundle.training import DINOLoss",
        "from ..training.losses.dino import DINOLoss",
        "from .. import evaluation",
        "import bundle.training.handlers.teacher",
        "def f():\n    from bundle import pipelines",
        "import importlib\nimportlib.import_module('bundle.explore')",
        "from bundle.unheard_of import x",
        "from scripts.bench import measure",
    ],
)
def test_every_way_to_import_is_seen(source):
    """From networks (middle layer) each of these is caught: absolute, relative, inside a function, by name."""
    assert len(_misplaced(source, ROOT / "bundle" / "networks" / "vit.py")) == 1


def test_packages_at_the_top_are_strangers():
    """What a package in the middle may do, a package at the top may not: import its neighbor."""
    assert len(_misplaced("from ..evaluation import x", ROOT / "bundle" / "explore" / "maps.py")) == 1
    assert _misplaced("from ..storage import x", ROOT / "bundle" / "slides" / "reading.py") == []


def test_lower_layer_and_the_own_package_are_allowed():
    """Imports downward and at home, and the version, raise no complaint."""
    lines = ["from bundle.core import BundleError", "from .drop import x", "from ..cohort import y"]
    source = "\n".join([*lines, "from bundle import __version__"])
    assert _misplaced(source, ROOT / "bundle" / "networks" / "vit.py") == []


@pytest.mark.parametrize("path", [path for path in MODULES if path.name == "__init__.py"], ids=_dotted_name)
def test_init_only_reexports(path):
    """An __init__ holds a docstring, imports from its own folder, and `__all__`."""
    for node in _parse(path).body:
        is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        is_named = isinstance(node, ast.Assign) and _dotted(node.targets[0]) in {"__all__", "__version__"}
        assert is_docstring or is_named or isinstance(node, ast.ImportFrom), f"line {node.lineno}: no re-export"
    strangers = [name for _, name in _imported(_parse(path), path) if not name.startswith(f"{_dotted_name(path)}.")]
    assert strangers == [], "an __init__ re-exports what its own folder defines"


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
    """No `utils.py` and its kin; a file of more than 300 lines holds more than one idea."""
    assert path.stem not in {"utils", "util", "helpers", "misc", "common"}
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def test_functions_are_short():
    """Half of all functions have at most 12 lines, nine in ten at most 36, docstrings counted."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = (node for path in PYTHON for node in ast.walk(_parse(path)) if isinstance(node, kinds))
    lengths = [node.end_lineno - node.lineno + 1 for node in nodes]
    assert statistics.median(lengths) <= 12 and statistics.quantiles(lengths, n=10)[-1] <= 36


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
    """Scripts leave the choice of package source to the machine: no address stands in them but a schema's own."""
    paths = (p for p in (ROOT / folder).rglob("*") if p.is_file() and p.suffix != ".pyc")
    for path in sorted(p for p in paths if not p.name.startswith("meta_schema_")):
        assert not re.search(r"\b(?:https?|ftp|ssh|git)://", path.read_text(encoding="utf-8")), path.name
