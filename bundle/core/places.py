"""Where the bundle lies, in a clone, a package or a wheel."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "configs"
