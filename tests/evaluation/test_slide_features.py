"""Features of patients: what each encoder says of each region, pooled over all slides of a patient, kept on disk."""

import itertools
import shutil

import numpy as np
import pytest
import torch
from cohorts import write_cohort
from region_models import write_encoder
from sklearn.cluster import KMeans

from bundle.core import BundleError
from bundle.evaluation import RegionEncoders, SlideFeatures
from bundle.evaluation.features import slide_features, tissue_tokens
from bundle.networks import (
    Encoder,
    ProjectionHead,
    RegionViT,
    load_region_encoder,
    untrained_encoder,
    write_pretraining,
)
from bundle.storage import TokenDataset

REGIONS = (3, 4, 1, 5, 2)
MEMBERS = [[0, 3], [2], [1, 4]]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return TokenDataset(write_cohort(tmp_path_factory.mktemp("tokens"), REGIONS), cache="none")


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {"A": write_encoder(folder / "a.pt", 1), "B": write_encoder(folder / "b.pt", 2)}


@pytest.fixture
def passes(monkeypatch):
    """Counts the regions that are read, in parts of four."""
    read = []
    known = slide_features._found
    monkeypatch.setattr(slide_features, "_PART", 4)
    monkeypatch.setattr(slide_features, "_found", lambda o, n: (read.append(len(o["slide"])), known(o, n))[1])
    return read


def features(dataset, paths, folder, **options):
    return SlideFeatures(dataset, RegionEncoders.load(paths, dataset.token_dim), folder, n_prototypes=2, **options)


def grids(dataset):
    return torch.stack([dataset[i]["features"] for i in range(len(dataset))]).float().permute(0, 3, 1, 2)


def test_every_encoder_says_what_it_says_alone(dataset, paths, tmp_path, passes):
    """One pass over the regions, in parts, gives each encoder's own embeddings, projections, and mean tissue tokens."""
    made = features(dataset, paths, tmp_path, batch_size=3)
    images = grids(dataset)
    for name, path in paths.items():
        encoder = load_region_encoder(path)
        with torch.inference_mode():
            np.testing.assert_allclose(made.regions(name).embedding, encoder(images), atol=1e-5)
            np.testing.assert_allclose(made.regions(name).projection, encoder.project(images), atol=1e-5)
    tissue = dataset.masks.bool()
    means = [image[:, mask].mean(1).numpy() for image, mask in zip(images, tissue, strict=True)]
    np.testing.assert_allclose(made.regions("tokens").embedding, means, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(made.regions("tokens").projection, axis=1), 1, atol=1e-5)
    assert sum(passes) == len(dataset), "tokens are read once for all encoders"


def test_patients_are_pooled_over_their_slides(dataset, paths, tmp_path):
    """Vectors are means over all regions of all slides; bags hold just these regions."""
    made = features(dataset, paths, tmp_path)
    regions, owner = made.regions("A").embedding, dataset.slide_index.numpy()
    bags = made.of_patients("A", "regions", MEMBERS)
    vectors = made.of_patients("A", "region_embedding", MEMBERS).values
    for row, slides in enumerate(MEMBERS):
        mine = regions[np.isin(owner, slides)]
        np.testing.assert_allclose(vectors[row], mine.mean(0), atol=1e-5)
        np.testing.assert_array_equal(bags.values[bags.owner == row], mine)
    np.testing.assert_array_equal(bags.sizes, [8, 1, 6])


def test_prototypes_are_the_best_clusters_of_a_patient_s_regions(dataset, paths, tmp_path):
    """Two normalized centroids (one of a single region) with the inertia that scikit-learn finds."""
    made = features(dataset, paths, tmp_path)
    sets = made.of_patients("A", "prototypes", MEMBERS)
    np.testing.assert_array_equal(sets.valid, [[True, True], [True, False], [True, True]])
    np.testing.assert_allclose(np.linalg.norm(sets.values, axis=2), sets.valid, atol=1e-5)
    for row in (0, 2):
        mine = made.regions("A").projection[np.isin(dataset.slide_index.numpy(), MEMBERS[row])]
        centers = KMeans(2, n_init=20, random_state=0).fit(mine).cluster_centers_
        cosines = sets.values[row] @ (centers / np.linalg.norm(centers, axis=1, keepdims=True)).T
        best = max(np.trace(cosines[:, list(order)]) for order in itertools.permutations(range(2)))
        assert best == pytest.approx(2, abs=1e-3)


