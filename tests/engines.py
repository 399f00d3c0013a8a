"""An engine for tests of handlers: steps of one's own, in the surroundings of a training."""

import torch
from ignite.engine import Engine
from monai.engines.utils import IterationEvents


def make_engine(step=lambda engine, batch: None, handlers=()):
    """It has the events and state that our trainer has, and these handlers, attached one after the other."""
    engine = Engine(step)
    engine.register_events(*IterationEvents)
    engine.state.device = torch.device("cpu")
    for handler in handlers:
        handler.attach(engine)
    return engine
