"""The bundle under another name: what lets it live beside another bundle whose package is called `bundle`."""

import ast
import sys
import textwrap
from pathlib import Path

from warm import run_python

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "bundle"


def test_no_module_imports_the_package_by_its_name():
    """Inside the package imports are relative, in functions too."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            found += [f"{path.relative_to(ROOT)}:{node.lineno}" for name in names if name.split(".")[0] == "bundle"]
    assert found == []


def test_every_package_can_be_imported_under_another_name(tmp_path):
    """Another bundle's package has the name `bundle` to itself."""
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "__init__.py").write_text("someone_else = True\n")
    program = f"""
        import importlib, importlib.util, sys
        from pathlib import Path
        package = Path({str(PACKAGE)!r})
        spec = importlib.util.spec_from_file_location(
            "another", package / "__init__.py", submodule_search_locations=[str(package)]
        )
        sys.modules["another"] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        import bundle
        assert bundle.someone_else
        for path in sorted(package.glob("*/__init__.py")):
            importlib.import_module(f"another.{{path.parent.name}}")
        assert [m for m in sys.modules if m.startswith("bundle.")] == []
    """
    done = run_python([sys.executable, "-c", textwrap.dedent(program)], cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
