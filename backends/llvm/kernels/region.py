"""What a kernel template gets: a region of the graph, and a builder that knows how to read and write its tensors.

A region is one node (a `fuse` with its body, or a plain op): inputs, at most one anchor that needs a template of its
own, and elementwise nodes before (prologue) and behind it (epilogue). `Kernel.read` gives an element or vector of any
value of the body in front of the anchor, computing the prologue on the way; `Kernel.write` takes the anchor's result at
an index, computes the epilogue there and stores every output. A template is the loops between the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from chainrule.backends.llvm.kernels.scalar_ops import emit_scalar
from chainrule.backends.llvm.target import Target
from chainrule.backends.loops import Buffer, Builder, Function, Int, as_int, imax, imin
from chainrule.backends.loops import Value as LoopValue
from chainrule.errors import NotSupported
from chainrule.ir.dims import Atom, Dim, DimExpr, dim_symbols
from chainrule.ir.graph import Get, Graph, Input, Value, new_input
from chainrule.ir.types import DType, TensorType, TupleType, f32
from chainrule.loc import using
from chainrule.ops.basic import Constant, Full, Fuse, SizeOf
from chainrule.ops.elementwise import Elementwise
from chainrule.ops.ranges import Iota
from chainrule.ops.shaping import Expand, Reshape, Slice, Transpose
from chainrule.passes.fold import scalar_of

LANES = 16  # the logical vector; the target's registers decide how many machine vectors that is
WEAVING_BITS = 256  # of narrower registers a logical vector takes four or more: several at a time do not fit them
Index = Sequence[Int | int]


@dataclass(frozen=True)
class Region:
    """One unit of code generation. body.inputs correspond to node.inputs, body.outputs to the node's results."""

    node: Value
    body: Graph
    anchor: Value | None

    @property
    def name(self) -> str:
        return self.body.name

    def epilogue_of(self, value: Value) -> list[Value]:
        """The body's nodes that depend on a value, in order, without it."""
        behind = {value}
        for node in self.body.nodes:
            if any(v in behind for v in node.inputs):
                behind.add(node)
        return [n for n in self.body.nodes if n in behind and n is not value]


def region_of(node: Value) -> Region:
    """The region of a graph node: the body of a fuse, or a body made of the one op."""
    if isinstance(node.op, Fuse):
        body = node.op.body
    else:
        with using(node.locs):
            inputs = tuple(new_input(f"x{i}", v.tensor) for i, v in enumerate(node.inputs))
            body = _body_of(node, inputs)
    return region_around(node, body)


def region_around(node: Value, body: Graph) -> Region:
    """The region of a node with such a body, whose anchor is found."""
    light = Elementwise | Expand | Iota | Input | Get
    heavy = [n for n in body.nodes if not isinstance(n.op, light) and not is_number(n)]
    anchors = [n for n in heavy if not isinstance(n.op, Reshape | Transpose | Slice)]  # beside one, these are its views
    return Region(node, body, next(iter(anchors or heavy), None))


def _body_of(node: Value, inputs: tuple[Value, ...]) -> Graph:
    from chainrule.ir.graph import build, results

    return Graph(node.op.name, inputs, results(build(node.op, *inputs)))


def is_number(node: Value) -> bool:
    return isinstance(node.op, Constant | Full | SizeOf) and (
        isinstance(node.op, SizeOf) or scalar_of(node) is not None
    )


@dataclass(frozen=True, eq=False)
class Temp:
    """Memory that a kernel needs besides inputs and outputs; it lives from the first to the last call that names it."""

    type: TensorType


@dataclass(frozen=True)
class KernelCall:
    """One native call: which kernel on which buffers.

    buffers: an input of the node ("input", i), a result ("output", i) or a Temp, one per buffer of the function.
    dims: the sizes of the graph that are the function's sizes, in order. work: estimated flops + bytes, None = unknown.
    """

    function: Function
    buffers: tuple[tuple[str, int] | Temp, ...]
    dims: tuple[Dim, ...]
    why: str = ""


