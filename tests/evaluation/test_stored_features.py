"""Evaluation of embedding files: the same metrics as from the tokens that they were made of."""

import numpy as np
import pytest
from cohorts import write_cohort
from inferences import inference
from region_models import write_encoder

from bundle.core import BundleError
from bundle.evaluation import RegionEncoders, SlideFeatures, StoredFeatures, evaluation_dataset, evaluation_features
from bundle.evaluation.features.stored_features import EmbeddingFiles
from bundle.networks import write_pretraining
from bundle.storage import TokenDataset, read_embeddings, write_embeddings

MEMBERS = [[0, 3], [2], [1]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four slides as token files and as embeddings, and the weights that made them."""
    root = tmp_path_factory.mktemp("cohort")
    write_encoder(root / "model.pt")
    write_pretraining(root / "model.pt", ["slide_1"])
    inference(write_cohort(root / "tokens"), root / "out", root / "model.pt").run()
    return root


def test_features_are_those_of_the_tokens(folder, tmp_path):
    """Vectors, bags and prototypes of patients equal what the encoder gives from token files."""
    network = RegionEncoders.load({"SLPD": folder / "model.pt"}, 12)
    expected = SlideFeatures(TokenDataset(folder / "tokens", cache="none"), network, tmp_path, 2)
    dataset = evaluation_dataset(folder / "out")
    features = evaluation_features(dataset, RegionEncoders({}, {}), tmp_path, 2, encoders={"SLPD": folder / "model.pt"})
    assert features.names == ["SLPD"] and features.pretraining == {"SLPD": ["slide_1"]}
    assert dataset.slide_ids == expected.slide_ids and dataset.encoder == "test"
    for kind in features.kinds("SLPD"):
        one, other = (made.of_patients("SLPD", kind, MEMBERS) for made in (features, expected))
        for a, b in zip(one.arrays(), other.arrays(), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)


def test_the_kind_of_a_folder_is_seen(folder):
    """Token files, the folder of a run, and its folder of embeddings are told from one another."""
    assert isinstance(evaluation_dataset(folder / "tokens"), TokenDataset)
    for place in (folder / "out", folder / "out" / "embeddings"):
        assert isinstance(evaluation_dataset(place), EmbeddingFiles)
    with pytest.raises(BundleError, match="does not exist"):
        evaluation_dataset(folder / "nothing")


def test_weights_that_are_not_at_hand_leave_their_name(folder):
    """Of other weights neither the name nor the slides of their training are taken."""
    other = write_encoder(folder / "other.pt", seed=5)
    features = StoredFeatures(EmbeddingFiles(folder / "out"), {"other": other, "lost": folder / "lost.pt"})
    assert features.names == ["model"] and features.pretraining == {"model": None}


def test_copies_have_the_same_fingerprint(folder, tmp_path):
    """A slide under two names is told from all others."""
    for name in ("slide_0", "slide_1"):
        write_embeddings(read_embeddings(folder / "out" / "embeddings" / f"{name}.h5"), tmp_path / f"{name}.h5")
    slide = read_embeddings(tmp_path / "slide_0.h5")
    write_embeddings(type(slide)(**{**vars(slide), "slide_id": "copy"}), tmp_path / "copy.h5")
    prints = StoredFeatures(EmbeddingFiles(tmp_path)).fingerprints()
    assert prints["copy"] == prints["slide_0"] and len(set(prints.values())) == 2


@pytest.mark.parametrize("trouble", ["encoder", "contract", "twice", "broken"])
def test_files_that_do_not_belong_together_are_refused(folder, tmp_path, trouble, caplog):
    """Another region encoder, patches prepared otherwise, a slide twice: both files are named. A broken one is left out
    with a warning."""
    slide = read_embeddings(folder / "out" / "embeddings" / "slide_0.h5")
    write_embeddings(slide, tmp_path / "slide_0.h5")
    if trouble == "broken":
        (tmp_path / "z.h5").write_bytes((tmp_path / "slide_0.h5").read_bytes()[:900])
        assert EmbeddingFiles(tmp_path).slide_ids == ["slide_0"] and "z.h5" in caplog.text
        return
    change = {"attributes": {**slide.attributes, "region_encoder": "x sha256:1"}, "slide_id": "b"}
    contract = {"encoder_contract": "9", "patch_mean": [0.5] * 3, "patch_std": [0.5] * 3}
    changes = {"encoder": change, "contract": {"attributes": {**slide.attributes, **contract}, "slide_id": "b"}}
    write_embeddings(type(slide)(**{**vars(slide), **changes.get(trouble, {})}), tmp_path / "z.h5")
    said = {"encoder": "region_encoder is .* and x", "contract": r"patch_mean \[0.485.* patch_mean \[0.5"}
    with pytest.raises(BundleError, match=said.get(trouble, "two files")):
        EmbeddingFiles(tmp_path)
