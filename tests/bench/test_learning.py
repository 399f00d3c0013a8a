"""The learning benchmark: its cohorts, its forks, its probes and its statistics."""

import json

import numpy as np
import pytest
import tifffile
import torch
from cohorts import write_cohort
from scipy import stats
from scipy.optimize import linear_sum_assignment

from bundle.core import BundleError
from bundle.pipelines import FeatureImporter
from bundle.storage import TokenFile
from scripts.bench.learning import planted_trident
from scripts.bench.learning.__main__ import main
from scripts.bench.learning.banks import GlobalBank, MeanVectorBank
from scripts.bench.learning.cohorts import Size, make_cohort, plant
from scripts.bench.learning.demo_runs import (
    aucs_of,
    differences_table,
    learning_table,
    rivals_without_encoder,
    seeds_table,
)
from scripts.bench.learning.methods import ABLATIONS, PLAIN, REGIONAL, SETTINGS, SHIFTED, SHIFTED_ABLATIONS, Method
from scripts.bench.learning.probes import outline, probe
from scripts.bench.learning.results import Results
from scripts.bench.learning.training import parse, train

TINY = {**SETTINGS, "max_epochs": 3, "prototype_warmup_epochs": 1, "lr_warmup_epochs": 1, "batch_size": 16}
DINO = PLAIN[0]


@pytest.fixture(scope="module")
def cohort():
    """Eight slides of four to six regions."""
    return make_cohort("medium", 7, Size(8, (4, 6)))


def test_levels_are_what_they_say():
    """The truth tells the classes apart at each level; the mean token does when shares differ, and not otherwise."""
    for level, low, high in (("easy", 0.85, 1.0), ("medium", 0.3, 0.7), ("hard", 0.3, 0.7)):
        scores = [make_cohort(level, seed, Size(60, (10, 14))) for seed in (1, 2)]
        assert np.mean([probe(data.oracle(), data)["knn_accuracy"] for data in scores]) > 0.9
        assert low <= np.mean([probe(data.mean_tokens(), data)["knn_accuracy"] for data in scores]) <= high