@dataclass
class Kernel:
    """A builder for one kernel of a region."""

    region: Region
    target: Target
    name: str
    scalar: bool = False
    k: Builder = field(init=False)
    _sizes: dict[Dim, Int] = field(default_factory=dict)
    _places: list[tuple[tuple[str, int] | Temp, Buffer]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.k = Builder(self.name, scalar=self.scalar, weaves=self.target.vector_bits >= WEAVING_BITS)

    def dim(self, dim: Dim) -> Int:
        """A size of the graph as an index expression."""
        if not isinstance(dim, DimExpr):
            return as_int(int(dim))
        total = as_int(0)
        for monomial, coefficient in dim.terms:
            product = as_int(coefficient)
            for atom in monomial:
                product = product * self._atom(atom)
            total = total + product
        return total

    def _atom(self, atom: Atom) -> Int:
        if atom.op == "sym":
            return self.size(DimExpr({(atom,): 1}), str(atom.args[0]))
        a, b = (self.dim(x) for x in atom.args)  # type: ignore[arg-type]
        match atom.op:
            case "//":
                return a // b
            case "min":
                return imin(a, b)
            case _:
                return imax(a, b)

    def size(self, dim: Dim, name: str) -> Int:
        """A size of the graph as one number that the call brings along: of a long expression, when its form is of no
        use in proofs."""
        if not isinstance(dim, DimExpr):
            return as_int(dim)
        if dim not in self._sizes:
            self._sizes[dim] = self.k.size(name)
        return self._sizes[dim]

    def dims(self, shape: Sequence[Dim]) -> tuple[Int, ...]:
        return tuple(self.dim(d) for d in shape)

    def input(self, i: int, shape: Sequence[Dim | Int] | None = None) -> Buffer:
        """Input i of the node as a buffer, seen with its own or another row-major shape of as many elements.

        Without a shape, as it was seen first. Seen with two shapes it is two buffers of the kernel, on the same bytes.
        """
        return self._place(("input", i), self.region.body.inputs[i].tensor, shape, "r")

    def output(self, i: int, shape: Sequence[Dim | Int] | None = None, mode: str = "w",
               streams: bool = False) -> Buffer:  # fmt: skip
        """Result i of the node as a buffer; mode "rw" for a kernel that reads back what it wrote.

        streams: the kernel writes each line of it once and as a whole.
        """
        return self._place(("output", i), self.region.body.outputs[i].tensor, shape, mode, streams)

    def temp(self, temp: Temp, mode: str = "rw", shape: Sequence[Dim | Int] | None = None) -> Buffer:
        """A temporary of the region as a buffer."""
        return self._place(temp, temp.type, shape, mode)

    def _place(
        self, key: tuple[str, int] | Temp, type: TensorType, shape: Sequence[Dim | Int] | None, mode: str,
        streams: bool = False,
    ) -> Buffer:  # fmt: skip
        dims = None if shape is None else tuple(d if isinstance(d, Int) else self.dim(d) for d in shape)
        for place, buffer in self._places:
            if place == key and dims in (None, buffer.shape):
                return buffer
        name = f"t{len(self._places)}" if isinstance(key, Temp) else f"{key[0]}{key[1]}"
        made = self.k.buffer(name, type.dtype, self.dims(type.shape) if dims is None else dims, mode, streams=streams)
        self._places.append((key, made))
        return made

    def built(self, why: str = "") -> KernelCall:
        """The finished kernel, bound to the region's buffers."""
        return KernelCall(self.k.build(), tuple(key for key, _ in self._places), tuple(self._sizes), why)

    # -- elements ------------------------------------------------------------------------------------------------------

    def read(self, value: Value, index: Index, lanes: int = 1, mask: Int | int | None = None,
             known: Mapping[Value, LoopValue] | None = None) -> LoopValue:  # fmt: skip
        """The elements of a value of the body at an index, lanes of them along the last axis.

        Computes the elementwise nodes in front of it; `known` gives values (the anchor's result) that are at hand.
        Half-precision elements come as f32; everything is rounded to its own type after each op.
        """
        return self._evaluated((value,), index, lanes, mask, known or {})[0]

    def write(
        self, index: Index, known: Mapping[Value, LoopValue], lanes: int = 1, mask: Int | int | None = None
    ) -> None:
        """Computes every output from the known values at an index (in the outputs' own space) and stores it."""
        outputs = self.region.body.outputs
        values = self._evaluated(outputs, index, lanes, mask, known)
        for i, (output, value) in enumerate(zip(outputs, values, strict=True)):
            dtype = output.tensor.dtype
            self.k.store(self.output(i), tuple(index), self.k.cast(self.fit(value, lanes), dtype), mask=mask)

    def fit(self, value: LoopValue, lanes: int) -> LoopValue:
        return value if value.lanes == lanes else self.k.splat(value, lanes)

    def _evaluated(self, values: Sequence[Value], index: Index, lanes: int, mask: Int | int | None,
                   known: Mapping[Value, LoopValue]) -> list[LoopValue]:  # fmt: skip
        """The elements of several values at one index. Iterative: a region may be a long chain."""
        memo: dict[tuple[Value, tuple[Int, ...]], LoopValue] = {}
        at = tuple(as_int(i) for i in index)
        stack = [(v, at) for v in reversed(values)]
        while stack:
            value, where = stack[-1]
            if (value, where) in memo:
                stack.pop()
                continue
            if value in known:
                memo[value, where] = self.widened(known[value])
            elif isinstance(value.op, Input):
                memo[value, where] = self.widened(self._loaded(value, where, lanes, mask))
            elif is_number(value):
                memo[value, where] = self.number(value)
            elif isinstance(value.op, Iota):
                memo[value, where] = self.position(value.op, where, lanes)
            else:
                wanted = [(v, broadcast_index(v.tensor.shape, where)) for v in value.inputs]
                missing = [w for w in wanted if w not in memo]
                if missing:
                    stack.extend(missing)
                    continue
                memo[value, where] = self.computed(value, [memo[w] for w in wanted])
            stack.pop()
        return [memo[v, at] for v in values]

    def position(self, op: Iota, index: Sequence[Int], lanes: int) -> LoopValue:
        """The elements of an iota at an index."""
        axis = op.axis % len(op.shape)
        start = self.k.value(index[axis], op.dtype)
        if axis != len(op.shape) - 1 or lanes == 1 or op.shape[axis] == 1:
            return start
        return self.k.add(self.k.splat(start, lanes), self.k.iota(op.dtype, lanes))

    def computed(self, value: Value, inputs: Sequence[LoopValue]) -> LoopValue:
        if isinstance(value.op, Expand):
            return inputs[0]
        lanes = max(v.lanes for v in inputs)
        fitted = [self.fit(v, lanes) for v in inputs]
        result = emit_scalar(self.k, value.op, fitted, tuple(v.tensor.dtype for v in value.inputs))
        return self.widened(self.k.cast(result, value.tensor.dtype))

    def widened(self, value: LoopValue) -> LoopValue:
        """Half precision is computed in f32."""
        return self.k.cast(value, f32) if is_half(value.dtype) else value

    def number(self, value: Value) -> LoopValue:
        dtype = value.tensor.dtype
        if isinstance(value.op, SizeOf):
            return self.k.value(self.dim(value.op.dim), dtype)
        number = scalar_of(value)
        assert number is not None
        return self.widened(self.k.const(number, dtype))

    def _loaded(self, value: Value, index: tuple[Int, ...], lanes: int, mask: Int | int | None) -> LoopValue:
        buffer = self.input(self.region.body.inputs.index(value))
        shape = value.tensor.shape
        if not shape or shape[-1] == 1:
            return self.k.load(buffer, index)
        return self.k.load(buffer, index, lanes, mask=mask if lanes > 1 else None)


def broadcast_index(shape: Sequence[Dim], index: Sequence[Int]) -> tuple[Int, ...]:
    """The index into an array of this shape that broadcasting reads at an index of the result."""
    tail = index[len(index) - len(shape) :]
    return tuple(as_int(0) if d == 1 else i for d, i in zip(shape, tail, strict=True))


def is_half(dtype: DType) -> bool:
    return dtype.is_float and dtype.bits == 16


def tensor_types(node: Value) -> tuple[TensorType, ...]:
    """The types of all results of a node."""
    return node.type.items if isinstance(node.type, TupleType) else (node.type,)


def symbols_of(shape: Sequence[Dim]) -> frozenset[str]:
    """The symbols in a shape."""
    return frozenset().union(*(dim_symbols(d) for d in shape)) if shape else frozenset()


def refuse(region: Region, why: str) -> NotSupported:
    """The error for a case that a template does not take."""
    return NotSupported(f"{region.name}: {why}", loc=region.node.loc, help='compile with backend="reference"')
