"""Training and tokenizing on a GPU, as users start them. Skipped, saying so, where there is no GPU."""

from pathlib import Path

import pytest
import torch
from cohorts import write_cohort
from ignite.engine import Events
from warm import run_python

from bundle.core import read_history
from bundle.networks import Distiller, Encoder, LastLayer, ProjectionHead, RegionViT, frozen_copy, read_weights
from bundle.prototypes import PrototypeBank, PrototypeTargets
from bundle.storage import TokenDataset
from bundle.training import (
    EpochRecordHandler,
    FreezeHandler,
    GradientClipHandler,
    RandTokenCropsd,
    RandTokenShiftd,
    ScheduleHandler,
    SLPDLoss,
    SlpdTrainer,
    TeacherUpdateHandler,
    make_optimizer,
)
from scripts.bench.processes import bundle_command

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: nothing was tried on CUDA")
ROOT = Path(__file__).parents[2]
TINY = {
    "embed_dim": 32,
    "depth": 2,
    "n_heads": 1,
    "out_dim": 256,
    "hidden_dim": 32,
    "bottleneck_dim": 16,
    "batch_size": 6,
    "max_epochs": 4,
    "lr": 0.01,
    "lr_warmup_epochs": 1,
    "prototype_warmup_epochs": 1,
    "n_prototypes": 2,
    "checkpoint_interval": 1,
}


def run(config, folder, **ids):
    """A run through MONAI's command line; its standard error."""
    call = bundle_command("run", [f"configs/{config}"], bundle_root=ROOT, output_dir=folder, **ids)
    done = run_python(call, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    """Twelve slides with 1 to 5 regions each."""
    return write_cohort(tmp_path_factory.mktemp("tokens"), regions=(3, 4, 1, 5, 4, 4, 3, 5, 4, 2, 4, 4))


def losses(folder):
    """The loss of each epoch."""
    rows = read_history(folder / "history.csv")
    return torch.tensor([row["loss"] for row in rows if "loss" in row], dtype=torch.float64)


def test_a_run_is_that_of_the_cpu_and_goes_on_where_it_was_cut(tokens, tmp_path):
    """In float32 each epoch's loss is the CPU's to 1e-3; a resumed run ends with the losses of an unbroken one."""
    table = {"dataset_dir": tokens, "slide_table": tokens / "slide_table.csv", "amp": False, **TINY, "max_epochs": 3}
    for name, device in (("gpu", "cuda"), ("cpu", "cpu")):
        run("train.yaml", tmp_path / name, device=device, model_path=tmp_path / f"{name}.pt", **table)
    torch.testing.assert_close(losses(tmp_path / "gpu"), losses(tmp_path / "cpu"), rtol=1e-3, atol=0)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "last.pt").write_bytes((tmp_path / "gpu" / "epoch_0002.pt").read_bytes())
    run("train.yaml", broken, device="cuda", model_path=tmp_path / "broken.pt", resume=True, **table)
    torch.testing.assert_close(losses(broken)[-1:], losses(tmp_path / "gpu")[-1:], rtol=1e-4, atol=0)
    assert not any(value.is_cuda for value in read_weights(tmp_path / "gpu.pt").values())


@pytest.mark.parametrize("cache", ["device", "memory", "none"])
def test_bf16_and_every_cache_train(tokens, tmp_path, cache):
    """The defaults of a GPU (bfloat16), wherever tokens are kept, with token shift, give finite losses."""
    run(
        "train.yaml",
        tmp_path,
        dataset_dir=tokens,
        model_path=tmp_path / "m.pt",
        cache=cache,
        token_shift="swap",
        **{**TINY, "max_epochs": 2},
    )
    assert len(losses(tmp_path)) == 2 and bool(losses(tmp_path).isfinite().all())


def test_worker_processes_feed_the_gpu(tokens, tmp_path):
    """Two readers and no cache: the same losses as without readers."""
    same = {"dataset_dir": tokens, "amp": False, **TINY, "max_epochs": 2}
    run("train.yaml", tmp_path / "a", model_path=tmp_path / "a.pt", num_workers=2, cache="none", **same)
    run("train.yaml", tmp_path / "b", model_path=tmp_path / "b.pt", num_workers=0, cache="none", **same)
    torch.testing.assert_close(losses(tmp_path / "a"), losses(tmp_path / "b"), rtol=1e-4, atol=0)


def test_torch_compile_trains(tokens, tmp_path):
    """``compile: true`` gives about the losses of the same run without."""
    same = {"dataset_dir": tokens, "amp": False, **TINY, "max_epochs": 2}
    run("train.yaml", tmp_path / "a", model_path=tmp_path / "a.pt", compile=True, **same)
    run("train.yaml", tmp_path / "b", model_path=tmp_path / "b.pt", **same)
    torch.testing.assert_close(losses(tmp_path / "a"), losses(tmp_path / "b"), rtol=2e-3, atol=0)


