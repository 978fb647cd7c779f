"""One table says which element type two operands meet in.

| operands | result |
|---|---|
| equal types | the same |
| bool with t | t |
| integer with float | the float, of its own width |
| two floats | the wider; f16 with bf16: f32 |
| two integers of one signedness | the wider |
| signed with unsigned | a signed type that holds both; u64 with a signed one is refused |

Python numbers (np.float64 scalars are such numbers too) and sizes are weak: they take the tensor's type. A float with
an integer or bool tensor gives f32; an integer with a bool tensor gives i64.
"""

from __future__ import annotations

from chainrule.errors import DTypeError
from chainrule.frontend.places import error
from chainrule.ir.types import DType, bool_, f32, i8, i16, i32, i64

_SIGNED = (i8, i16, i32, i64)


def promoted(a: DType, b: DType) -> DType:
    """The element type that operands of types a and b meet in. Raises DTypeError for u64 with a signed integer."""
    if a == b or b.is_bool:
        return a
    if a.is_bool:
        return b
    if a.is_float != b.is_float:
        return a if a.is_float else b
    if a.is_float:
        return f32 if a.bits == b.bits else max(a, b, key=lambda t: t.bits)
    if a.kind == b.kind:
        return max(a, b, key=lambda t: t.bits)
    signed, unsigned = (a, b) if a.kind == "i" else (b, a)
    if unsigned.bits == 64:
        raise error(DTypeError, f"element types {a} and {b} have no common integer type",
                    help="convert one of them: x.astype(...)")  # fmt: skip
    return next(t for t in _SIGNED if t.bits > unsigned.bits and t.bits >= signed.bits)


def weakly_promoted(strong: DType | None, number: object) -> DType:
    """The element type a Python number takes beside a tensor of type `strong` (None: beside numbers only)."""
    if isinstance(number, bool):
        return strong or bool_
    if isinstance(number, float):
        return strong if strong is not None and strong.is_float else f32
    return strong if strong is not None and not strong.is_bool else i64
