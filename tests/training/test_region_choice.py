"""Regions with little tissue: left out of steps and clusters, and of nothing else."""

from types import SimpleNamespace

import pytest
import torch
from cohorts import write_cohort
from edited_files import edited
from tiny_training import tiny_run

from bundle.core import BundleError, SettingError, read_history
from bundle.training import trained_regions


def test_the_share_is_of_all_patches():
    """Just enough is enough; 0 asks for nothing; what no region has, and what is no share, are errors."""
    masks = torch.zeros(4, 2, 2, dtype=torch.bool)
    for region in range(4):
        masks[region].view(-1)[:region] = True
    dataset = SimpleNamespace(masks=masks)
    assert trained_regions(dataset, 0.5).tolist() == [2, 3] and trained_regions(dataset, "0.25").tolist() == [1, 2, 3]
    assert trained_regions(None, 0) is None
    with pytest.raises(BundleError, match="the fullest has 0.750"):
        trained_regions(dataset, 0.8)
    with pytest.raises(SettingError, match="min_region_tissue"):
        trained_regions(dataset, 1.5)


def test_a_run_with_all_options(tmp_path, monkeypatch):
    """Of 17 regions two have a fifth of their tissue: 15 are drawn and clustered, 17 embedded; views have no gaps."""
    monkeypatch.setattr("bundle.training.handlers.history.plot_training", lambda rows, path: None)
    tokens = write_cohort(tmp_path / "tokens", regions=(5, 4, 4, 4))
    for name in ("slide_1", "slide_2"):
        with edited(tokens / f"{name}.h5") as file:
            for column in ("mask", "present"):
                if column in file:
                    file[column][1, 4:] = False
    options = {"fill_missing": "tissue", "token_shift": "both", "min_region_tissue": 0.3}
    run = tiny_run(tokens, tmp_path / "out", batch_size=4, max_epochs=2, **options)
    trainer = run.parser.get_parsed_content("train#trainer")
    seen, make = [], trainer.view_maker
    trainer.view_maker = lambda batch: seen.append(make(batch)) or seen[-1]
    trainer.run()
    drawn = torch.cat([batch["region_id"] for batch in seen])
    assert len(seen) == 6 and not set(drawn.tolist()) & {6, 10}
    assert all("masks" not in batch for batch in seen)
    assert all(bool((view != 0).any(2).all()) for batch in seen for view in batch["views"])
    bank = trainer.prototypes
    assert (bank.assignment < 0).nonzero()[:, 0].tolist() == [6, 10]
    assert trainer.teacher.encoder.mask_missing, "where regions are embedded, gaps are left out"
    rows = read_history(tmp_path / "out" / "history.csv")
    assert 0 <= rows[-1]["instance_accuracy"] <= 1 and -1 <= rows[-1]["other_similarity"] <= 1
