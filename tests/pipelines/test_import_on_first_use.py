"""Another tool's features given to training, evaluating and inferring as they are: imported on first use, told so."""

import json
import threading
import time

import h5py
import pytest
from cohorts import write_cohort
from imports import VALUES, XY, good
from inferences import found, inference
from region_models import read_table, write_encoder, write_table
from workflows import refused, workflow

from bundle.core import BundleError
from bundle.core.lock import writer_lock
from bundle.pipelines import FeatureImporter, token_files_of
from bundle.pipelines.importing.import_table import read_records
from bundle.storage import TokenDataset, token_width
from scripts.pins.foreign_features import DIM, MPP, features, lattice, write_plain, write_trident

TINY = {"embed_dim": 24, "depth": 1, "n_heads": 3, "out_dim": 32, "hidden_dim": 16, "bottleneck_dim": 8, "n_local": 2}
SHORT = {"batch_size": 8, "max_epochs": 1, "prototype_warmup_epochs": 0, "n_prototypes": 2}


@pytest.fixture(scope="module")
def trident(tmp_path_factory):
    """Eight slides of TRIDENT's layout below ``in``, and a table with their um/px and two labels."""
    root = tmp_path_factory.mktemp("trident")
    for i in range(8):
        xy = lattice(i, columns=24, rows=20)
        write_trident(root / "in" / "features_theirs_v1" / f"s{i}.h5", xy, features(len(xy), i))
    write_table(root / "table.csv", [{"slide": f"s{i}", "mpp": MPP, "label": "ab"[i % 2]} for i in range(8)])
    write_encoder(root / "model.pt", token_dim=DIM)
    return root


def started(name, kind, trident, output, **ids):
    """A config on the features as they are."""
    paths = {"dataset_dir": trident / "in", "slide_table": trident / "table.csv", "output_dir": output}
    return workflow(name, kind=kind, **{**paths, "tokens_dir": output / "tokens", "device": "cpu", **ids})


def statuses(output):
    """What the last import said of each slide."""
    return {record.slide: record.status for record in read_records(output / "tokens" / "import" / "slides.csv")}


def stamps(output):
    """When each token file was made."""
    return {path.name: path.stat().st_mtime_ns for path in (output / "tokens").glob("*.h5")}


def test_training_starts_from_features(trident, tmp_path, caplog):
    """The network is as wide as the features from the first start on; the second start goes on and imports nothing."""
    caplog.set_level("INFO")
    ids = {**TINY, **SHORT, "model_path": str(tmp_path / "model.pt")}
    made = started("train.yaml", "train", trident, tmp_path, **ids)
    assert made.network_def.backbone.in_dim == DIM and made.check_properties() == []
    assert f"holds features of another tool (TRIDENT), which become token files in {tmp_path / 'tokens'}" in caplog.text
    made.run()
    assert (tmp_path / "model.pt").is_file() and set(statuses(tmp_path).values()) == {"done"}
    before = stamps(tmp_path)
    started("train.yaml", "train", trident, tmp_path, **ids, resume=True).run()
    assert set(statuses(tmp_path).values()) == {"skipped"} and stamps(tmp_path) == before and len(before) == 8


def test_evaluating_takes_features(trident, tmp_path):
    """Twice: the second start imports nothing, and the figures are those of the token files named themselves."""
    short = {"protocols": ["knn"], "n_folds": 2, "train_fractions": [1.0], "k_neighbors": 1}
    ids = {**short, "encoders": {"SLPD": str(trident / "model.pt")}}
    found = []
    for name in ("a", "a", "b"):
        given = {"dataset_dir": str(tmp_path / "a" / "tokens")} if name == "b" else {}
        started("evaluate.yaml", "infer", trident, tmp_path / name, **ids, **given).run()
        results = json.loads((tmp_path / name / "results.json").read_text())["results"]
        found.append([(r["encoder"], r["features"], r["summary"]) for r in results])
    assert found[0] == found[1] == found[2] and len(found[0]) == 4
    assert set(statuses(tmp_path / "a").values()) == {"skipped"} and not (tmp_path / "b" / "tokens").exists()


