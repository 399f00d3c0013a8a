"""Imported features take the contract of the encoder that their files name; they never mix with another's."""

import logging

import pytest
import yaml
from imports import attempt
from tiny_slides import PATCH, READ, MeanColors, write_slide

from bundle.cohort import find_slides
from bundle.core import CONTRACT_ATTRIBUTES, BundleError, contract_difference
from bundle.networks import PatchTokenizer, named_contract, registry
from bundle.pipelines import PatchStream, SlidePipeline, TokenSink
from bundle.pipelines.importing import known_encoders
from bundle.storage import TokenDataset
from scripts.pins.foreign_features import (
    features,
    lattice,
    write_atlas,
    write_clam,
    write_slide2vec,
    write_stamp,
    write_trident,
)

XY = lattice(columns=16, rows=16, share=1.0)


def values(dim):
    """Features of all patches."""
    return features(len(XY), dim=dim)


def recorded(tmp_path, **settings):
    """What the one token file says."""
    failed, files = attempt(tmp_path, **settings)
    assert failed == {}
    return files["a"].header.attributes


@pytest.mark.parametrize(
    ("name", "model"), [("uni_v2", "uni2-h"), ("hoptimus0", "h-optimus-0"), ("gigapath", "prov-gigapath")]
)
def test_trident_prepares_pixels_as_contracts_say(tmp_path, name, model):
    """By the attribute in the file, or the name of its folder: the contract's fingerprint and what it stands for."""
    path = tmp_path / "in" / f"features_{name}" / "a.h5"
    write_trident(path, XY, values(1536), encoder=name if name == "uni_v2" else "")
    found = recorded(tmp_path)
    assert found["encoder"] == f"{name} (TRIDENT)" and found["encoder_model"] == model
    expected = named_contract(model).record(256)
    assert {key: found[key] for key in CONTRACT_ATTRIBUTES if key in found} == expected and "patch_mean" in expected


WRITERS = {
    "AtlasPatch": ("h-optimus-1", lambda root: write_atlas(root / "a.h5", XY, {"h_optimus_1": values(1536)})),
    "STAMP": ("uni2-h", lambda root: write_stamp(root / "a.h5", XY, values(1536), extractor="uni2")),
    "slide2vec": ("virchow2", lambda root: write_slide2vec(root, "a", XY, values(2560))),
    "slide2vec, class token": (None, lambda root: write_slide2vec(root, "a", XY, values(1280))),
    "TRIDENT, unknown scaling": ("phikon-v2", lambda root: write_trident(root / "a.h5", XY, values(1024), "phikon_v2")),
    "TRIDENT, 224 px": (
        "lunit-vits8",
        lambda root: write_trident(root / "a.h5", XY, values(384), "lunit-vits8", patch=224),
    ),
    "TRIDENT, own transform": ("conch", lambda root: write_trident(root / "a.h5", XY, values(512), "conch_v1")),
    "CLAM": ("kaiko-b16", lambda root: write_clam(root, "a", XY, values(768))),
}


@pytest.mark.parametrize("case", WRITERS)
def test_others_name_the_model(tmp_path, case):
    """Whoever prepares pixels in a way of his own, or in none that is known, has the model's name recorded alone."""
    model, write = WRITERS[case]
    write(tmp_path / "in")
    found = recorded(tmp_path, encoder="Kaiko_B16" if case == "CLAM" else None)
    assert found.get("encoder_model") == model and "encoder_contract" not in found


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda root: write_trident(root / "a.h5", XY, values(24), "uni_v1"), "D = 24 .* uni_v1, .*uni, with D = 1024"),
        (
            lambda root: write_stamp(root / "a.h5", XY, values(24), extractor="h-optimus-0"),
            "D = 24 .*h-optimus-0, .*1536",
        ),
        (
            lambda root: write_clam(root, "a", XY, values(24)),
            "D = 24 .*kaiko-b16, with D = 768.*another one .--encoder",
        ),
    ],
    ids=["TRIDENT", "STAMP", "CLAM"],
)
def test_another_length_than_the_contract_is_refused(tmp_path, write, said):
    """Features that are called after a model and have not its length: the error names both."""
    write(tmp_path / "in")
    with pytest.raises(BundleError, match=said):
        attempt(tmp_path, encoder="kaiko-b16" if (tmp_path / "in" / "patches").is_dir() else None)


