"""What several folders of tests share."""

import multiprocessing
import os
import sys
from collections.abc import Iterator
from multiprocessing import resource_tracker
from pathlib import Path

import pytest
from offline import is_in_a_workflow, refuse, watch

REAL_SLIDE = "CMU-1-Small-Region.svs"
os.environ.setdefault("PYTHONFAULTHANDLER", "1")  # a process that crashes in a native library says where
watch(lambda asked: refuse(asked) if is_in_a_workflow() else None)


@pytest.fixture(scope="session")
def real_slide() -> Path:
    """A real Aperio slide in ``$SLIDES_DIR``, or in ``../shared/slides`` beside the repository; else the test skips."""
    beside = Path(__file__).parents[2] / "shared" / "slides"
    path = Path(os.environ.get("SLIDES_DIR", beside)) / REAL_SLIDE
    if not path.is_file():
        pytest.skip(f"{REAL_SLIDE} (OpenSlide's test data) is neither in $SLIDES_DIR nor in ../shared/slides")
    return path


@pytest.fixture(scope="session")
def atlas_slides() -> Path:
    """Slides of the Pathology Atlas in ``$ATLAS_DIR``, or in ``../shared/atlas`` beside the repository; else a skip."""
    path = Path(os.environ.get("ATLAS_DIR", Path(__file__).parents[2] / "shared" / "atlas"))
    if not (path / "stains").is_dir():
        pytest.skip("slides of the Pathology Atlas are neither in $ATLAS_DIR nor in ../shared/atlas")
    return path


@pytest.fixture(scope="session")
def demo_slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of four small synthetic slides, two of each diagnosis, at 4 um/px."""
    from bundle.demo.demo_slides import make_demo_slides

    folder = tmp_path_factory.mktemp("demo_slides")
    make_demo_slides(folder, n_slides=4, seed=1, mpp=4.0, regions=2)
    return folder


@pytest.fixture
def warm_spawn() -> Iterator[None]:
    """What multiprocessing spawns is quick to start, as warm.py says."""
    from warm import python

    resource_tracker.ensure_running()  # itself started by what comes next
    multiprocessing.set_executable(python())
    yield
    multiprocessing.set_executable(sys.executable)


def pytest_configure(config: pytest.Config) -> None:
    """`-m label` names the tests that need the environment of `scripts/label --install`; without it they skip."""
    config.addinivalue_line("markers", "label: real requests to a MONAI Label server; scripts/test --label runs these")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with a slow test come first: workers that get whole files would else end with one that works alone."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
