"""The main job, whole: slides to patch encoder, tokens, region encoder, embeddings, by the README's commands."""

from pathlib import Path

import numpy as np
import pytest
import torch
from warm import ENVIRONMENT, run_python

from bundle.networks import contract_of, load_region_encoder
from bundle.storage import TokenDataset, read_embeddings, read_token_header
from scripts.bench.processes import bundle_command

ROOT = Path(__file__).parents[1]


def run(task, configs, **ids):
    """One command of the README, from the root."""
    command = bundle_command(task, [f"configs/{name}.yaml" for name in configs], **ids)
    done = run_python(command, cwd=ROOT, env=ENVIRONMENT)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


@pytest.mark.slow
def test_slides_become_a_region_encoder(demo_slides, tmp_path):
    """Each step leaves what the next one reads, contract included; the weights embed; tokenizing again skips all."""
    encoder, tokens, model = tmp_path / "patch_encoder.pt", tmp_path / "tokens", tmp_path / "model.pt"
    table, size = demo_slides / "slide_table.csv", {"mpp": 4.0, "patch_size": 32}
    run(
        "training",
        ["train_patch_encoder", "demo_patch_encoder"],
        dataset_dir=demo_slides,
        output_dir=tmp_path / "stage_one",
        model_path=encoder,
        slide_table=table,
        **size,
        patches_per_slide=8,
        batch_size=8,
        global_size=32,
        local_size=16,
        max_epochs=1,
        depth=1,
        embed_dim=24,
    )
    contract = contract_of(encoder, 32)
    assert (contract.name, contract.dim, contract.input_px, contract.mpp) == ("stage one", 24, 32, (4.0, 4.0))
    reading = {"dataset_dir": demo_slides, "tokens_dir": tokens, "output_dir": tmp_path / "tokenize", **size}
    said = run("tokenizing", ["tokenize"], patch_encoder_ckpt=encoder, **reading)
    assert "4 slides: 4 done" in said
    assert "4 slides: 4 skipped" in run("tokenizing", ["tokenize"], patch_encoder_ckpt=encoder, **reading)
    run(
        "training",
        ["train", "demo_train"],
        dataset_dir=tokens,
        output_dir=tmp_path / "slpd",
        model_path=model,
        slide_table=table,
        slides_dir=demo_slides,
        max_epochs=2,
        prototype_warmup_epochs=1,
        min_regions=2,
        batch_size=4,
    )
    data = TokenDataset(tokens, center_tokens="slide")  # as the demo has it
    recorded = [read_token_header(path).attributes["encoder_contract"] for path in tokens.glob("*.h5")]
    assert recorded == [contract.at(32).fingerprint] * 4
    assert len(data.slide_ids) == 4 and data.token_dim == 24
    features = torch.stack([data[i]["features"] for i in range(len(data))]).float().permute(0, 3, 1, 2)
    assert data.has_missing and load_region_encoder(model, takes_centered=True).mask_missing
    embeddings = load_region_encoder(model, takes_centered=True)(features, data.present)
    assert embeddings.shape == (len(data), 64) and bool(embeddings.isfinite().all())
    said = run(
        "inferring",
        ["inference"],
        dataset_dir=demo_slides,
        tokens_dir=tokens,
        output_dir=tmp_path / "inference",
        region_encoder_ckpt=model,
        patch_encoder_ckpt=encoder,
        **size,
    )
    assert "4 slides: 4 skipped" in said and "0 failed, 0 waiting, 4 done" in said and "was trained on" not in said
    rows = [read_embeddings(path) for path in sorted((tmp_path / "inference" / "embeddings").iterdir())]
    with torch.inference_mode():
        expected = load_region_encoder(model, takes_centered=True)(
            features[: len(rows[0])], data.present[: len(rows[0])]
        ).numpy()
    np.testing.assert_allclose(rows[0].features, expected, atol=1e-4)
    assert {"history.csv", "training.png", "prototypes.png", "last.pt"} <= {
        p.name for p in (tmp_path / "slpd").iterdir()
    }
