"""Embeddings that an app makes when they are first asked for."""

import os

import numpy as np
import pytest
from label_server import READING, ROOT, write_models
from region_models import write_encoder
from tiny_slides import write_slide

from bundle.core import BundleError
from bundle.serving import slide_service
from bundle.serving.label_settings import LabelSettings
from bundle.serving.slide_service import SlideService, own_targets
from bundle.serving.studies import LinkedStudies


@pytest.fixture
def settings(tmp_path):
    write_slide(tmp_path / "a.tif", 320)
    return LabelSettings.read(ROOT, tmp_path, {**write_models(tmp_path / "models"), **READING})


def ask(service, path):
    """A slide whose file name is its own."""
    return service.embeddings(path, path.stem)


def test_a_slide_is_embedded_once(settings, tmp_path):
    """The second question takes the same record; a server that starts anew takes it from disk, to the bit."""
    service = SlideService(settings)
    first = ask(service, tmp_path / "a.tif")
    assert ask(service, tmp_path / "a.tif") is first and len(first) > 1
    file = settings.work_dir / "inference" / "embeddings" / "a.h5"
    written = file.stat().st_mtime_ns
    again = ask(SlideService(settings), tmp_path / "a.tif")
    np.testing.assert_array_equal(again.features, first.features)
    assert file.stat().st_mtime_ns == written


def test_slides_of_one_file_name_have_files_of_their_own(settings, tmp_path):
    """Two slides in two folders of the studies shared one token file and one answer; `$` in a name is a letter."""
    for seed, folder in enumerate(("one", "two")):
        write_slide(tmp_path / "studies" / folder / "$x.tif", 320, seed=seed)
    LinkedStudies(tmp_path / "studies", tmp_path / "links").refresh()
    paths = {link.stem: link.resolve() for link in (tmp_path / "links").iterdir()}  # Label follows links
    assert sorted(paths) == ["one__$x", "two__$x"]
    for service in (SlideService(settings), SlideService(settings)):
        found = {name: service.embeddings(path, name) for name, path in paths.items()}
        assert {name: slide.slide_id for name, slide in found.items()} == {name: name for name in paths}
        assert not np.allclose(*(slide.slide_embedding for slide in found.values()))
    assert sorted(path.stem for path in settings.tokens_dir.glob("*.h5")) == sorted(paths)
    with pytest.raises(BundleError, match=r"^slide \$y: \$y\.tif cannot be opened"):
        (tmp_path / "$y.tif").write_bytes(b"no slide")
        ask(SlideService(settings), tmp_path / "$y.tif")


def test_new_weights_need_no_new_tokens(settings, tmp_path):
    """A model trained from the app is used from then on; tokens stay as they are."""
    service = SlideService(settings)
    before = ask(service, tmp_path / "a.tif")
    tokens = settings.tokens_dir / "a.h5"
    stamp = tokens.stat().st_mtime_ns
    settings.trained_region_encoder.parent.mkdir(parents=True)
    write_encoder(settings.trained_region_encoder, seed=1)
    after = ask(service, tmp_path / "a.tif")
    assert not np.allclose(before.features, after.features) and tokens.stat().st_mtime_ns == stamp


def test_a_bad_slide_is_told_in_its_own_words(settings, tmp_path):
    """The error is the slide's, by name; a file that is gone is named, too; good slides go on."""
    (tmp_path / "bad.tif").write_bytes(b"no slide")
    service = SlideService(settings)
    with pytest.raises(BundleError, match=r"^slide bad: bad\.tif cannot be opened"):
        ask(service, tmp_path / "bad.tif")
    with pytest.raises(BundleError, match="gone.tif cannot be read"):
        ask(service, tmp_path / "gone.tif")
    assert len(ask(service, tmp_path / "a.tif")) > 1


def test_weights_that_do_not_fit_are_an_error(settings, tmp_path):
    """Not the slide's fault: the message names the lengths of tokens."""
    write_encoder(tmp_path / "models" / "model.pt", token_dim=7)
    with pytest.raises(BundleError, match="tokens of length 7"):
        ask(SlideService(settings), tmp_path / "a.tif")


def test_few_slides_are_kept_in_memory(settings, tmp_path, monkeypatch):
    """The one that was asked about longest ago goes first."""
    monkeypatch.setattr(slide_service, "_KEPT_SLIDES", 2)
    monkeypatch.setattr(SlideService, "_embed", lambda *_: object())
    service = SlideService(settings)
    for name in ("b", "c"):
        os.link(tmp_path / "a.tif", tmp_path / f"{name}.tif")
    first = {name: ask(service, tmp_path / f"{name}.tif") for name in "abc"}
    assert ask(service, tmp_path / "c.tif") is first["c"]
    assert ask(service, tmp_path / "b.tif") is first["b"]
    assert ask(service, tmp_path / "a.tif") is not first["a"]


def test_targets_are_those_of_this_package():
    """`_target_` entries of `bundle` follow the name that the package was imported under, nothing else changes."""
    config = {"a": [{"_target_": "bundle.training.X", "b": "bundle.y"}], "c": {"_target_": "torch.nn.Linear"}}
    wanted = {"a": [{"_target_": f"{slide_service._PACKAGE}.training.X", "b": "bundle.y"}], "c": config["c"]}
    assert own_targets(config) == wanted
