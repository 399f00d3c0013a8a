"""TensorBoard's projector: the same points every time, each with its own words and picture."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from google.protobuf import text_format
from PIL import Image
from slide_embeddings import made_up_slide
from tensorboard.plugins.projector import ProjectorConfig

from bundle.cohort import SlideTable
from bundle.core import BundleError, SettingError
from bundle.explore import RegionProjector
from bundle.storage import read_embeddings, write_embeddings


@pytest.fixture
def cohort(tmp_path):
    """Two slides of 6 and 3 regions, and a broken file."""
    for name, n_regions in (("a", 6), ("b", 3)):
        write_embeddings(made_up_slide(name, n_regions, 2), tmp_path / "embeddings" / f"{name}.h5")
    (tmp_path / "embeddings" / "c.h5").write_bytes(b"")
    return tmp_path / "embeddings"


def picture(slide_id, x, y, size):
    """A color that tells the region; slide b is not at hand."""
    return None if slide_id == "b" else np.full((8, 8, 3), [10 + x / size * 20, 10 + y / size * 20, 200], np.uint8)


def rows_of(folder, tag, name="metadata.tsv"):
    """A table's lines as cells."""
    return [line.split("\t") for line in (folder / "00000" / tag / name).read_text().splitlines()]


def test_points_have_their_own_words_and_picture(cohort, tmp_path):
    """Vectors, slide, prototype, the table's columns, and the sprite agree row by row; tabs in a table do no harm."""
    (tmp_path / "table.csv").write_text('slide,mpp,label,note\na,0.5,"two\twords",\n')
    table = SlideTable.read(tmp_path / "table.csv")
    folder = RegionProjector(cohort, tmp_path / "maps", picture, table, n_regions=100).run()
    header, *rows = rows_of(folder, "embedding")
    assert header == ["slide", "region", "prototype", "tissue share", "label", "note"]
    assert [row[0] for row in rows] == ["a"] * 6 + ["b"] * 3
    slide = read_embeddings(cohort / "a.h5")
    assert rows[3][1:] == ["3", str(slide.assignment[3] + 1), f"{slide.mask[3].mean():.2f}", "two words", "-"]
    for tag, vectors in (("embedding", slide.features), ("projection", slide.projection)):
        written = np.array(rows_of(folder, tag, "tensors.tsv"), float)
        assert len(written) == 9
        np.testing.assert_allclose(written[:6], vectors, rtol=1e-5)
    with Image.open(folder / "00000" / "embedding" / "sprite.png") as sprite:
        tiles = np.asarray(sprite).reshape(3, 8, 3, 8, 3).swapaxes(1, 2).reshape(9, 8, 8, 3)
    for region, (x, y) in enumerate(slide.coords / slide.region_size_level0):
        np.testing.assert_allclose(tiles[region].mean((0, 1)), [10 + 20 * x, 10 + 20 * y, 200], atol=1)
    assert (np.ptp(tiles[6:], -1) == 0).all(), "without a slide: gray"
    listed = ProjectorConfig()
    text_format.Parse((folder / "projector_config.pbtxt").read_text(), listed)
    assert [(one.tensor_name, *one.sprite.single_image_dim) for one in listed.embeddings] == [
        ("embedding:00000", 8, 8),
        ("projection:00000", 8, 8),
    ]


def test_a_sample_is_the_same_every_time(cohort, tmp_path):
    """Two regions a slide, whichever slides lie beside; a new run replaces the old projector."""
    folder = RegionProjector(cohort, tmp_path / "maps", n_regions=6).run()
    first = rows_of(folder, "embedding")
    assert [row[0] for row in first[1:]] == ["a", "a", "b", "b"]
    assert not (folder / "00000" / "embedding" / "sprite.png").exists()
    (folder / "stale").touch()
    (cohort / "b.h5").unlink()
    again = RegionProjector(cohort, tmp_path / "maps", n_regions=4).run()
    assert rows_of(again, "embedding") == first[:3] and not (folder / "stale").exists()


def test_more_slides_than_points(cohort, tmp_path):
    """Then only some slides take part, a region each."""
    for name in "defg":
        shutil.copy(cohort / "a.h5", cohort / f"{name}.h5")
    (cohort / "c.h5").unlink()
    folder = RegionProjector(cohort, tmp_path / "maps", n_regions=3).run()
    assert len(rows_of(folder, "embedding")) == 4


def test_what_cannot_be_shown_is_said(cohort, tmp_path):
    """Embeddings of two encoders; more pictures than TensorBoard takes; nothing that can be read."""
    large = np.zeros((3000, 3000, 3), np.uint8)
    with pytest.raises(SettingError, match="projector_px"):
        RegionProjector(cohort, tmp_path, lambda *place: large, n_regions=100).run()
    slide = made_up_slide("b", 3, 2)
    shorter = {"features": slide.features[:, :7], "slide_embedding": slide.slide_embedding[:7]}
    write_embeddings(replace(slide, **shorter), cohort / "b.h5")
    with pytest.raises(BundleError, match="one region encoder"):
        RegionProjector(cohort, tmp_path, n_regions=100).run()
    with pytest.raises(BundleError, match="can be read"):
        RegionProjector(cohort / "c.h5", tmp_path).run()
