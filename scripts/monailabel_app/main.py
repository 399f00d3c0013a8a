"""MONAI Label's way into the bundle: loads it under a name of its own and shows the app. See docs/monai_label.md."""

import importlib.util
import sys
from pathlib import Path

_NAME = "pathology_slpd_bundle"  # `bundle`, as the folder is called, may be another bundle's in the same server


def _find_bundle(app_dir: Path) -> Path:
    """The bundle linked at ``model/pathology_slpd``, or the one that this file lies in."""
    for root in (app_dir / "model" / "pathology_slpd", Path(__file__).resolve().parents[2]):
        if (root / "bundle" / "__init__.py").is_file():
            return root.resolve()
    raise RuntimeError(f"no bundle found: link it to {app_dir / 'model' / 'pathology_slpd'}")


def _load_bundle(root: Path) -> None:
    if _NAME in sys.modules:
        return
    package = root / "bundle"
    spec = importlib.util.spec_from_file_location(
        _NAME, package / "__init__.py", submodule_search_locations=[str(package)]
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[_NAME] = module
    spec.loader.exec_module(module)


_load_bundle(_find_bundle(Path(__file__).parent))
PathologySlpd = importlib.import_module(f"{_NAME}.serving.label_app").PathologySlpd
