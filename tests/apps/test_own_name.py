"""The bundle under another name: what lets it live beside another bundle whose package is called `bundle`."""

import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_package_can_be_imported_under_another_name(tmp_path):
    """Nothing in it imports `bundle` by that name, so another bundle's package may have the name to itself."""
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "__init__.py").write_text("someone_else = True\n")
    program = f"""
        import importlib, importlib.util, sys
        from pathlib import Path
        package = Path({str(ROOT / "bundle")!r})
        spec = importlib.util.spec_from_file_location(
            "another", package / "__init__.py", submodule_search_locations=[str(package)]
        )
        sys.modules["another"] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        import bundle
        assert bundle.someone_else
        for path in sorted(package.rglob("*.py")):
            name = ".".join(path.relative_to(package).with_suffix("").parts).removesuffix(".__init__")
            if name not in ("__init__", "apps.label_app", "apps.label_tasks") and not name.endswith("__main__"):
                importlib.import_module(f"another.{{name}}")
        assert [m for m in sys.modules if m.startswith("bundle.")] == []
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
