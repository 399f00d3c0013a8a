"""A real run of the trainer on a handful of regions, with all handlers of the recipe and what notes each step."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from ignite.engine import Events
from monai.engines.utils import IterationEvents
from reference_training import SlowBank
from torch.utils.data import DataLoader

from bundle.networks import Distiller, Encoder, LastLayer, ProjectionHead, RegionViT, frozen_copy
from bundle.prototypes import PrototypeBank
from bundle.storage import RegionBatchSampler
from bundle.training import (
    CrossSlideHandler,
    FreezeHandler,
    GradientClipHandler,
    RandTokenCropsd,
    ReclusterHandler,
    RegionFeatures,
    ScheduleHandler,
    SLPDLoss,
    SlpdTrainer,
    TeacherUpdateHandler,
    make_optimizer,
)
from bundle.training.handlers.turn import Turn

N_REGIONS = [8, 3, 2, 1, 4, 5]  # with prototypes from 3 regions on: slide 1 just so, slides 2 and 3 not
COPIED = (4, 2)  # slide 4 has but two different regions, so two prototypes
BATCH_SIZE, SIDE, DIM = 11, 9, 5


def cohort(seed):
    """Token grids (N, SIDE, SIDE, DIM) in float64, each around a mean of its own, and the slide of each."""
    slides = [slide for slide, n in enumerate(N_REGIONS) for _ in range(n)]
    draws = torch.Generator().manual_seed(seed)
    means = torch.randn(len(slides), 1, 1, DIM, generator=draws, dtype=torch.float64)
    tokens = 2 * means + torch.randn(len(slides), SIDE, SIDE, DIM, generator=draws, dtype=torch.float64)
    slide, n_different = COPIED
    own = [i for i, other in enumerate(slides) if other == slide]
    for place, region in enumerate(own):
        tokens[region] = tokens[own[place % n_different]]
    return tokens, slides


def make_networks(recipe):
    """Student and teacher; no parameter is 0, so that decay of any of them shows."""
    torch.manual_seed(recipe.seed)
    backbone = RegionViT(
        DIM, dim=8, depth=3, n_heads=recipe.n_heads, mlp_ratio=2, n_positions=6, drop_path=recipe.drop_path
    )
    student = Distiller(Encoder(backbone, ProjectionHead(8, 10, 14)), LastLayer(14, 20)).double()
    with torch.no_grad():
        for parameter in student.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.4)
    return student, frozen_copy(student)


def numbers_of(module):
    """Copies of what is floating in its state dict."""
    return {name: value.clone() for name, value in module.state_dict().items() if value.is_floating_point()}


class Gradients:
    """Handler: notes all gradients between backward and step."""

    def __init__(self, network, turn):
        self.network, self.turn, self.steps = network, turn, []

    def attach(self, engine):
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self)

    def __call__(self, engine):
        named = [(name, p.grad) for name, p in self.network.named_parameters() if p.requires_grad]
        self.steps.append({name: None if grad is None else grad.clone() for name, grad in named})


class State:
    """Handler: notes what a step leaves behind."""

    def __init__(self, student, teacher, loss, optimizer, bank):
        self.student, self.teacher, self.loss = student, teacher, loss
        self.optimizer, self.bank, self.steps = optimizer, bank, []

    def attach(self, engine):
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine):
        names = {id(p): name for name, p in self.student.named_parameters()}
        groups = [
            ({names[id(p)] for p in group["params"]}, group["lr"], group["weight_decay"])
            for group in self.optimizer.param_groups
        ]
        self.steps.append(
            SimpleNamespace(
                terms=dict(engine.state.output),
                student=numbers_of(self.student),
                teacher=numbers_of(self.teacher),
                centers=[self.loss.dino.center.value.clone(), self.loss.prototype.center.value.clone()],
                groups=groups,
                schedules=dict(engine.state.schedules),
                bank=renumbered(self.bank) if self.bank.is_fitted else None,
            )
        )


def renumbered(bank):
    """What the bank holds, with a slide's prototypes in the order of the first regions that belong to them."""
    orders = []
    for slide, valid in enumerate(bank.valid):
        order = list(dict.fromkeys(bank.assignment[bank.slide_index == slide].tolist()))
        order = [k for k in order if k >= 0]
        assert sorted(order) == valid.nonzero()[:, 0].tolist(), "prototypes without regions, or the other way round"
        orders.append(order)
    assignment = [
        orders[slide].index(k) if k >= 0 else -1
        for slide, k in zip(bank.slide_index.tolist(), bank.assignment.tolist(), strict=True)
    ]
    lists = []
    for slide, order in enumerate(orders):
        found = []
        for r, other in enumerate(bank.neighbors.index[slide].tolist()):
            if other >= 0:
                partners = [int(bank.neighbors.partner[slide, r, k]) for k in order]
                partners = [orders[other].index(k) if k >= 0 else -1 for k in partners]
                found.append((float(bank.neighbors.similarity[slide, r]), other, partners))
        lists.append(found)
    prototypes = [bank.vectors[slide][order].clone() for slide, order in enumerate(orders)]
    return SlowBank(prototypes, assignment, lists)


