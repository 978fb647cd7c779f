"""LLVM text to object bytes, several modules at once where the machine has several cores.

llvmlite takes one lock around every call into LLVM, so that threads do not overlap, although each context and each
target machine may well be used by a thread of its own. Code generation, nine tenths of the work, is therefore called
through the
function under the lock; where llvmlite does not have it in that place, modules are compiled one after the other.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

from chainrule.backends.llvm.target import Target

Source = tuple[str, bool]  # (LLVM text, whether the light pipeline runs first)

_MIN_PARALLEL = 3  # starting the threads and their target machines costs about as much as two kernels
_MAX_THREADS = 8
_own = threading.local()


def generate(sources: Sequence[Source], target: Target) -> list[bytes]:
    """Relocatable objects for the sources, in order. Raises RuntimeError for text that LLVM does not parse."""
    threads = min(cores(), _MAX_THREADS, len(sources))
    emit = _unlocked_emit()
    if len(sources) < _MIN_PARALLEL or threads < 2 or emit is None:
        return [_object(source, machine(target), None) for source in sources]
    machine(target)  # LLVM's first initialisation happens in one thread
    order = sorted(range(len(sources)), key=lambda i: -len(sources[i][0]))
    with ThreadPoolExecutor(threads) as pool:
        made = pool.map(lambda i: _object(sources[i], _thread_machine(target), emit), order)
        by_index = dict(zip(order, made, strict=True))
    return [by_index[i] for i in range(len(sources))]


def linked_object(sources: Sequence[Source], target: Target) -> bytes:
    """One relocatable object of all the sources. The code of each is what it is alone: no pass sees them together."""
    owner = machine(target)
    context = llvm().create_context()  # modules of several contexts cannot be linked: LLVM ends the process
    whole = _parsed(sources[0], owner, context)
    for source in sources[1:]:
        whole.link_in(_parsed(source, owner, context))
    return owner.emit_object(whole)


def assembly_text(source: Source, target: Target) -> str:
    """The assembly text of a source."""
    owner = machine(target)
    return owner.emit_assembly(_parsed(source, owner))


def cores() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def llvm() -> Any:
    """llvmlite's binding, with all targets ready."""
    import llvmlite.binding as binding

    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    binding.initialize_native_asmparser()
    return binding


@cache
def machine(target: Target) -> Any:
    """The target machine that is used under the compile lock."""
    return _new_machine(target)


def _new_machine(target: Target) -> Any:
    return (
        llvm()
        .Target.from_triple(target.triple)
        .create_target_machine(cpu=target.cpu, features=target.feature_string, opt=1, reloc="pic", codemodel="small")
    )


def _thread_machine(target: Target) -> Any:
    machines: dict[str, Any] = _own.__dict__.setdefault("machines", {})
    if target.key not in machines:
        machines[target.key] = _new_machine(target)
    return machines[target.key]


def _object(source: Source, owner: Any, emit: Callable[[Any, Any], bytes] | None) -> bytes:
    parsed = _parsed(source, owner)
    return owner.emit_object(parsed) if emit is None else emit(owner, parsed)


def _parsed(source: Source, owner: Any, context: Any = None) -> Any:
    text, optimise = source
    parsed = llvm().parse_assembly(text, context or llvm().create_context())
    parsed.triple = owner.triple
    parsed.data_layout = str(owner.target_data)
    if optimise:
        options = llvm().create_pipeline_tuning_options(speed_level=2)
        options.loop_unrolling = False  # duplicates bodies for nothing on an out-of-order core, and costs compile time
        options.loop_vectorization = True
        options.slp_vectorization = False
        builder = llvm().create_pass_builder(owner, options)
        builder.getModulePassManager().run(parsed, builder)
    return parsed


@cache
def _unlocked_emit() -> Callable[[Any, Any], bytes] | None:
    """TargetMachine.emit_object without llvmlite's lock; None when its private parts are not where they were."""
    try:
        from llvmlite.binding import ffi

        library: Any = ffi.lib
        raw: Any = library.LLVMPY_TargetMachineEmitToMemory._cfn
        start: Any = library.LLVMPY_GetBufferStart
        size: Any = library.LLVMPY_GetBufferSize
        dispose: Any = library.LLVMPY_DisposeMemoryBuffer
        output: Any = ffi.OutputString
    except (ImportError, AttributeError):
        return None

    def emit(owner: Any, module: Any) -> bytes:
        with output() as error:
            buffer = raw(owner, module, 1, error)
            if not buffer:
                raise RuntimeError(str(error))
        try:
            return ctypes.string_at(start(buffer), size(buffer))
        finally:
            dispose(buffer)

    return emit