def test_features_of_a_cohort_are_its_tokens_again(tmp_path):
    """Written as TRIDENT would and imported by regions of 8, they are what was planted; two slides a patient."""
    words = ["--level", "region28", "--seed", "4", "--slides", "4", "--regions", "9", "11", "--patients", "2"]
    planted_trident.main(["--output", str(tmp_path), *words])
    features = tmp_path / "features_planted"
    FeatureImporter(features, tmp_path / "tokens", tmp_path / "out", default_mpp=0.25, region_patches=8).run()
    for slide in plant("region28", 4, 4, (9, 11)).slides:
        found = TokenFile(tmp_path / "tokens" / f"{slide.slide_id}.h5")
        np.testing.assert_array_equal(found.coords, 8 * 512 // 4096 * slide.coords)
        np.testing.assert_array_equal(found.mask, slide.mask)
        np.testing.assert_array_equal(found.read(), slide.features)
    rows = [line.split(",")[1:3] for line in (tmp_path / "slides.csv").read_text().splitlines()[1:]]
    assert rows == [["patient_000", "coarse"], ["patient_001", "fine"]] * 2


def test_held_out_slides_are_others_of_the_same_kind():
    """More slides held out leave those that are trained on as they are; none held out: scores are taken on these."""
    few, many = (make_cohort("hard", 5, Size(6, (3, 4), n_held_out)) for n_held_out in (0, 10))
    assert few.held_out is few
    assert torch.equal(few.features, many.features) and few.slide_ids == many.slide_ids
    assert not set(many.held_out.slide_ids) & set(many.slide_ids) and len(many.held_out.slide_ids) == 10
    assert many.held_out.labels.tolist() == [0, 1] * 5


def test_probes_find_what_is_there_and_no_more():
    """Embeddings that say one thing score 1 for that thing, and near guessing for what they do not say."""
    data = make_cohort("hard", 3, Size(40, (8, 12)))
    slides = data.slide_index.numpy()
    noise = 0.1 * np.random.default_rng(0).normal(size=(len(data), 40)).astype(np.float32)
    by_slide = probe(np.eye(40, dtype=np.float32)[slides] + noise, data)
    by_class = probe(np.eye(40, dtype=np.float32)[data.labels[slides]] + noise, data)
    by_site = probe(np.eye(40, dtype=np.float32)[data.sites[slides]] + noise, data)
    assert by_slide["slide"] > 0.95 and by_class["slide"] < 0.15
    assert by_class["knn_accuracy"] == by_class["linear"] == 1.0
    assert abs(by_slide["linear"] - 0.5) < 0.3 and abs(by_site["linear"] - 0.5) < 0.3
    assert by_site["site"] > 0.95 and by_class["site"] < 0.5
    assert probe(data.oracle(), data)["prototype"] == 1.0 and by_site["prototype"] < 0.5


def test_the_outline_is_read_where_it_can_be():
    """An embedding that holds share and center gives 1, noise nothing; of slides that were not fitted on."""
    rng = np.random.default_rng(0)
    corner = rng.integers(0, 5, (200, 2)), rng.integers(2, 5, (200, 2))
    masks = np.zeros((200, 8, 8), bool)
    for mask, start, side in zip(masks, *corner, strict=True):
        mask[start[0] : start[0] + side[0], start[1] : start[1] + side[1]] = True
    masks[:3] = False  # nothing to read
    slides = np.arange(200) // 10
    rows, columns, share = (
        (masks * np.arange(8)[:, None]).sum((1, 2)),
        (masks * np.arange(8)).sum((1, 2)),
        masks.sum((1, 2)),
    )
    known = np.stack([share, rows / np.maximum(share, 1), columns / np.maximum(share, 1)], 1)
    turned = (known @ rng.normal(size=(3, 20)) + 0.05 * rng.normal(size=(200, 20))).astype(np.float32)
    found = outline(turned, masks, slides)
    assert found["tissue_share"] > 0.98 and found["tissue_center"] > 0.98
    only_share = outline((known[:, :1] + np.zeros((1, 4))).astype(np.float32), masks, slides)
    assert only_share["tissue_share"] > 0.99 and only_share["tissue_center"] < 0.3
    noise = outline(rng.normal(size=(200, 20)).astype(np.float32), masks, slides)
    assert max(noise.values()) < 0.1
    by_slide = np.eye(20, dtype=np.float32)[slides]  # whose slide it is says nothing of slides that are left out
    assert max(outline(by_slide, masks, slides).values()) < 0.1
    assert np.isnan(outline(turned, np.ones((200, 8, 8), bool), slides)["tissue_share"])


def test_levels_with_a_shift_of_regions_are_medium_otherwise():
    """Same masks and truth; means of regions are further apart by the length of the shift."""
    plain, shifted = (make_cohort(level, 4, Size(6, (4, 5), 0)) for level in ("medium", "region85"))
    assert torch.equal(plain.masks, shifted.masks) and np.array_equal(plain.prototypes, shifted.prototypes)
    moved = np.linalg.norm(shifted.mean_tokens() - plain.mean_tokens(), axis=1)
    np.testing.assert_allclose(moved, 0.85, atol=2e-3)


def test_methods_fork_from_one_warm_up(cohort, tmp_path):
    """A fork without prototypes ends as its parent does, bit for bit; with both at weight 0 to rounding; else not."""
    dino = train(DINO, cohort, 0, tmp_path, TINY)
    again = train(Method("again", DINO.ids, "DINO"), cohort, 0, tmp_path, TINY)
    same = train(Method("weightless", {"intra_weight": 0.0, "inter_weight": 0.0}, "DINO"), cohort, 0, tmp_path, TINY)
    slpd = train(Method("SLPD", {}, "DINO"), cohort, 0, tmp_path, TINY)
    assert again["last"] == dino["last"] and again["scores"] == dino["scores"]
    assert same["last"]["self"] == pytest.approx(dino["last"]["self"], rel=1e-6)
    assert same["last"]["intra"] > 0 and dino["last"]["intra"] == 0
    assert slpd["last"]["self"] != pytest.approx(dino["last"]["self"], rel=1e-5)


@pytest.mark.parametrize(
    "method", [*SHIFTED[3:], *REGIONAL, *ABLATIONS, *SHIFTED_ABLATIONS[-4:]], ids=lambda method: method.name
)
def test_every_method_can_be_built(method, cohort, tmp_path):
    """Its ids are the config's, and the bank is the one that it names."""
    parser = parse(cohort, tmp_path, {**TINY, **method.ids}, method.bank)
    bank = parser.get_parsed_content("prototypes")
    assert type(bank).__name__ == (method.bank or "PrototypeBank").rpartition(".")[2]
    views = parser.get_parsed_content("train#preprocessing").view_maker
    assert (views.shift is None) == (method.ids.get("token_shift", "none") == "none")


def test_a_method_with_an_unknown_id_is_refused(cohort, tmp_path):
    """MONAI would take it without a word."""
    with pytest.raises(BundleError, match="no id n_prototipes"):
        parse(cohort, tmp_path, {"n_prototipes": 3})


def unit(*shape):
    return torch.nn.functional.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(4)), dim=-1)