def test_inferring_takes_features(trident, tmp_path):
    """Twice: nothing is imported or embedded again, though the outputs lie among the features."""
    (tmp_path / "in").mkdir()
    for path in (trident / "in" / "features_theirs_v1").glob("s[0-2].h5"):
        (tmp_path / "in" / path.name).symlink_to(path)
    out = tmp_path / "in" / "out"
    ids = {"region_encoder_ckpt": str(trident / "model.pt"), "dataset_dir": str(tmp_path / "in")}
    for status in ("done", "skipped"):
        started("inference.yaml", "infer", trident, out, **ids).run()
        rows = read_table(out / "slides.csv")
        assert [row["status"] for row in rows] == [status] * 3 == list(statuses(out).values())
        assert [row["label"] for row in rows] == ["a", "b", "a"]


def test_every_command_finds_what_another_has_imported(trident, tmp_path):
    """Without a tokens_dir a folder of features has one place below bundle_root; another folder has another."""
    good(tmp_path / "other", "a")
    root = {"bundle_root": str(tmp_path), "tokens_dir": None}
    short = {"protocols": ["knn"], "n_folds": 2, "train_fractions": [1.0], "k_neighbors": 1}
    started("evaluate.yaml", "infer", trident, tmp_path / "a", **root, **short, encoders={}).run()
    (place,) = (tmp_path / "imported_tokens").iterdir()
    before = {path: path.stat().st_mtime_ns for path in place.glob("*.h5")}
    weights = str(trident / "model.pt")
    started("inference.yaml", "infer", trident, tmp_path / "b", **root, region_encoder_ckpt=weights).run()
    assert before == {path: path.stat().st_mtime_ns for path in place.glob("*.h5")} and len(before) == 8
    other = token_files_of(tmp_path / "other" / "in", bundle_root=tmp_path, default_mpp=MPP)
    assert place.name.startswith("in-") and other.name.startswith("in-") and other != place
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b", "other", "imported_tokens"}


def test_what_files_do_not_say_is_asked_for(tmp_path):
    """The importer's own words, and the config that takes what this one does not; from a run as from the function."""
    good(tmp_path, "a", "b")
    made = "does not say level 0's um/px.*configs/import.yaml.*docs/importing.md"
    with pytest.raises(BundleError, match=f"none of 2 slides.*{made}"):
        token_files_of(tmp_path / "in", tmp_path / "tokens")
    training = started("train.yaml", "train", tmp_path, tmp_path / "out", **TINY, slide_table=None)
    assert "does not say level 0's um/px" in refused(training.run)
    write_trident(tmp_path / "in" / "features_b" / "c.h5", XY, VALUES)
    write_trident(tmp_path / "in" / "features_c" / "c.h5", XY, VALUES)
    with pytest.raises(BundleError, match="features of several encoders: b, c.*configs/import.yaml"):
        token_files_of(tmp_path / "in", tmp_path / "tokens")


def test_a_slide_that_fails_is_left_out(tmp_path, caplog):
    """One line says how many and which table says why; what is read has the others."""
    good(tmp_path, "a", "b")
    (tmp_path / "in" / "c.h5").write_bytes((tmp_path / "in" / "b.h5").read_bytes()[:3000])
    assert token_files_of(tmp_path / "in", tmp_path / "tokens", default_mpp=MPP) == tmp_path / "tokens"
    assert f"1 of 3 slides are left out; why stands in {tmp_path / 'tokens' / 'import' / 'slides.csv'}" in caplog.text
    assert {path.stem for path in (tmp_path / "tokens").glob("*.h5")} == {"a", "b"}


