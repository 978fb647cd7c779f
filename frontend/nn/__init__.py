"""Layers, containers, losses and parameters, with PyTorch's names, arguments, defaults and state_dict keys."""

from __future__ import annotations

from chainrule.frontend.nn import init
from chainrule.frontend.nn.activation import (
    CELU,
    ELU,
    GELU,
    GLU,
    SELU,
    Hardshrink,
    Hardsigmoid,
    Hardswish,
    Hardtanh,
    LeakyReLU,
    LogSigmoid,
    LogSoftmax,
    Mish,
    PReLU,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softmax,
    Softmin,
    Softplus,
    Softshrink,
    Softsign,
    Tanh,
    Tanhshrink,
    Threshold,
)
from chainrule.frontend.nn.containers import ModuleDict, ModuleList, Sequential
from chainrule.frontend.nn.conv import (
    Conv1d,
    Conv2d,
    Conv3d,
    ConvTranspose1d,
    ConvTranspose2d,
    ConvTranspose3d,
)
from chainrule.frontend.nn.dropout import Dropout, Dropout1d, Dropout2d, Dropout3d
from chainrule.frontend.nn.linear import Bilinear, Identity, Linear
from chainrule.frontend.nn.loss import CrossEntropyLoss, L1Loss, MSELoss, NLLLoss
from chainrule.frontend.nn.module import Module
from chainrule.frontend.nn.pooling import MaxPool1d, MaxPool2d, MaxPool3d
from chainrule.frontend.nn.shaping import Flatten, Unflatten
from chainrule.frontend.stored import Buffer, Parameter

__all__ = [
    "CELU", "ELU", "GELU", "GLU", "SELU", "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh", "LeakyReLU",
    "LogSigmoid", "LogSoftmax", "Mish", "PReLU", "ReLU", "ReLU6", "Sigmoid", "SiLU", "Softmax", "Softmin", "Softplus",
    "Softshrink", "Softsign", "Tanh", "Tanhshrink", "Threshold",
    "Bilinear", "Identity", "Linear",
    "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d",
    "MaxPool1d", "MaxPool2d", "MaxPool3d",
    "Dropout", "Dropout1d", "Dropout2d", "Dropout3d",
    "Flatten", "Unflatten",
    "ModuleDict", "ModuleList", "Sequential",
    "CrossEntropyLoss", "L1Loss", "MSELoss", "NLLLoss",
    "Buffer", "Module", "Parameter", "init",
]  # fmt: skip
