"""The table that `Module.summary` prints."""

from __future__ import annotations

from collections.abc import Sequence

from chainrule.frontend import scope as scopes
from chainrule.frontend.nn.module import Module
from chainrule.frontend.places import located
from chainrule.frontend.scope import Scope
from chainrule.frontend.structure import flatten
from chainrule.frontend.tensor import Tensor
from chainrule.frontend.trace import declare, name_of, stored_names


def summary(module: Module, specs: Sequence[object]) -> str:
    """A table of the modules with the types of their results and their parameter counts, and the totals."""
    shapes = _result_types(module, specs)
    rows = [("layer", "output", "parameters")]
    for path, part in module.named_modules():
        depth = path.count(".") + 1 if path else 0
        own = sum(stored.data.size for _, stored in part.own_stored() if stored.role == "param")
        label = "  " * depth + (f"{path.rpartition('.')[2]}: " if path else "") + type(part).__name__
        rows.append((label, shapes.get(id(part), ""), f"{own:,}" if own or not list(part.children()) else ""))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}".rstrip() for a, b, c in rows]
    rule = "-" * (sum(widths) + 4)
    return "\n".join([lines[0], rule, *lines[1:], rule, *_totals(module)])


def _totals(module: Module) -> list[str]:
    parameters = list(module.parameters())
    total = sum(p.data.size for p in parameters)
    fixed = sum(p.data.size for p in parameters if not p.requires_grad)
    lines = [f"parameters: {total:,} ({_bytes(sum(p.data.nbytes for p in parameters))})"
             + (f", of which {fixed:,} are not trained" if fixed else "")]  # fmt: skip
    buffers = [buffer.data for buffer in module.buffers()]
    return lines + ([f"other state: {sum(b.size for b in buffers):,} ({_bytes(sum(b.nbytes for b in buffers))})"]
                    if buffers else [])  # fmt: skip


def _result_types(module: Module, specs: Sequence[object]) -> dict[int, str]:
    """The types of what each module returned (at its last call), by id."""
    found: dict[int, str] = {}

    def observe(part: object, result: object) -> None:
        leaves, _ = flatten(result)
        found[id(part)] = ", ".join(str(leaf.value.type) for leaf in leaves if isinstance(leaf, Tensor))

    scope = Scope(name_of(module), training=False, names=stored_names(module))
    scope.observe = observe
    inputs = declare(scope, module, tuple(specs))
    with scopes.entered(scope), located():
        observe(module, module(*inputs.positional, **inputs.keywords))
    return found


def _bytes(count: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"
