"""What a viewer starts in the background: batch inference, training. Real requests to a real MONAI Label server."""

import json
import time

import pytest
import yaml
from label_server import READING, ROOT, LabelServer, link_app, write_models
from tiny_slides import write_slide

pytestmark = [pytest.mark.label, pytest.mark.slow]


PATIENCE_S = 400  # each of these starts Python processes, which take their time on a busy machine


def wait_for(server, path):
    """Label's record of a task in the background once it is over, and the states that training has shown."""
    shown = []
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        task = server.get(path)
        stats = server.get("/info/")["train_stats"]["slpd"]
        if stats and (stats["state"], stats["epoch"]) not in shown:
            shown.append((stats["state"], stats["epoch"]))
        if task["status"] not in ("SUBMITTED", "RUNNING"):
            return task, shown
        time.sleep(0.2)
    raise AssertionError(f"it did not end: {server.get(path)}")


def embedding(server):
    status, text = server.infer("region_embedding", "a", location=[0, 0], size=[0, 0])
    assert status == 200, text
    return json.loads(text)["annotations"][0]["embedding"]


def test_slides_are_prepared_and_a_model_trained_from_label_is_served(tmp_path):
    """Batch inference embeds all slides without a GPU; POST /train pre-trains on them, says how far it is, and the new
    model answers."""
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
        status, text = server.post("/batch/infer/prototype_map?images=all", {})
        assert status == 200, text
        task, _ = wait_for(server, "/batch/infer")
        assert task["status"] == "DONE", "\n".join(task["details"])
        embedded = tmp_path / "work" / "inference" / "embeddings"
        assert sorted(path.stem for path in embedded.glob("*.h5")) == ["a", "b", "c"]
        assert len(embedding(server)) == 32
        status, text = server.post("/train/slpd", {"max_epochs": 2, "train_batch_size": 1})
        assert status == 200, text
        task, shown = wait_for(server, "/train/")
        assert task["status"] == "DONE", "\n".join(task["details"])
        assert {"tokenizing", "training"} <= {state for state, _ in shown} and shown[-1] == ("done", 2)
        assert len(embedding(server)) == 16, "the new encoder has 16 values"
        assert server.get("/model/info/slpd")["train_stats"]["state"] == "done"
        assert (tmp_path / "models" / "model.pt").read_bytes() == given, "the given weights are kept"
    finally:
        server.stop()
