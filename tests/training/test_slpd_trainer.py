"""The training engine by itself; whole runs are in ``tests/test_runs.py``."""

import pytest
import torch

from bundle.networks import Distiller, Encoder, LastLayer, ProjectionHead, RegionViT, frozen_copy
from bundle.training import SLPDLoss, SlpdTrainer, make_optimizer


class _Seen(Exception):
    """Stops an iteration once its views are asked for."""


def test_keys_of_random_numbers_stay_on_the_host():
    """What a view maker reads is on the device, but region ids: hashing them there once took 224 launches a step.
    Prototypes are looked up by ids on the host, too, for the device."""
    seen = {}

    class Prototypes:
        is_fitted = True

        def targets(self, region_ids, device):
            seen["ids"], seen["wanted"] = region_ids.device.type, torch.device(device).type

    def view_maker(batch):
        seen.update(batch)
        raise _Seen

    student = Distiller(Encoder(RegionViT(8, 12, 1, 3), ProjectionHead(12, 16, 6)), LastLayer(6, 20)).to("meta")
    trainer = SlpdTrainer(
        device=torch.device("meta"),
        max_epochs=1,
        train_data_loader=[{"features": torch.zeros(2, 16, 16, 8), "region_id": torch.arange(2)}],
        network=student,
        teacher=frozen_copy(student),
        optimizer=make_optimizer(student),
        loss_function=SLPDLoss(20),
        view_maker=view_maker,
        prototypes=Prototypes(),
    )
    trainer.logger.disabled = True
    with pytest.raises(_Seen):
        trainer.run()
    assert seen["features"].device.type == "meta" and seen["region_id"].device.type == "cpu"
    assert seen["epoch"] == 1 and (seen["ids"], seen["wanted"]) == ("cpu", "meta")
