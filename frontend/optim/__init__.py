"""Optimisers and learning-rate schedules. Names, arguments, defaults and formulae are PyTorch's.

An optimiser is a description: it holds no parameters and no state. A training step asks it for the slots of each
parameter and for the graph of one update.
"""

from __future__ import annotations

from chainrule.frontend.optim import schedules
from chainrule.frontend.optim.adam import Adam, AdamW
from chainrule.frontend.optim.base import Grouped, Optimizer
from chainrule.frontend.optim.more import LAMB, Adadelta, Adagrad, Adamax, Lion, NAdam, RAdam, RMSprop
from chainrule.frontend.optim.sgd import SGD

__all__ = [
    "LAMB",
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Grouped",
    "Lion",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "schedules",
]