def test_patch_tokens_are_those_of_tissue(dataset, paths, tmp_path, monkeypatch):
    """Tokens of a patient's slides where there is tissue and a token, in blocks of any size."""
    rng = np.random.default_rng(0)
    for name in ("masks", "present"):
        monkeypatch.setattr(dataset, name, torch.from_numpy(rng.random(dataset.masks.shape) < 0.3))
    dataset.masks[4] = False  # a region without tissue
    made = features(dataset, paths, tmp_path)
    assert "patch_tokens" in made.kinds("tokens") and "patch_tokens" not in made.kinds("A")
    monkeypatch.setattr(tissue_tokens, "_BLOCK", 3)
    bags = made.of_patients("tokens", "patch_tokens", MEMBERS)
    images, owner = grids(dataset), dataset.slide_index.numpy()
    kept = dataset.masks & dataset.present
    for row, slides in enumerate(MEMBERS):
        regions = np.concatenate([np.flatnonzero(owner == s) for s in slides])
        expected = np.concatenate([images[r][:, kept[r]].T for r in regions])
        np.testing.assert_array_equal(np.concatenate(list(bags.chunks(row, 1000))), expected)
        assert len(bags.sample(row, 7, 0, 0)) == 7 and {*map(bytes, bags.sample(row, 7, 0, 0))} <= {
            *map(bytes, expected)
        }
    assert not (tmp_path / "features").exists(), "nothing is embedded for them"


def test_an_untrained_encoder_is_as_training_begins(dataset, tmp_path):
    """The first encoder's sizes and masking, weights drawn as for a training by the seed; it has seen no slide."""
    path = write_encoder(tmp_path / "a.pt", 1, mask_missing=True)
    first, again, other = (RegionEncoders.load({"A": path}, 12, untrained="true", seed=s) for s in (0, 0, 1))
    assert first.names == ["A", "untrained"] and first.pretraining["untrained"] == []
    assert first.hashes == again.hashes and first.hashes["untrained"] != other.hashes["untrained"]
    trained, made = first.encoders
    assert made.mask_missing and not made.training
    assert {n: p.shape for n, p in made.named_parameters()} == {n: p.shape for n, p in trained.named_parameters()}
    with torch.inference_mode():
        for name, weight in made.named_parameters():
            if name.endswith("bias") or weight.dim() == 1:
                assert (weight == (1 if name.endswith("weight") else 0)).all(), name
            else:
                assert abs(weight.std() - 0.02) < 0.005, name
    vectors = SlideFeatures(dataset, first, tmp_path).regions("untrained").embedding
    assert np.isfinite(vectors).all() and vectors.shape == (len(dataset), 32)


def test_what_is_not_learned_is_taken_over():
    """Buffers of the trained encoder are those of the untrained one; the caller's random numbers go on."""
    trained = Encoder(RegionViT(in_dim=4, dim=8, depth=1, n_heads=1), ProjectionHead(8, 4, 2))
    trained.backbone.register_buffer("shift", torch.arange(4.0))
    before = torch.random.get_rng_state()
    made = untrained_encoder(trained)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert made.backbone.shift.tolist() == [0, 1, 2, 3]
    assert not torch.equal(made.backbone.phi[0].weight, trained.backbone.phi[0].weight)


