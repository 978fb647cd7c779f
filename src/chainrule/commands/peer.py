"""What a model is compared with: the file itself in onnxruntime where there is one, else our export of it there."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from chainrule.commands.model_argument import Loaded
from chainrule.errors import ArgumentError
from chainrule.ir.op import Array

Run = Callable[[Sequence[Array]], list[Array]]


def onnxruntime_of(loaded: Loaded, threads: int | None = None) -> Run:
    """A function from the inputs to the outputs. Raises NotSupported where onnxruntime does not take the model."""
    import chainrule as cr

    if loaded.path is None:
        made = cr.compile(loaded.traced, backend="onnxruntime", threads=threads)
        return lambda arrays: made.run(list(arrays))
    from chainrule.backends.onnx.executable import run_session, session_of

    session = session_of(str(loaded.path), threads, ["CPUExecutionProvider"])
    names = [info.name for info in session.get_inputs()]
    if len(names) < len(loaded.traced.input_names):
        raise ArgumentError(f"{loaded.path}: onnxruntime sees {len(names)} inputs")
    used = loaded.traced.graph.by_role("input")
    return lambda arrays: run_session(session, dict(zip(names[: len(used)], arrays, strict=True)))
