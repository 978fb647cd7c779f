"""Forms of losses over classes. They are only read: runtimes know the ops that they are made of."""

from __future__ import annotations

from chainrule.backends.onnx.forms.form import Attr, Form
from chainrule.ops.losses_class import CrossEntropyLoss, NLLLoss

# ONNX ignores no class where ignore_index is left out; here one that no class has is ignored then.
_PARTS = (Attr("reduction", "reduction", "mean"), Attr("ignore_index", "ignore_index", -(2**31)))

FORMS: tuple[Form, ...] = (
    Form(NLLLoss, "NegativeLogLikelihoodLoss", _PARTS, since=12, writes=False),
    Form(CrossEntropyLoss, "SoftmaxCrossEntropyLoss", _PARTS, since=12, writes=False),
)
