"""Training that a viewer starts: real requests to a real MONAI Label server."""

import json
import time

import pytest
import yaml
from label_server import READING, ROOT, LabelServer, link_app, write_models
from tiny_slides import write_slide

pytestmark = [pytest.mark.label, pytest.mark.slow]


def wait_for_training(server):
    """Label's record of the task once it is over, and the states and epochs that progress has shown."""
    shown = []
    for _ in range(600):
        task = server.get("/train/")
        stats = server.get("/info/")["train_stats"]["slpd"]
        if stats and (stats["state"], stats["epoch"]) not in shown:
            shown.append((stats["state"], stats["epoch"]))
        if task["status"] not in ("SUBMITTED", "RUNNING"):
            return task, shown
        time.sleep(0.2)
    raise AssertionError(f"training did not end: {server.get('/train/')}")


def embedding(server):
    status, text = server.infer("region_embedding", "a", location=[0, 0], size=[0, 0])
    assert status == 200, text
    return json.loads(text)["annotations"][0]["embedding"]


def test_a_model_trained_from_label_is_served(tmp_path):
    """POST /train pre-trains on the slides without a label, says how far it is, and the new model answers."""
    for seed, name in enumerate(("a", "b", "c")):
        write_slide(tmp_path / "studies" / f"{name}.tif", 600, seed=seed)
    sizes = {"embed_dim": 16, "depth": 1, "n_heads": 1, "out_dim": 32, "hidden_dim": 16, "bottleneck_dim": 8}
    run = {"n_local": 1, "batch_size": 8, "prototype_warmup_epochs": 1}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump({**sizes, **run}))
    configs = f"{ROOT / 'configs' / 'train.yaml'},{tmp_path / 'small.yaml'}"
    models = write_models(tmp_path / "models")
    given = (tmp_path / "models" / "model.pt").read_bytes()
    conf = {**models, **READING, "work_dir": str(tmp_path / "work"), "train_configs": configs}
    server = LabelServer(link_app(tmp_path / "app"), tmp_path / "studies", conf)
    try:
        assert len(embedding(server)) == 32
        status, text = server.post("/train/slpd", {"max_epochs": 2, "train_batch_size": 1})
        assert status == 200, text
        task, shown = wait_for_training(server)
        assert task["status"] == "DONE", "\n".join(task["details"])
        assert {"tokenizing", "training"} <= {state for state, _ in shown} and shown[-1] == ("done", 2)
        assert len(embedding(server)) == 16, "the new encoder has 16 values"
        assert (tmp_path / "models" / "model.pt").read_bytes() == given, "the given weights are kept"
    finally:
        server.stop()
