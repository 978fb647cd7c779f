"""The mapping between ops and ONNX: one file of forms per family of ops, one list of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chainrule.backends.onnx.forms import elementwise, losses, quantised, recurrent, reduce, selecting, shaping, windows
from chainrule.backends.onnx.forms.form import Form
from chainrule.ir.op import Op

ALL_FORMS: tuple[Form, ...] = (
    *elementwise.FORMS,
    *reduce.FORMS,
    *shaping.FORMS,
    *selecting.FORMS,
    *windows.FORMS,
    *recurrent.FORMS,
    *losses.FORMS,
    *quantised.FORMS,
)


def _grouped_by_op() -> Mapping[type[Op], Sequence[Form]]:
    found: dict[type[Op], list[Form]] = {}
    for form in ALL_FORMS:
        found.setdefault(form.op, []).append(form)
    return found


def _grouped_by_name() -> Mapping[str, Sequence[Form]]:
    found: dict[str, list[Form]] = {}
    for form in ALL_FORMS:
        if form.reads:
            found.setdefault(form.name, []).append(form)
    return found


FORMS_OF: Mapping[type[Op], Sequence[Form]] = _grouped_by_op()
FORMS_NAMED: Mapping[str, Sequence[Form]] = _grouped_by_name()