def test_models_of_ones_own(tmp_path):
    """A file of one's own makes names known here as for tokenizing."""
    write_clam(tmp_path / "in", "a", XY, values(24))
    (tmp_path / "my.yaml").write_text(yaml.safe_dump({"mine": {"dim": 24, "mean": 0.5, "std": 0.5}}))
    assert recorded(tmp_path, encoder="mine", encoders_file=tmp_path / "my.yaml")["encoder_model"] == "mine"


def test_um_px_outside_the_training_is_told(tmp_path, caplog):
    """Patches at 2 um/px of an encoder that knows 0.5: features are taken, with a warning, and the range recorded."""
    write_trident(tmp_path / "in" / "a.h5", XY, values(1024), "uni_v1")
    with caplog.at_level(logging.WARNING):
        found = recorded(tmp_path, default_mpp=1.0)
    assert "uni was trained at 0.5 um/px and would see 2.29 (mpp 2, patches of 256 px scaled)" in caplog.text
    assert found["encoder_mpp"] == [0.5, 0.5] and found["read_mpp"] == 2.0


class Wide(MeanColors):
    """As wide as UNI, D = 1024."""

    def forward(self, image):
        return super().forward(image).repeat(1, 86)[:, :1024]


def test_imported_and_own_tokens_of_one_model_do_not_mix(tmp_path):
    """Both are UNI's by name, one by TRIDENT's file and one by weights that nobody can compare: refused, with both."""
    xy = lattice(pitch=PATCH, columns=8, rows=8)
    theirs = features(len(xy), dim=1024)
    write_trident(tmp_path / "in" / "a.h5", xy, theirs, "uni_v1", patch=PATCH, patch_level0=PATCH)
    attempt(tmp_path, default_mpp=2.0, region_patches=4)
    write_slide(tmp_path / "slides" / "b.tif", 160)
    network = PatchTokenizer(Wide(), 1024, name="uni", sha256="00", contract=named_contract("uni"))

    def tokenize(folder):
        stream = PatchStream(find_slides(tmp_path / "slides"), folder, batch_size=40, **READ)
        SlidePipeline("cpu", stream, network, TokenSink(), tmp_path / "out2").run()

    with pytest.raises(
        BundleError, match=r"a.h5 was made with encoder uni_v1 \(TRIDENT\), this run would use uni sha256"
    ):
        tokenize(tmp_path / "tokens")
    tokenize(tmp_path / "own")
    (tmp_path / "own" / "b.h5").rename(tmp_path / "tokens" / "b.h5")
    with pytest.raises(BundleError, match=r"encoder is uni_v1 \(TRIDENT\) in .*a.h5 and uni sha256:00 in .*b.h5"):
        TokenDataset(tmp_path / "tokens")


def test_imports_of_before_stand_beside_new_ones(tmp_path):
    """Imported files once recorded no contract, whatever the encoder: such a file says nothing against another."""
    new = {"source_dtype": "float32", **named_contract("h-optimus-0").record(256)}
    other = {"source_dtype": "float32", **named_contract("uni").record(256)}
    before = {"source_dtype": "float32", "patch_size_px": 256}
    assert contract_difference(before, new) is contract_difference(new, before) is None
    assert "patch_mean [0.707" in contract_difference(new, other)[0] and contract_difference({}, new) is not None


def test_every_name_leads_to_a_model():
    """All models in the lists of names are the registry's."""
    known = set(registry())
    assert {model for names in known_encoders._NAMES.values() for model in names.values()} <= known
    for layout, names in known_encoders._SEVERAL.items():
        assert set(names) <= set(known_encoders._NAMES[layout])
