"""Recurrent layers whose first axis is the batch (layout 1): the forms have those whose first axis is time."""

from __future__ import annotations

from collections.abc import Mapping

from chainrule.backends.onnx.forms.recurrent import read_layer
from chainrule.backends.onnx.node import Given, Read, Reader
from chainrule.ops.recurrent import Gru, Layer, Lstm, Rnn


def batch_first(kind: type[Layer]) -> Reader:
    """A layer between transposes."""

    def read(given: Given) -> Read:
        return read_layer(given, kind, batch_first=True)

    return read


READERS: Mapping[str, Reader] = {"LSTM": batch_first(Lstm), "GRU": batch_first(Gru), "RNN": batch_first(Rnn)}
