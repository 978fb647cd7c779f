"""Symbolic dims: integer expressions over named sizes.

A dim is a plain int, or a DimExpr: a polynomial with integer coefficients over atoms, where an atom is a symbol or an
opaque operation (floor division, remainder, min, max) on dims. The form is canonical, so equal polynomials are equal
objects: 2*H+1-H == H+1. Symbols stand for sizes, so they are >= 0; results are plain ints where no symbol is left.
"""

from __future__ import annotations

import ast
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from numbers import Integral
from typing import Union

from chainrule.errors import ArgumentError, ShapeError

Dim = Union[int, "DimExpr"]


@dataclass(frozen=True, slots=True)
class Atom:
    """A symbol (op "sym", its name in args) or an operation on dims: "//", "%", "min", "max"."""

    op: str
    args: tuple[object, ...]

    def __str__(self) -> str:
        if self.op == "sym":
            return str(self.args[0])
        if self.op in ("min", "max"):
            return f"{self.op}({','.join(map(str, self.args))})"
        left, right = (str(a) if _is_simple(a) else f"({a})" for a in self.args)
        return f"{left}{self.op}{right}"


def _is_simple(value: object) -> bool:
    return isinstance(value, int) or (isinstance(value, DimExpr) and value.symbol_name() is not None)


Monomial = tuple[Atom, ...]  # a product of atoms, sorted, repeated for powers; () is the constant term


class DimExpr:
    """A symbolic size. Immutable, hashable; supports + - * // % with dims, and == (structural after normalisation)."""

    __slots__ = ("_hash", "terms")

    def __init__(self, terms: Mapping[Monomial, int]) -> None:
        self.terms: tuple[tuple[Monomial, int], ...] = tuple(sorted(terms.items(), key=_term_order))
        self._hash = hash(self.terms)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, DimExpr) and self.terms == other.terms)

    def __hash__(self) -> int:
        return self._hash

    def symbol_name(self) -> str | None:
        """The name, if this is one bare symbol."""
        if len(self.terms) == 1:
            (monomial, coefficient), *_ = self.terms
            if coefficient == 1 and len(monomial) == 1 and monomial[0].op == "sym":
                return str(monomial[0].args[0])
        return None

    def __add__(self, other: Dim) -> Dim:
        if not isinstance(other, _SIZES):
            return NotImplemented
        return _combine(self, other, 1)

    __radd__ = __add__

    def __sub__(self, other: Dim) -> Dim:
        if not isinstance(other, _SIZES):
            return NotImplemented
        return _combine(self, other, -1)

    def __rsub__(self, other: Dim) -> Dim:
        if not isinstance(other, _SIZES):
            return NotImplemented
        return _combine(_combine(0, self, -1), other, 1)

    def __neg__(self) -> Dim:
        return _combine(0, self, -1)

    def __mul__(self, other: Dim) -> Dim:
        if not isinstance(other, _SIZES):
            return NotImplemented
        product: dict[Monomial, int] = {}
        for left, a in self.terms:
            for right, b in _terms(other):
                key = tuple(sorted(left + right, key=str))
                product[key] = product.get(key, 0) + a * b
        return _simplest(product)

    __rmul__ = __mul__

    def __floordiv__(self, other: Dim) -> Dim:
        if not isinstance(other, _SIZES):
            return NotImplemented
        return floordiv(self, other)

    def __rfloordiv__(self, other: Dim) -> Dim:
        if not isinstance(other, _SIZES):
            return NotImplemented
        return floordiv(other, self)

    def __mod__(self, other: Dim) -> Dim:
        if not isinstance(other, _SIZES):
            return NotImplemented
        return mod(self, other)

    def __rmod__(self, other: Dim) -> Dim:
        if not isinstance(other, _SIZES):
            return NotImplemented
        return mod(other, self)

    def __truediv__(self, other: object) -> Dim:
        if not isinstance(other, (*_SIZES, float)):
            return NotImplemented
        raise ArgumentError(f"{self} / {other} is not a size", help="use // for a size; cr.size(x, axis) is a number")

    __rtruediv__ = __truediv__

    def __str__(self) -> str:
        text = ""
        for monomial, coefficient in self.terms:
            # A sign at the start would bind to what is divided: -(N//2) is not -N//2.
            bound = len(monomial) > 1 or abs(coefficient) != 1 or (coefficient < 0 and not text)
            atoms = "*".join(f"({a})" if a.op in ("//", "%") and bound else str(a) for a in monomial)
            if not monomial:
                part = str(abs(coefficient))
            elif abs(coefficient) == 1:
                part = atoms
            else:
                part = f"{abs(coefficient)}*{atoms}"
            sign = "-" if coefficient < 0 else ("+" if text else "")
            text += sign + part
        return text

    __repr__ = __str__

    def __bool__(self) -> bool:
        raise ArgumentError(f"the size {self} is not known while the model is traced",
                            help="a Python condition needs a number: give this dim as an int in the spec")  # fmt: skip

    def __lt__(self, other: object) -> bool:
        raise ArgumentError(f"the size {self} is not known while the model is traced, so it cannot be compared",
                            help="give this dim as an int in the spec")  # fmt: skip

    __le__ = __gt__ = __ge__ = __lt__

    def __index__(self) -> int:
        raise ArgumentError(f"the size {self} is not known while the model is traced",
                            help="give this dim as an int in the spec, or use an op that takes sizes")  # fmt: skip