def make_trainer(recipe, tokens, slides, batches, present=None):
    """The real trainer; ``batches`` gets region ids and views of each step. Returns it and its three recorders.

    Where ``present`` (N, SIDE, SIDE) is given, what is not there is masked.
    """
    student, teacher = make_networks(recipe)
    masks = present is not None
    student.encoder.mask_missing = teacher.encoder.mask_missing = masks
    optimizer = make_optimizer(student)
    items = [{"features": grid, "region_id": i} for i, grid in enumerate(tokens)]
    items = [item | {"present": cells} for item, cells in zip(items, present, strict=True)] if masks else items
    bank = PrototypeBank(
        recipe.n_prototypes,
        recipe.n_neighbors,
        recipe.min_regions,
        kmeans_restarts=recipe.n_restarts,
        kmeans_iterations=recipe.n_iterations,
        seed=recipe.kmeans_seed,
    )
    loss = SLPDLoss(
        20,
        student_temperature=recipe.student_temperature,
        center_momentum=recipe.center_momentum,
        intra_weight=recipe.intra_weight,
        inter_weight=recipe.inter_weight,
    ).double()
    crops = RandTokenCropsd("features", 2, recipe.global_size, 3, 3, seed=recipe.seed, mask_missing=masks)

    def view_maker(batch):
        made = crops(batch)
        batches.append((batch["region_id"].tolist(), made["views"]))
        return made

    features = RegionFeatures(teacher.encoder, items, batch_size=4, crop_size=recipe.global_size)
    raw, clipped = Gradients(student, Turn.SCHEDULE), Gradients(student, Turn.TEACHER)
    state = State(student, teacher, loss, optimizer, bank)
    slides_of = SimpleNamespace(slide_index=torch.tensor(slides), slide_ids=range(len(N_REGIONS)))
    handlers = [
        raw,
        ReclusterHandler(bank, features, slides_of, recipe.prototype_warmup),
        CrossSlideHandler(bank, recipe.prototype_warmup),
        ScheduleHandler("lr", recipe.lr, recipe.min_lr, recipe.lr_warmup, optimizer=optimizer),
        ScheduleHandler(
            "weight_decay", recipe.weight_decay, recipe.weight_decay_end, optimizer=optimizer, decayed_only=True
        ),
        ScheduleHandler("teacher_momentum", recipe.momentum, 1.0),
        ScheduleHandler(
            "teacher_temperature",
            recipe.temperature,
            recipe.temperature,
            recipe.temperature_warmup,
            recipe.temperature_start,
        ),
        FreezeHandler(student.last_layer, recipe.frozen),
        GradientClipHandler(student, recipe.clip),
        clipped,
        TeacherUpdateHandler(student, teacher),
        state,
    ]
    trainer = SlpdTrainer(
        device="cpu",
        max_epochs=recipe.max_epochs,
        train_data_loader=DataLoader(items, batch_sampler=RegionBatchSampler(len(items), BATCH_SIZE, seed=recipe.seed)),
        network=student,
        teacher=teacher,
        optimizer=optimizer,
        loss_function=loss,
        view_maker=view_maker,
        prototypes=bank,
        seed=recipe.seed,
        train_handlers=handlers,
    )
    return trainer, raw, clipped, state
