"""Token files say how pixels were prepared; those of one encoder under two normalizations do not mix."""

from pathlib import Path

import pytest
from edited_files import edited
from encoder_files import own_file
from tiny_slides import PATCH, READ, MeanColors, write_slide

from bundle.cohort import TOKENIZED, find_slides
from bundle.core import CONTRACT_ATTRIBUTES, BundleError
from bundle.networks import EncoderContract, PatchTokenizer, contract_of, load_patch_encoder
from bundle.pipelines import PatchStream, SlidePipeline, TokenSink
from bundle.storage import Provenance, TokenDataset, read_token_header

OLD = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def tokenizing(folder, **prepared):
    """Tokens of the slides in ``folder`` by one encoder, whose pixels are ``prepared``."""
    network = PatchTokenizer(MeanColors(), 12, name="colors", sha256="00", **prepared)
    stream = PatchStream(find_slides(folder / "slides"), folder / "tokens", batch_size=40, **READ)
    SlidePipeline("cpu", stream, network, TokenSink(), folder / "out").run()
    return [record.status for record in TOKENIZED.read(folder / "out" / "slides.csv")]


@pytest.fixture
def folder(tmp_path):
    """Two slides."""
    for seed, name in enumerate("ab"):
        write_slide(tmp_path / "slides" / f"{name}.tif", 160, seed)
    return tmp_path


def make_older(folder: Path, name: str, keep=("normalization_mean", "normalization_std")):
    """A file as it was before contracts were recorded."""
    with edited(folder / "tokens" / f"{name}.h5") as file:
        for attribute in list(file.attrs):
            if attribute in CONTRACT_ATTRIBUTES or (attribute.startswith("normalization_") and attribute not in keep):
                del file.attrs[attribute]


def test_files_say_how_pixels_were_prepared(folder):
    """The fingerprint, and what it stands for in words."""
    assert tokenizing(folder, mean=(0.5,) * 3, std=(0.25,) * 3) == ["done", "done"]
    found = read_token_header(folder / "tokens" / "a.h5").attributes
    assert len(found["encoder_contract"]) == 16 and found["encoder_output"] == "class"
    assert (found["patch_mean"], found["patch_std"], found["patch_input_px"]) == ([0.5] * 3, [0.25] * 3, PATCH)


def test_one_encoder_under_two_normalizations_does_not_mix(folder):
    """They mixed without a word: now the run stops with both, and so does whoever reads such a folder."""
    tokenizing(folder, **OLD)
    assert tokenizing(folder, **OLD) == ["skipped", "skipped"]
    (folder / "tokens" / "b.h5").unlink()
    said = r"a.h5 was made with patch_mean \[0.485, .*patch_std .*, this run would use patch_mean \[0.5, 0.5, 0.5\]"
    with pytest.raises(BundleError, match=said):
        tokenizing(folder, mean=(0.5,) * 3, std=(0.5,) * 3)
    a = (folder / "tokens" / "a.h5").rename(folder / "a.h5")
    tokenizing(folder, mean=(0.5,) * 3, std=(0.5,) * 3)
    a.rename(folder / "tokens" / "a.h5")
    with pytest.raises(BundleError, match=r"patch_mean \[0.485, .* in .*a.h5 and with patch_mean \[0.5, .* in .*b.h5"):
        TokenDataset(folder / "tokens")


@pytest.mark.parametrize("keep", [("normalization_mean", "normalization_std"), ()])
def test_older_files_stand_beside_what_they_were(folder, keep):
    """A file without a contract was ImageNet's, or says its mean: it is kept by such a run, refused by another."""
    tokenizing(folder, **OLD)
    make_older(folder, "a", keep)
    (folder / "tokens" / "b.h5").unlink()
    assert tokenizing(folder, **OLD) == ["skipped", "done"]
    assert TokenDataset(folder / "tokens").slide_ids == ["a", "b"]
    with pytest.raises(BundleError, match=r"a.h5 was made with patch_mean \[0.485, .*would use patch_mean \[0.5"):
        tokenizing(folder, mean=(0.5,) * 3)


def test_embeddings_of_two_contracts_are_not_compared():
    """A search keeps to one way of preparing patches; where a file does not say, as those of before, it is taken."""
    known = {"region_encoder": "r", "encoder": "e", "mpp": 0.5}
    half = EncoderContract("x", mean=(0.5,) * 3, std=(0.5,) * 3).record(256)
    other = EncoderContract("x", mean=(0.5,) * 3, std=(0.25,) * 3).record(256)
    mine, others, before = (Provenance.of({**known, **contract}) for contract in (half, other, {}))
    assert mine.difference(others) == "patches prepared with patch_std [0.5, 0.5, 0.5] and patch_std [0.25, 0.25, 0.25]"
    assert mine.difference(before) == before.difference(mine) == mine.difference(Provenance(**mine._asdict())) == ""


def test_an_encoder_is_compared_before_it_is_made(folder):
    """Where it is made late, its contract is told from its file, and from what the user says."""
    path = own_file(folder / "encoder.pt", normalization={name: list(values) for name, values in OLD.items()})

    def run(**said):
        stream = PatchStream(find_slides(folder / "slides"), folder / "tokens", batch_size=40, **READ)
        sink = TokenSink(weights=path, contract=lambda: contract_of(path, PATCH, **said))
        made = SlidePipeline("cpu", stream, lambda: load_patch_encoder(path, PATCH, **said), sink, folder / "out")
        made.run()
        return sink.kind(stream)

    first = run()
    assert first == {**first, **contract_of(path).record(PATCH)} and run() == first
    with pytest.raises(BundleError, match=r"patch_std \[0.229, .*would use patch_std \[0.5"):
        run(std=0.5)