def test_what_is_embedded_is_not_embedded_again(dataset, paths, tmp_path, passes):
    """A second run reads nothing; a lost or broken part is made anew; other weights embed for themselves."""
    before = features(dataset, paths, tmp_path).regions("B")
    passes.clear()
    again = features(dataset, paths, tmp_path)
    np.testing.assert_array_equal(again.regions("B").embedding, before.embedding)
    assert passes == []
    files = sorted((tmp_path / "features" / again._key("B")).iterdir())
    assert len(files) == 4
    files[1].unlink()
    files[3].write_bytes(files[3].read_bytes()[:-8])
    np.testing.assert_array_equal(features(dataset, paths, tmp_path).regions("B").embedding, before.embedding)
    assert passes == [4, 3]
    passes.clear()
    features(dataset, {"C": paths["A"], "D": write_encoder(tmp_path / "d.pt", 3)}, tmp_path).embed()
    assert sum(passes) == len(dataset), "D only: C has A's weights"


def test_other_tokens_are_embedded_anew(tmp_path):
    """The same slides with other tokens have another key, and so have bags that nobody has read."""
    found, prints = [], []
    for seed in (0, 9):
        shutil.rmtree(tmp_path / "tokens", ignore_errors=True)
        data = TokenDataset(write_cohort(tmp_path / "tokens", (2, 2), seed=seed), cache="none")
        made = features(data, {}, tmp_path)
        found.append(made.regions("tokens").embedding)
        bags = (made.of_patients("tokens", "patch_tokens", [[0], [1]]) for _ in range(2))
        first, again = ([array.tobytes() for array in each.arrays()] for each in bags)
        assert first == again
        prints.append(first)
    assert not np.allclose(*found) and prints[0] != prints[1]


@pytest.mark.parametrize(
    ("encoders", "message"),
    [
        ("models/model.pt", "a name and a file"),
        ({"A": None}, "a name and a file"),
        ({"A": "no/such/file.pt"}, "no/such/file.pt"),
        ({"tokens": "a.pt"}, "choose another name"),
    ],
)
def test_encoders_that_are_none_are_refused(encoders, message):
    """A bare path, no path, a missing file, the name that mean tokens have."""
    with pytest.raises(BundleError, match=message):
        RegionEncoders.load(encoders, 12)


@pytest.mark.parametrize("encoders", [{}, None, {"untrained": "a.pt"}])
def test_an_untrained_encoder_needs_another_to_be_like(tmp_path, encoders):
    """None is given, or one that has taken the name."""
    write_encoder(tmp_path / "a.pt")
    paths = encoders and {name: tmp_path / path for name, path in encoders.items()}
    with pytest.raises(BundleError, match="untrained is true, and encoders is"):
        RegionEncoders.load(paths, 12, untrained=True)


def test_an_encoder_of_other_tokens_is_refused(tmp_path):
    """Both lengths are named."""
    path = write_encoder(tmp_path / "other.pt", token_dim=20)
    with pytest.raises(BundleError, match="length 20, those of dataset_dir have 12"):
        RegionEncoders.load({"A": path}, 12)


def test_an_encoder_of_tokens_of_another_kind_is_refused(dataset, tmp_path):
    """Tokens of 0.5 um/px for weights of 2.0, as inference refuses them; a warning where that is asked for."""
    path = write_encoder(tmp_path / "coarse.pt")
    write_pretraining(path, [], {"mpp": 2.0, "region_patches": 16})
    with pytest.raises(BundleError, match="at 2 um/px, and dataset_dir has patches at 0.5"):
        RegionEncoders.load({"A": path}, 12, tokens=dataset.kind)
    assert RegionEncoders.load({"A": path}, 12, tokens=dataset.kind, allow_other_tokens="true").names == ["A"]


def test_weights_that_diverged_are_an_error(dataset, tmp_path):
    """An embedding that is not finite names the encoder."""
    path = write_encoder(tmp_path / "nan.pt")
    state = torch.load(path, weights_only=True)
    state["backbone.norm.weight"][0] = torch.nan
    torch.save(state, path)
    with pytest.raises(BundleError, match="encoder broken gives embeddings that are not finite"):
        features(dataset, {"broken": path}, tmp_path).embed()
