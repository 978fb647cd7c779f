"""Optimisers and learning-rate schedules. Names, arguments, defaults and formulae are PyTorch's.

An optimiser is a description: it holds no parameters and no state. A training step asks it for the slots of each
parameter and for the graph of one update.
"""

from __future__ import annotations

from chainrule.frontend.optim import schedules
from chainrule.frontend.optim.adam import Adam, AdamW
from chainrule.frontend.optim.base import Grouped, Optimizer
from chainrule.frontend.optim.lbfgs import LBFGS
from chainrule.frontend.optim.more import LAMB, Adadelta, Adagrad, Adamax, Lion, NAdam, RAdam, RMSprop
from chainrule.frontend.optim.muon import Muon
from chainrule.frontend.optim.scaling import LossScale
from chainrule.frontend.optim.sgd import SGD

__all__ = [
    "LAMB",
    "LBFGS",
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Grouped",
    "Lion",
    "LossScale",
    "Muon",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "schedules",
]
