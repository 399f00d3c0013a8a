"""What tests of the pipelines share."""

from pathlib import Path

import pytest
from tiny_slides import write_slide


@pytest.fixture(scope="session")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three slides of different sizes, one smaller than a region."""
    folder = tmp_path_factory.mktemp("slides")
    for name, size, seed in (("a", 320, 0), ("b", 48, 1), ("c", 200, 2)):
        write_slide(folder / f"{name}.tif", size, seed)
    return folder
