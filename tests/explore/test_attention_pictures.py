"""Attention over a training: the same slides, the same scale, in TensorBoard."""

import numpy as np
import pytest
import torch
from cohorts import write_cohort
from engines import make_engine
from torch import nn

from bundle.explore import AttentionPictures
from bundle.networks import RegionViT
from bundle.storage import TokenDataset
from bundle.training import TensorBoardHandler


class LooksAt(nn.Module):
    """Gives all attention of two heads to one token, in training mode as in evaluation."""

    def __init__(self, row, column):
        super().__init__()
        self.row, self.column = row, column
        self.modes = []

    def attention(self, image, mask):
        """[B, D, P, P] -> [B, 2, P, P]."""
        self.modes.append(self.training)
        weights = torch.zeros(len(image), 2, *image.shape[2:])
        weights[:, :, self.row, self.column] = 1
        return weights


@pytest.fixture
def dataset(tmp_path):
    """Three slides of 2, 3 and 2 regions."""
    return TokenDataset(write_cohort(tmp_path / "tokens", (2, 3, 2)))


def test_what_is_looked_at_is_bright(dataset):
    """On paper, one token of each region is at the scale's top, the other tokens with tissue at its bottom."""
    network = LooksAt(2, 5)
    network.train()
    drawn = AttentionPictures(network, dataset, n_slides=2)()
    assert list(drawn) == [f"attention/{name}" for name in dataset.slide_ids[:2]]
    assert network.training and network.modes == [False, False]
    for slide, picture in enumerate(drawn.values()):
        rows = np.flatnonzero(dataset.slide_index.numpy() == slide)
        lit = sum(bool(dataset.masks[row][2, 5]) for row in rows)
        colors, counts = np.unique(picture.reshape(-1, 3), axis=0, return_counts=True)
        bright = counts[(colors[:, 0] > 200) & (colors[:, 2] < 190)].sum()
        dark = counts[colors.max(1) < 60].sum()
        held = int(dataset.masks[rows].sum())
        assert bright / max(dark, 1) == pytest.approx(lit / (held - lit), rel=0.25)


def test_a_real_backbone_and_few_regions(dataset):
    """At most as many regions as asked for are looked at; the picture has one width."""
    network = RegionViT(in_dim=dataset.token_dim, dim=24, depth=2, n_heads=3)
    seen = []
    attention = network.attention
    network.attention = lambda image, mask: seen.append(len(image)) or attention(image, mask)
    drawn = AttentionPictures(network, dataset, n_slides=9, n_regions=2)()
    assert len(drawn) == 3 and seen == [2, 2, 2]
    assert all(picture.shape[1] == 512 and picture.dtype == np.uint8 for picture in drawn.values())


def test_tensorboard_shows_them_over_epochs(dataset, tmp_path):
    """Every due epoch and the last one leave a picture a slide, at their steps."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = TensorBoardHandler(
        tmp_path / "log", maps=AttentionPictures(LooksAt(0, 0), dataset, n_slides=1), pictures_every=2
    )
    engine = make_engine(lambda engine, batch: {"loss": 0.0}, [board])
    engine.state.record = {}
    engine.run([0, 1], max_epochs=5)
    events = EventAccumulator(str(tmp_path / "log")).Reload()
    assert [event.step for event in events.Images(f"attention/{dataset.slide_ids[0]}")] == [4, 8, 10]
