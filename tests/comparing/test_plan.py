"""How large and how long trainings become."""

import re

import pytest

from bundle.comparing.pieces import PieceRecord
from bundle.comparing.plan import Pace, Plan, Wish, choose_plan, kept_plan
from bundle.core import BundleError

SIZES = {"small": {"from_regions": 0}, "middle": {"from_regions": 500}, "paper": {"from_regions": 10_000}}
PACE = {"small": Pace(100.0, 400.0), "middle": Pace(20.0, 100.0), "paper": Pace(1.0, 4.0)}
MARGIN, EPOCH_S = 1.25, 1.5


def minutes(pace, n_regions, n_epochs, n_methods=2):
    """Slow reading: each epoch passes once through a step, and those with prototypes once through the teacher."""
    seconds = 0.0
    for _ in range(n_methods):
        for epoch in range(n_epochs):
            seconds += MARGIN * n_regions / pace.train + EPOCH_S
            if epoch >= round(0.4 * n_epochs):
                seconds += MARGIN * n_regions / pace.recluster
    return seconds / 60


def choose(n_regions, time_budget, size="auto", min_epochs=10, max_epochs=50):
    """A plan, and the sizes that were measured for it."""
    asked = []
    wish = Wish(time_budget, min_epochs, max_epochs, size, 2)
    plan = choose_plan(SIZES, n_regions, wish, lambda name: asked.append(name) or PACE[name])
    return plan, asked


@pytest.mark.parametrize(
    ("n_regions", "full", "size", "measured"),
    [
        (400, "small", "small", ["small"]),  # too few regions for more
        (600, "middle", "middle", ["middle"]),
        (600, "small", "small", ["middle", "small"]),  # not for all epochs
    ],
)
def test_the_largest_size_that_is_trained_in_full_is_taken(n_regions, full, size, measured):
    """Of those that are meant for so many regions; no more sizes are measured than needed."""
    budget = minutes(PACE[full], n_regions, 50) * 1.001
    plan, asked = choose(n_regions, budget)
    assert (plan.size, plan.max_epochs, asked) == (size, 50, measured)
    assert plan.minutes == pytest.approx(minutes(PACE[size], n_regions, 50))
    assert (plan.prototype_warmup_epochs, plan.lr_warmup_epochs) == (20, 5)


@pytest.mark.parametrize("n_epochs", [10, 23, 49])
def test_the_budget_says_how_many_epochs(n_epochs):
    """As many as it holds and not one more, up to max_epochs."""
    budget = minutes(PACE["small"], 400, n_epochs)
    assert choose(400, budget * 1.001)[0].max_epochs == n_epochs
    assert choose(400, budget * 10)[0].max_epochs == 50


def test_a_budget_below_the_least_is_refused():
    """Not one epoch, and fewer than min_epochs, with the minutes that would do."""
    with pytest.raises(BundleError, match=r"0.001 minutes, which holds not one epoch of 2 trainings of size small"):
        choose(400, 0.001)
    least = minutes(PACE["small"], 400, 10)
    with pytest.raises(BundleError, match=r"holds 9 epochs .* fewer than 10 \(min_epochs\)") as refused:
        choose(400, least * 0.999)
    said = float(re.search(r"--time_budget ([\d.]+),", str(refused.value))[1])
    assert least <= said <= 1.1 * least and choose(400, said)[0].max_epochs == 10


def test_a_size_may_be_named():
    """Whatever the number of regions; one that is not there is refused."""
    assert choose(400, 1e9, size="paper")[0].size == "paper"
    with pytest.raises(BundleError, match="size is 'huge'; give auto, small, middle, paper"):
        choose(400, 1e9, size="huge")


def test_a_plan_is_made_once(tmp_path):
    """A second call takes the first one's plan, and refuses other wishes by name."""
    first = Plan("small", 12, 5, 1, 400, 3.5)
    path = tmp_path / "plan.json"
    assert kept_plan(path, {"seed": 0, "sizes": SIZES}, lambda: first) == first
    assert kept_plan(path, {"seed": 0, "sizes": SIZES}, lambda: 1 / 0) == first
    with pytest.raises(BundleError, match="trained with other seed: give these as they were"):
        kept_plan(path, {"seed": 1, "sizes": SIZES}, lambda: 1 / 0)


@pytest.mark.parametrize(
    "text", ["", "[1]", '{"asked": {}}', '{"asked": {}, "plan": {"size": "small"}}', '{"plan": 1}']
)
def test_a_damaged_record_is_named(tmp_path, text):
    """What an earlier call wrote and can no longer be read: which file, and what to do; it ended in a traceback."""
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(BundleError, match="plan.json is damaged .* remove that folder, or give another output_dir"):
        kept_plan(path, {}, lambda: 1 / 0)
    if "asked" not in text:
        with pytest.raises(BundleError, match="plan.json is damaged .* known by their checkpoints"):
            PieceRecord(path)