def test_mean_vectors_choose_and_assignment_pairs():
    """Neighbors are those of the largest cosine of mean prototypes, partners those of scipy's assignment."""
    slide_index = torch.arange(6).repeat_interleave(5)
    bank = MeanVectorBank(3, 2)
    bank.fit(unit(30, 8), slide_index, 6)
    bank.match()
    means = bank.vectors.double().sum(1)
    for slide in range(6):
        cosines = [float(torch.cosine_similarity(means[slide], means[other], dim=0)) for other in range(6)]
        cosines[slide] = -2
        assert bank.neighbors.index[slide].tolist() == np.argsort(cosines)[::-1][:2].tolist()
        for rank, other in enumerate(bank.neighbors.index[slide]):
            _, columns = linear_sum_assignment(bank.vectors[slide] @ bank.vectors[other].T, maximize=True)
            assert bank.neighbors.partner[slide, rank].tolist() == columns.tolist()
    targets = bank.targets(torch.tensor([0, 17]), "cpu")
    assert targets.vectors.shape == (3, 2, 8) and bool(targets.valid.all())


def test_one_set_of_prototypes_for_all_slides():
    """Regions of different slides share prototypes: there are K in all, and each region gets its own cluster's."""
    centers = unit(3, 8)
    kind = torch.arange(30) % 3
    bank = GlobalBank(3, 0)
    bank.fit(torch.nn.functional.normalize(centers[kind] + 0.01 * unit(30, 8), dim=1), torch.arange(30) // 5, 6)
    bank.match()
    targets = bank.targets(torch.arange(30), "cpu")
    assert bank.vectors.shape == (1, 3, 8) and targets.valid.shape == (1, 30)
    assert float(torch.cosine_similarity(targets.vectors[0], centers[kind], dim=1).min()) > 0.99


def test_intervals_are_those_of_the_paired_t_test(tmp_path):
    """Mean and half width of a difference are scipy's; seeds that only one of the two has do not count."""
    results = Results(tmp_path, {})
    rng = np.random.default_rng(0)
    a, b = rng.random(5), rng.random(6)
    for method, values in (("a", a), ("b", b)):
        for seed, value in enumerate(values):
            results.once("easy", seed, method, lambda value=value: {"scores": {"linear": value}})
    got = results.difference("easy", "a", "b", "linear")
    wanted = stats.ttest_rel(a, b[:5]).confidence_interval(0.95)
    assert got.n_seeds == 5 and got.mean == pytest.approx(np.mean(a - b[:5]))
    assert (got.mean - got.half, got.mean + got.half) == pytest.approx(tuple(wanted))


def test_the_learning_table_has_mean_and_spread():
    """Baselines from epoch 0, results from the last epoch."""
    start = {"loo_knn_accuracy": 0.5, "loo_knn_auc": 0.5}
    start |= {f"mean_token_{name}": value for name, value in (("loo_knn_accuracy", 0.6), ("loo_knn_auc", 0.7))}
    runs = {"SLPD": [[start, {"loo_knn_accuracy": a, "loo_knn_auc": a}] for a in (0.8, 0.9)]}
    table = learning_table(runs)
    assert "| mean patch token, centered | 0.600 ± 0.000 | 0.700 ± 0.000 |" in table
    assert "| untrained region encoder | 0.500 ± 0.000 | 0.500 ± 0.000 |" in table
    assert "| SLPD | 0.850 ± 0.071 | 0.850 ± 0.071 |" in table


def test_demo_runs_are_paired_over_seeds():
    """A row an embedding, a column a seed; differences of the same seed, with the t interval of their mean."""

    def history(mean_token, untrained, trained):
        return [{"loo_knn_auc": untrained, "mean_token_loo_knn_auc": mean_token}, {"loo_knn_auc": trained}]

    runs = {
        "DINO alone": {1: history(0.5, 0.4, 0.7), 2: history(0.6, 0.5, 0.9)},
        "SLPD": {1: history(0.5, 0.4, 0.8), 2: history(0.6, 0.5, 0.7)},
    }
    aucs = aucs_of(runs, {1: {"mean color": 0.3}, 2: {"mean color": 0.4}})
    for row in ("mean color | 0.300 | 0.400", "mean patch token, centered | 0.500 | 0.600", "SLPD | 0.800 | 0.700"):
        assert f"| {row} |" in seeds_table(aucs)
    gains = differences_table(aucs)
    interval = stats.ttest_1samp([0.4, 0.2], 0)
    half = (interval.confidence_interval().high - interval.confidence_interval().low) / 2
    assert f"| SLPD − untrained region encoder | +0.300 ± {half:.3f} | {interval.statistic:.1f} | 2 of 2 |" in gains
    assert "| SLPD − DINO alone | -0.050 ±" in gains and "| 1 of 2 |" in gains


def test_rivals_without_an_encoder(tmp_path):
    """The mean token of what tells the classes, the mean color of tissue that does; glass does not count."""
    write_cohort(tmp_path / "tokens", regions=(2,) * 12)
    slides = tmp_path / "slides"
    slides.mkdir()
    (tmp_path / "tokens" / "slide_table.csv").rename(slides / "slide_table.csv")
    for by_class in (False, True):
        for i in range(12):
            picture = np.full((256, 256, 3), 240, dtype=np.uint8)
            picture[: 20 + 10 * (i // 2)] = (180 + 20 * (i % 2) if by_class else 180 + i // 2, 90, 150)
            tifffile.imwrite(slides / f"slide_{i}.tif", picture, photometric="rgb")
        aucs = rivals_without_encoder(tmp_path)
        assert aucs["mean patch token"] == 1.0 and (aucs["mean color"] == 1.0 if by_class else aucs["mean color"] < 0.6)


def test_a_quick_run_goes_on_where_it_stopped(tmp_path, capsys):
    """Tables, plot and a file a run; a second call repeats only the run that is missing, and to the same numbers."""
    assert main(["--quick", "--output", str(tmp_path)]) == 0
    text = (tmp_path / "results.md").read_text()
    for method in (*PLAIN, *SHIFTED):
        assert f"| {method.name} |" in text
    assert "| SLPD − DINO |" in text
    assert all((tmp_path / f"{name}.png").stat().st_size > 10000 for name in ("learning", "pairs"))
    files = {path: path.stat().st_mtime_ns for path in tmp_path.glob("medium/seed_0/*.json")}
    assert len(files) == len(PLAIN) + len(SHIFTED) + 3
    path = tmp_path / "medium" / "seed_0" / "SLPD_token_shift.json"
    first = json.loads(path.read_text())
    path.unlink()
    assert main(["--quick", "--output", str(tmp_path)]) == 0
    again = json.loads(path.read_text())
    assert again["scores"] == first["scores"] and again["last"] == first["last"]
    assert all(other.stat().st_mtime_ns == time for other, time in files.items() if other != path)
    assert (tmp_path / "results.md").read_text() == text
    capsys.readouterr()


def test_runs_with_other_settings_do_not_mix(tmp_path, capsys):
    """A folder of one kind of runs refuses another kind, in one line."""
    Results(tmp_path, {"max_epochs": 1})
    assert main(["--quick", "--output", str(tmp_path)]) == 1
    assert "runs with other settings" in capsys.readouterr().err