@pytest.mark.parametrize("kind", ["own", "torchscript"])
def test_slides_are_tokenized_on_the_gpu(demo_slides, tmp_path, kind):
    """Tokens in bfloat16 have a cosine of 0.999 and more with the CPU's in float32."""
    from bundle.networks import PatchViT

    torch.manual_seed(0)
    encoder = PatchViT(64, 16, 32, 2, 1).eval()
    if kind == "own":
        colors = {"mean": [0.5] * 3, "std": [0.5] * 3}
        contents = {"teacher": encoder.state_dict(), "architecture": encoder.architecture, "normalization": colors}
        torch.save(contents, tmp_path / "encoder.pt")
    else:
        torch.jit.trace(encoder, torch.zeros(2, 3, 64, 64)).save(tmp_path / "encoder.pt")
    found = []
    for device in ("cuda", "cpu"):
        ids = {"dataset_dir": demo_slides, "tokens_dir": tmp_path / device, "mpp": 4.0, "patch_size": 64}
        ids |= {} if kind == "own" else {"patch_mean": 0.5, "patch_std": 0.5}
        run("tokenize.yaml", tmp_path / "log", device=device, patch_encoder_ckpt=tmp_path / "encoder.pt", **ids)
        dataset = TokenDataset(tmp_path / device, cache="none")
        found.append(dataset.read(torch.arange(len(dataset)).numpy())[torch.as_tensor(dataset.masks)].float())
    assert found[0].shape == found[1].shape
    assert float(torch.nn.functional.cosine_similarity(*found, dim=1).min()) > 0.999


def make_trainer(tokens, n_steps, token_shift="none", **options):
    """A trainer of some steps with prototypes and the handlers of every step; its bank."""
    dataset = TokenDataset(tokens, cache="device", device="cuda")
    torch.manual_seed(0)
    student = Distiller(Encoder(RegionViT(12, 32, 2, 1), ProjectionHead(32, 32, 16)), LastLayer(16, 256)).cuda()
    teacher = frozen_copy(student)
    bank = PrototypeBank(2)
    features = torch.nn.functional.normalize(torch.randn(len(dataset), 16), dim=1).cuda()
    bank.fit(features, dataset.slide_index, len(dataset.slide_ids))
    bank.match()
    starts = [7 * i % (len(dataset) - 6) for i in range(n_steps)]
    optimizer = make_optimizer(student)
    trainer = SlpdTrainer(
        device="cuda",
        max_epochs=1,
        train_data_loader=[dataset.__getitems__(list(range(start, start + 6))).stacked for start in starts],
        network=student,
        teacher=teacher,
        optimizer=optimizer,
        loss_function=SLPDLoss(256),
        view_maker=RandTokenShiftd(RandTokenCropsd(), dataset, token_shift),
        prototypes=bank,
        train_handlers=[
            ScheduleHandler("lr", 0.01, 0.0, warmup_epochs=1, optimizer=optimizer),
            ScheduleHandler("weight_decay", 0.04, 0.4, optimizer=optimizer, decayed_only=True),
            ScheduleHandler("teacher_momentum", 0.99, 1.0),
            ScheduleHandler("teacher_temperature", 0.06, 0.04),
            FreezeHandler(student.last_layer, 0),
            GradientClipHandler(student),
            TeacherUpdateHandler(student, teacher),
            EpochRecordHandler(),
        ],
        **options,
    )
    return trainer, bank


def test_a_step_is_one_graph(tokens):
    """From the fourth step on ``cuda_graph`` launches a graph, which goes the way of the steps as they are."""
    found = {}
    for graphed in (False, True):
        trainer, _ = make_trainer(tokens, 6, cuda_graph=graphed)
        steps = found[graphed] = []
        trainer.add_event_handler(Events.ITERATION_COMPLETED, noted, steps)
        trainer.run()
    assert trainer._graph._graph is not None
    torch.testing.assert_close(torch.stack(found[True]), torch.stack(found[False]), rtol=1e-4, atol=0)


def noted(engine, steps):
    """Keep the loss, which the next step overwrites."""
    steps.append(engine.state.output["loss"].clone())


@pytest.mark.parametrize(("token_shift", "cuda_graph"), [("none", False), ("covariance", False), ("none", True)])
def test_a_step_never_makes_the_host_wait(tokens, token_shift, cuda_graph):
    """After the first steps, no operation of an iteration synchronizes: torch raises at the first that does."""
    trainer, bank = make_trainer(tokens, 6, token_shift, amp=True, cuda_graph=cuda_graph)
    step, mode = trainer._iteration, torch.cuda.get_sync_debug_mode()

    def strict(engine, batch):
        torch.cuda.set_sync_debug_mode("error" if engine.state.iteration in (3, 5, 6) else "default")
        try:
            return step(engine, batch)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    trainer._process_function = strict
    try:
        trainer.run()
    finally:
        torch.cuda.set_sync_debug_mode(mode)
    assert trainer.state.iteration == 6
    assert isinstance(bank.targets(torch.zeros(1, dtype=torch.long, device="cuda"), "cuda"), PrototypeTargets)