_SIZES = (Integral, DimExpr)  # what sizes compute with; a tensor on the other side does the work itself


def _term_order(term: tuple[Monomial, int]) -> tuple[bool, int, str]:
    monomial, _ = term
    return (not monomial, -len(monomial), "*".join(map(str, monomial)))


def _terms(dim: Dim) -> Iterable[tuple[Monomial, int]]:
    return dim.terms if isinstance(dim, DimExpr) else (((), int(dim)),)


def _combine(left: Dim, right: Dim, sign: int) -> Dim:
    total = dict(_terms(left))
    for monomial, coefficient in _terms(right):
        total[monomial] = total.get(monomial, 0) + sign * coefficient
    return _simplest(total)


def _simplest(terms: Mapping[Monomial, int]) -> Dim:
    kept = {m: c for m, c in terms.items() if c != 0}
    if not kept:
        return 0
    if len(kept) == 1 and () in kept:
        return kept[()]
    return DimExpr(kept)


def symbol(name: str) -> DimExpr:
    """The symbolic size of this name."""
    return DimExpr({(Atom("sym", (name,)),): 1})


def floordiv(a: Dim, b: Dim) -> Dim:
    """a // b; exact parts are taken out: (4*N+2)//4 = N + 2//4 = N."""
    if isinstance(a, int) and isinstance(b, int):
        return a // b
    if isinstance(b, int) and isinstance(a, DimExpr):
        whole = {m: c // b for m, c in a.terms if c % b == 0}
        rest = {m: c for m, c in a.terms if c % b != 0}
        constant = rest.get((), 0)
        whole[()] = whole.get((), 0) + constant // b
        if constant % b:
            rest[()] = constant % b
        else:
            rest.pop((), None)
        remainder = _simplest(rest)
        if isinstance(remainder, int):
            return _simplest(whole) + remainder // b
        return DimExpr({(Atom("//", (remainder, b)),): 1}) + _simplest(whole)
    if a == b:
        return 1
    quotient = _divide_exactly(a, b)
    return quotient if quotient is not None else DimExpr({(Atom("//", (a, b)),): 1})


def _divide_exactly(a: Dim, b: Dim) -> Dim | None:
    """The polynomial that b times gives a, by long division; None where something remains."""
    atoms = sorted({atom for dim in (a, b) for monomial, _ in _terms(dim) for atom in monomial}, key=str)

    def weight(term: tuple[Monomial, int]) -> tuple[int, tuple[int, ...]]:
        """By degree, then by the powers: an order that products keep, so that each step takes the first term away."""
        return len(term[0]), tuple(term[0].count(atom) for atom in atoms)

    leading, scale = max(_terms(b), key=weight)
    quotient, rest = 0, a
    while rest != 0:
        monomial, coefficient = max(_terms(rest), key=weight)
        left = _without(monomial, leading)
        if left is None or coefficient % scale:
            return None
        part = _simplest({left: coefficient // scale})
        quotient, rest = quotient + part, rest - part * b
    return quotient


def _without(monomial: Monomial, factors: Monomial) -> Monomial | None:
    """What is left of a product without some of its factors; None where one is not among them."""
    left = list(monomial)
    for atom in factors:
        if atom not in left:
            return None
        left.remove(atom)
    return tuple(left)


def mod(a: Dim, b: Dim) -> Dim:
    """a % b, with the sign of b as in Python."""
    if isinstance(a, int) and isinstance(b, int):
        return a % b
    return a - floordiv(a, b) * b


def dim_min(a: Dim, b: Dim) -> Dim:
    """The smaller size."""
    return _extremum("min", a, b)


def dim_max(a: Dim, b: Dim) -> Dim:
    """The larger size; dim_max(0, e) is e when e cannot be negative."""
    return _extremum("max", a, b)


def _extremum(op: str, a: Dim, b: Dim) -> Dim:
    low_first = lower_bound(b - a)
    if low_first is not None and low_first >= 0:
        return a if op == "min" else b
    low_second = lower_bound(a - b)
    if low_second is not None and low_second >= 0:
        return b if op == "min" else a
    if isinstance(a, int) and isinstance(b, int):
        return min(a, b) if op == "min" else max(a, b)
    return DimExpr({(Atom(op, tuple(sorted((a, b), key=str))),): 1})


def lower_bound(dim: Dim) -> int | None:
    """A number that the dim cannot be below, None if none is known. Symbols are >= 0."""
    total = 0
    for monomial, coefficient in _terms(dim):
        if not monomial:
            total += coefficient
        elif coefficient < 0 or any(_may_be_negative(atom) for atom in monomial):
            return None
    return total


def _may_be_negative(atom: Atom) -> bool:
    match atom.op:
        case "sym":
            return False
        case "max":
            return all((low := lower_bound(a)) is None or low < 0 for a in atom.args)  # type: ignore[arg-type]
        case _:
            return any((low := lower_bound(a)) is None or low < 0 for a in atom.args)  # type: ignore[arg-type]


def dim_product(dims: Iterable[Dim]) -> Dim:
    """The product of dims; 1 for none."""
    total: Dim = 1
    for dim in dims:
        total = total * dim
    return total


def dim_value(dim: Dim, env: Mapping[str, int]) -> int:
    """The number a dim has when its symbols have the values of env. Raises ShapeError for a symbol without value."""
    if not isinstance(dim, DimExpr):
        return int(dim)
    total = 0
    for monomial, coefficient in dim.terms:
        product = coefficient
        for atom in monomial:
            product *= _atom_value(atom, env)
        total += product
    return total


def _atom_value(atom: Atom, env: Mapping[str, int]) -> int:
    if atom.op == "sym":
        name = str(atom.args[0])
        if name not in env:
            raise ShapeError(f"the size {name} has no value", help="give it as dims={...} or through an input's shape")
        return env[name]
    a, b = (dim_value(arg, env) for arg in atom.args)  # type: ignore[arg-type]
    match atom.op:
        case "//":
            return a // b if b else -1
        case "min":
            return min(a, b)
        case _:
            return max(a, b)


def solve_dim(dim: Dim, size: int, env: Mapping[str, int]) -> tuple[str, int] | None:
    """The one symbol of a dim that env does not know and its value where the dim is `size`.

    None when several are unknown, when the dim is not linear in it, or when no whole number >= 0 fits.
    """
    line = line_of_dim(dim, env)
    if line is None:
        return None
    name, start, slope = line[0], dim_value(line[1], env), dim_value(line[2], env)
    if slope == 0 or (size - start) % slope or (size - start) // slope < 0:
        return None
    return name, (size - start) // slope


def line_of_dim(dim: Dim, known: Container[str]) -> tuple[str, Dim, Dim] | None:
    """The one symbol of a dim that is not known, with start and slope: the dim is start + slope * symbol.

    None when several are unknown, or when the dim is not linear in it.
    """
    unknown = [name for name in dim_symbols(dim) if name not in known]
    if len(unknown) != 1 or not isinstance(dim, DimExpr) or not _is_linear(dim, unknown[0]):
        return None
    start = dim_substitute(dim, {unknown[0]: 0})
    return unknown[0], start, dim_substitute(dim, {unknown[0]: 1}) - start


def fits_no_size(dim: Dim, size: int, env: Mapping[str, int]) -> bool:
    """True when a dim that is linear in the one symbol that env does not know is `size` for no whole number >= 0."""
    return line_of_dim(dim, env) is not None and solve_dim(dim, size, env) is None


def _is_linear(dim: DimExpr, name: str) -> bool:
    """True when the symbol occurs in no product with itself, and inside no division, minimum or maximum."""
    for monomial, _ in dim.terms:
        bare = sum(1 for atom in monomial if atom.op == "sym" and atom.args[0] == name)
        hidden = any(name in dim_symbols(DimExpr({(atom,): 1})) for atom in monomial if atom.op != "sym")
        if bare > 1 or hidden:
            return False
    return True


def dim_substitute(dim: Dim, env: Mapping[str, Dim]) -> Dim:
    """The dim with symbols replaced by other dims."""
    if not isinstance(dim, DimExpr):
        return dim
    total: Dim = 0
    for monomial, coefficient in dim.terms:
        product: Dim = coefficient
        for atom in monomial:
            product = product * _atom_substitute(atom, env)
        total = total + product
    return total


def _atom_substitute(atom: Atom, env: Mapping[str, Dim]) -> Dim:
    if atom.op == "sym":
        name = str(atom.args[0])
        return env.get(name, symbol(name))
    a, b = (dim_substitute(arg, env) for arg in atom.args)  # type: ignore[arg-type]
    match atom.op:
        case "//":
            return floordiv(a, b)
        case "min":
            return dim_min(a, b)
        case _:
            return dim_max(a, b)


def dim_symbols(dim: Dim) -> frozenset[str]:
    """The names of all symbols in a dim."""
    if not isinstance(dim, DimExpr):
        return frozenset()
    names: set[str] = set()
    for monomial, _ in dim.terms:
        for atom in monomial:
            if atom.op == "sym":
                names.add(str(atom.args[0]))
            else:
                for arg in atom.args:
                    names |= dim_symbols(arg)  # type: ignore[arg-type]
    return frozenset(names)


@lru_cache(maxsize=4096)
def parse_dim(text: str) -> Dim:
    """The dim written in text: "N", "2*H+1", "max(0,(W-3)//2+1)". Raises ArgumentError for anything else."""
    try:
        tree = ast.parse(text, mode="eval").body
        return _from_ast(tree)
    except (SyntaxError, RecursionError, ValueError) as error:
        raise ArgumentError(
            f"{text!r} is not a dim", help='a dim is an int or an expression such as "2*H+1"'
        ) from error


def _from_ast(tree: ast.expr) -> Dim:
    match tree:
        case ast.Constant(value=int(value)):
            return value
        case ast.Name(id=name):
            return symbol(name)
        case ast.BinOp(left=left, op=op, right=right):
            a, b = _from_ast(left), _from_ast(right)
            match op:
                case ast.Add():
                    return a + b
                case ast.Sub():
                    return a - b
                case ast.Mult():
                    return a * b
                case ast.FloorDiv():
                    return floordiv(a, b)
                case ast.Mod():
                    return mod(a, b)
                case _:
                    raise ValueError("operator")
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return 0 - _from_ast(operand)
        case ast.Call(func=ast.Name(id="min" | "max" as name), args=[left, right]):
            return (dim_min if name == "min" else dim_max)(_from_ast(left), _from_ast(right))
        case _:
            raise ValueError("form")


def as_dim(value: object) -> Dim:
    """A dim from an int, a dim expression, or text. Raises ArgumentError for a negative int or another type."""
    if isinstance(value, DimExpr):
        return value
    if isinstance(value, str):
        return parse_dim(value)
    if hasattr(value, "__index__") and not isinstance(value, bool):
        number = int(value)  # type: ignore[call-overload]
        if number < 0:
            raise ArgumentError(f"{number} is not a size", help="a dim is a non-negative int or a named size")
        return number
    raise ArgumentError(f"{value!r} is not a dim", help='a dim is an int or a name such as "N"')
