"""onnx's cases of one node in every element type that the op's schema allows: they load, run, and keep the type."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import defs, helper

from chainrule.backends.onnx.interface import ReferenceBackend
from chainrule.errors import ChainruleError
from tests.onnx.conformance import BACKENDS, Case, cases
from tests.onnx.test_onnx_cases import listed

TYPES = {
    "tensor(float)": np.dtype(np.float32), "tensor(double)": np.dtype(np.float64),
    "tensor(float16)": np.dtype(np.float16), "tensor(bfloat16)": np.dtype(ml_dtypes.bfloat16),
    **{f"tensor({name})": np.dtype(name) for name in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32",
                                                      "uint64", "bool")},
}  # fmt: skip
NAMED = frozenset({"Cast", "CastLike", "BitCast", "If", "Loop", "Scan"})  # attributes or bodies name types too
TYPED_AT_LEAST = 3000
REFUSED = frozenset({"Attention"})  # of queries and keys of one type and values of another


def retyped() -> Iterator[tuple[Case, str, np.dtype]]:
    """Each case that tells by its attributes, with each type variable in each of its types: (case, variable, type)."""
    seen: set[tuple[object, ...]] = set()
    for case in cases():
        nodes, version = case.model.graph.node, max(o.version for o in case.model.opset_import)
        if len(nodes) != 1 or nodes[0].op_type in NAMED | REFUSED or version < 7 or listed(case.name):
            continue
        schema = defs.get_schema(nodes[0].op_type, version)
        allowed = {c.type_param_str: c.allowed_type_strs for c in schema.type_constraints}
        inputs = [schema.inputs[min(i, len(schema.inputs) - 1)].type_str for i in range(len(nodes[0].input))]
        for variable in sorted(set(inputs) & allowed.keys()):
            names = {name for name, t in zip(nodes[0].input, inputs, strict=True) if t == variable and name}
            for dtype in (TYPES[t] for t in sorted(allowed[variable]) if t in TYPES):
                key = (nodes[0].op_type, version, variable, dtype.name, len(nodes[0].input),
                       tuple(sorted(str(helper.get_attribute_value(a))[:20] for a in nodes[0].attribute)))  # fmt: skip
                if key not in seen and names:
                    seen.add(key)
                    yield _with_type(case, names, dtype), variable, dtype


def _with_type(case: Case, names: set[str], dtype: np.dtype) -> Case:
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    given: list[np.ndarray] = []
    for info, x in zip(model.graph.input, case.data[0][0], strict=True):
        if info.name in names:
            info.type.tensor_type.elem_type = helper.np_dtype_to_tensor_dtype(dtype)
            x = _as_type(x, dtype)
        given.append(x)
    for info in model.graph.output:
        info.type.ClearField("tensor_type")
        info.type.tensor_type.SetInParent()
    return replace(case, model=model, data=((given, case.data[0][1]),))


def _as_type(x: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The numbers in another type: whole ones in integers, none below 0 where that has no sign."""
    wide = x.astype(np.float64) if x.dtype.kind not in "iub" else x
    if dtype.kind in "iub":
        wide = np.rint(wide)
        wide = np.abs(wide) if dtype.kind != "i" else wide
    return wide.astype(dtype)


def faults(backend: type[ReferenceBackend]) -> tuple[list[str], int]:
    """What is refused or comes out in another type, one line each; and how many runs there were."""
    found, count = [], 0
    for case, variable, dtype in retyped():
        count += 1
        (node,) = case.model.graph.node
        schema = defs.get_schema(node.op_type, max(o.version for o in case.model.opset_import))
        with np.errstate(all="ignore"):
            try:
                outputs = backend.run_model(case.model, case.data[0][0])
            except ChainruleError as error:
                found.append(f"{case.name} {variable}={dtype}: {error.cause}")
                continue
        places = [i for i, name in enumerate(node.output) if name]
        for i, y in zip(places, outputs, strict=True):
            if schema.outputs[min(i, len(schema.outputs) - 1)].type_str == variable and y.dtype != dtype:
                found.append(f"{case.name} {variable}={dtype}: output {i} is {y.dtype}")
    return found, count


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_every_element_type_of_the_schemas_is_read(backend: str) -> None:
    found, count = faults(BACKENDS[backend])
    assert found == []
    assert count >= TYPED_AT_LEAST
