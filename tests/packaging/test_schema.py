"""A package's metadata is compared with MONAI's schema, always and offline."""

import json
from pathlib import Path

import pytest

from bundle.core import BundleError
from scripts.zoo.verification import verify_metadata_of

METADATA = json.loads((Path(__file__).parents[2] / "configs" / "metadata.json").read_text())


@pytest.fixture
def folder(tmp_path):
    """A function that makes a package of nothing but metadata, changed as it is told."""

    def make(**changes):
        (tmp_path / "configs").mkdir()
        (tmp_path / "configs" / "metadata.json").write_text(json.dumps(METADATA | changes))
        return tmp_path

    return make


@pytest.fixture
def no_download(monkeypatch):
    """A download fails the test."""

    def refuse(*_, **__):
        raise AssertionError("the schema is not to be downloaded")

    monkeypatch.setattr("monai.apps.utils.urlretrieve", refuse)
    monkeypatch.setattr("monai.apps.utils._download_with_progress", refuse)


def test_without_an_option_the_repositorys_copy_is_taken(folder, no_download):
    """A checkout alone once skipped this check, for want of a file that lay outside of it."""
    assert verify_metadata_of(folder()) == METADATA["schema"].rsplit("/", 1)[1]


def test_metadata_that_breaks_the_schema_fails(folder, no_download):
    """A version list that is no list of names."""
    with pytest.raises(Exception, match="not of type 'object'"):
        verify_metadata_of(folder(required_packages_version=["h5py"]))


def test_another_version_of_the_schema_must_be_given(folder, no_download, tmp_path):
    """Metadata that names a newer one: an error with the way out; with the file it is compared with that."""
    made = folder(schema="https://example.org/meta_schema_20991231.json")
    with pytest.raises(BundleError, match=r"no copy .*meta_schema_20991231.json.*--schema FILE"):
        verify_metadata_of(made)
    (tmp_path / "meta_schema_20991231.json").write_text(json.dumps({"required": ["a_new_field"]}))
    with pytest.raises(Exception, match="a_new_field"):
        verify_metadata_of(made, tmp_path / "meta_schema_20991231.json")