def test_slides_of_another_import_are_not_read_along(tmp_path):
    """One output folder for two cohorts: the second would have been evaluated together with the first."""
    good(tmp_path, "a")
    token_files_of(tmp_path / "in", tmp_path / "tokens", default_mpp=MPP)
    good(tmp_path / "other", "b")
    with pytest.raises(BundleError, match="tokens has token files of 1 slides whose features are not in .*a.h5"):
        token_files_of(tmp_path / "other" / "in", tmp_path / "tokens", default_mpp=MPP)


def test_what_is_no_foreign_folder_is_left_as_it_is(tmp_path, monkeypatch):
    """Token files, embeddings, slides, nothing, what nobody knows: named as before, and one file is enough to tell."""
    write_cohort(tmp_path / "own")
    inference(tmp_path / "own", tmp_path / "inferred").run()
    good(tmp_path / "own", "a")  # a stray file among token files
    good(tmp_path / "slides", "a")
    (tmp_path / "slides" / "in" / "b.svs").touch()
    write_plain(tmp_path / "unknown" / "a.h5", XY, VALUES[:, 0])
    opened = []
    whole = h5py.File
    monkeypatch.setattr(h5py, "File", lambda path, *args, **kw: opened.append(path) or whole(path, *args, **kw))
    for name in ("own", "inferred", "inferred/embeddings", "own/slide_0.h5"):
        opened.clear()
        assert token_files_of(str(tmp_path / name), tmp_path / "out" / "tokens") == str(tmp_path / name)
        assert len(opened) <= 2
    for given in (tmp_path / "none", tmp_path / "unknown", [tmp_path / "own" / "slide_0.h5"]):
        assert token_files_of(given, tmp_path / "out" / "tokens") is given
    slides = tmp_path / "slides" / "in"
    assert token_files_of(slides, tmp_path / "out" / "tokens", takes_slides=True) is slides
    assert not (tmp_path / "out").exists()


def test_of_several_processes_one_imports(tmp_path, monkeypatch, caplog):
    """The others wait until it is done and take its files; where it fails, they find out for themselves."""
    caplog.set_level("INFO")
    good(tmp_path, "a", "b")
    ran, run = [], FeatureImporter.run
    monkeypatch.setattr(FeatureImporter, "run", lambda self: (ran.append(self), run(self)))
    found = []

    def start(**settings):
        try:
            found.append(token_files_of(tmp_path / "in", tmp_path / "tokens", **settings))
        except BundleError as error:
            found.append(str(error))

    for settings, n_runs in (({}, 3), ({"default_mpp": MPP}, 1)):
        for noted in (ran, found, caplog.records):
            noted.clear()
        threads = [threading.Thread(target=start, kwargs=settings) for _ in range(3)]
        with writer_lock(tmp_path / "tokens", "test", "tokens_dir"):
            for thread in threads:
                thread.start()
            deadline = time.monotonic() + 20
            while sum("waited for" in r.getMessage() for r in caplog.records) < 3 and time.monotonic() < deadline:
                time.sleep(0.01)
            assert all(thread.is_alive() for thread in threads) and not ran
        for thread in threads:
            thread.join()
        assert len(found) == 3 and len(set(map(str, found))) == 1
        assert len(ran) == n_runs
    assert found[0] == tmp_path / "tokens"


@pytest.mark.parametrize("dim", [192, 4608])
def test_tokens_of_any_width(tmp_path, dim):
    """From another tool's features to embeddings, of the narrowest and the widest encoders there are."""
    xy = lattice(columns=16, rows=16)
    write_trident(tmp_path / "in" / "s.h5", xy, features(len(xy), dim=dim))
    tokens = token_files_of(tmp_path / "in", tmp_path / "tokens", default_mpp=MPP)
    dataset = TokenDataset(tokens)
    assert dataset.token_dim == token_width(tokens, 0) == dim and dataset.has_missing
    inference(tokens, tmp_path / "out", write_encoder(tmp_path / "m.pt", token_dim=dim, mask_missing=True)).run()
    assert found(tmp_path / "out", "s").features.shape == (1, 32)
