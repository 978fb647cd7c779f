"""Kernels to addresses: emits LLVM text, makes objects (or finds them in the cache), links them into this process.

One object per distinct kernel, named by its content, so that a kernel met again, in another model or another
process, is not compiled again. Explicit kernels get no IR passes and code generation level 1, which reaches the
machine's peak (benchmarks/micro_gemm.py); scalar kernels get LLVM's light pipeline first. Addresses die with the
Library that gave them.
"""

from __future__ import annotations

import hashlib
import os
import threading
import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from chainrule.backends.llvm.cache import Cache, default_cache, sweep_if_due
from chainrule.backends.llvm.codegen import assembly_text, generate, llvm, machine
from chainrule.backends.llvm.emit import emit_function
from chainrule.backends.llvm.objects import undefined_symbols
from chainrule.backends.llvm.target import Target, host_target
from chainrule.backends.loops.nodes import Function
from chainrule.errors import NotSupported

MAX_CACHE_BYTES = 1 << 30  # the oldest objects go first

_FORMAT = "1"  # changes when the way objects are made changes
_lock = threading.RLock()
if hasattr(os, "register_at_fork"):
    # A fork waits until no thread compiles: LLVM's own locks would stay taken in the child for ever.
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)
_loaded: weakref.WeakValueDictionary[str, Library] = weakref.WeakValueDictionary()
_recorded: list[Module] | None = None
_counter = 0


@dataclass(frozen=True, slots=True)
class Module:
    """One compilation unit: LLVM text, the symbols it gives, and those it may take from outside."""

    text: str
    exports: tuple[str, ...]
    imports: tuple[str, ...] = ()
    optimise: bool = False

    def key(self, target: Target) -> str:
        """Everything that the object depends on, as text."""
        digest = hashlib.sha256(self.text.encode()).hexdigest()
        light = "light" if self.optimise else "none"
        return f"{_FORMAT}\n{_versions()}\n{target.key}\npasses {light}\n{digest}\n{' '.join(self.exports)}"


class Library:
    """Linked machine code. Its addresses are valid while the library lives."""

    __slots__ = ("_addresses", "_engine", "_tracker", "__weakref__")

    def __init__(self, addresses: Mapping[str, int], tracker: Any, engine: Any) -> None:
        self._addresses = dict(addresses)
        self._tracker = tracker
        self._engine = engine

    def address(self, symbol: str) -> int:
        """Where an exported symbol lies."""
        return self._addresses[symbol]


@dataclass(frozen=True, slots=True)
class Compiled:
    """Addresses of kernels; keeps their code alive."""

    symbols: Mapping[Function, str]
    libraries: Mapping[str, Library]

    def address(self, fn: Function) -> int:
        """The entry point of a kernel: void(ptr bufs, ptr sizes, i64 lo, i64 hi, ptr status)."""
        symbol = self.symbols[fn]
        return self.libraries[symbol].address(symbol)

    __getitem__ = address


def compile_functions(
    functions: Iterable[Function], target: Target | None = None, cache: Cache | None = None
) -> Compiled:
    """Machine code for kernels, equal ones once. cache None: the user's cache folder."""
    aim = target or host_target()
    modules: dict[str, Module] = {}
    symbols: dict[Function, str] = {}
    for fn in functions:
        if fn in symbols:
            continue
        symbol, module = function_module(fn, aim)
        symbols[fn] = symbol
        modules[symbol] = module
    return Compiled(symbols, compile_modules(modules, aim, cache))


def function_module(fn: Function, target: Target, name: str | None = None) -> tuple[str, Module]:
    """(symbol, module) of one kernel. Without a name the symbol is made from the code itself."""
    text = emit_function(fn, target, name or "kernel")
    if name is None:
        name = "cr_" + hashlib.sha256(text.encode()).hexdigest()[:24]
        text = text.replace("@kernel(", f"@{name}(", 1)
    return name, Module(text, (name,), (), fn.scalar)


def compile_text(
    text: str,
    exports: Sequence[str],
    target: Target | None = None,
    imports: Mapping[str, int] | None = None,
    optimise: bool = False,
    cache: Cache | None = None,
) -> Library:
    """Machine code for LLVM text written elsewhere. imports: addresses of the outside symbols that it calls."""
    aim = target or host_target()
    outside = dict(imports or {})
    module = Module(text, tuple(exports), tuple(sorted(outside)), optimise)
    with _lock:
        objects = _objects([module], aim, cache or default_cache())
        return _link(objects, module.exports, aim, outside)


def compile_modules(modules: Mapping[str, Module], target: Target, cache: Cache | None = None) -> dict[str, Library]:
    """Libraries for modules by symbol: those already in the process are reused, the others linked together."""
    kept = cache or default_cache()
    with _lock:
        result: dict[str, Library] = {}
        missing: dict[str, Module] = {}
        for symbol, module in modules.items():
            found = _loaded.get(f"{symbol} {target.key}")
            if found is None:
                missing[symbol] = module
            else:
                _record(module)
                result[symbol] = found
        if missing:
            objects = _objects(list(missing.values()), target, kept)
            exports = [name for module in missing.values() for name in module.exports]
            library = _link(objects, exports, target, {})
            for symbol in missing:
                _loaded[f"{symbol} {target.key}"] = library
                result[symbol] = library
        return result


@dataclass(frozen=True, slots=True)
class Linked:
    """Addresses of kernels by symbol; keeps their code alive."""

    libraries: Mapping[str, Library]

    def address(self, symbol: str) -> int:
        """The entry point of a kernel."""
        return self.libraries[symbol].address(symbol)


def is_loaded(symbol: str, target: Target) -> bool:
    """True when a kernel's code is in the process."""
    return f"{symbol} {target.key}" in _loaded


def link_kernels(
    modules: Mapping[str, Module], objects: Mapping[str, bytes], symbols: Sequence[str], target: Target, cache: Cache
) -> Linked:
    """The kernels of these symbols, each already loaded, or given as an object, or as a module to compile."""
    with _lock:
        found = compile_modules({s: m for s, m in modules.items() if s not in objects}, target, cache)
        for symbol in symbols:
            library = found.get(symbol) or _loaded.get(f"{symbol} {target.key}")
            if library is not None:
                found[symbol] = library
        missing = [s for s in symbols if s not in found]
        if missing:
            library = _link([objects[s] for s in missing], missing, target, {})
            for symbol in missing:
                _loaded[f"{symbol} {target.key}"] = library
                found[symbol] = library
        return Linked(found)


def object_code(module: Module, target: Target, cache: Cache | None = None) -> bytes:
    """The relocatable object (ELF, position independent) of a module, for any target."""
    with _lock:
        return _objects([module], target, cache or default_cache())[0]


def assembly(module: Module, target: Target) -> str:
    """The module's assembly text, for people and tests."""
    with _lock:
        return assembly_text((module.text, module.optimise), target)


def record_modules(into: list[Module] | None) -> None:
    """From now on every module that is compiled or loaded is also appended to the list; None stops."""
    global _recorded
    _recorded = into


def recorder() -> list[Module] | None:
    """The list that modules are being appended to, if any."""
    return _recorded


def loaded() -> list[str]:
    """Keys ("symbol target") of the kernels whose code is in the process."""
    return list(_loaded)


def _record(module: Module) -> None:
    if _recorded is not None:
        _recorded.append(module)


def _objects(modules: Sequence[Module], target: Target, cache: Cache) -> list[bytes]:
    """Objects from the cache; those that are not there are made, together, and kept."""
    keys = [module.key(target) for module in modules]
    found = [cache.get(key) for key in keys]
    missing = [i for i, data in enumerate(found) if data is None]
    made = generate([(modules[i].text, modules[i].optimise) for i in missing], target)
    for i, data in zip(missing, made, strict=True):
        # LLVM turns what it cannot select into library calls; one that is not there would end the process when called.
        unknown = [name for name in undefined_symbols(data) if name not in modules[i].imports]
        if unknown:
            raise NotSupported(f"code for {target.name} would call {', '.join(unknown)}, which is not linked in")
        cache.put(keys[i], data)
        found[i] = data
    for module in modules:
        _record(module)
    if missing:
        _sweep(cache)
    return [data for data in found if data is not None]


@cache
def _sweep(cache: Cache) -> None:
    """Bounds the cache's size, at most once per process."""
    sweep_if_due(cache, MAX_CACHE_BYTES)


@cache
def _engine() -> Any:
    # JITLink places all sections of a library next to each other, as the small code model needs.
    return llvm().create_lljit_compiler(machine(host_target()), use_jit_link=True)


@cache
def _versions() -> str:
    import llvmlite

    return f"llvmlite {llvmlite.__version__} LLVM {'.'.join(map(str, llvm().llvm_version_info))}"


def _link(objects: Sequence[bytes], exports: Iterable[str], target: Target, imports: Mapping[str, int]) -> Library:
    global _counter
    if not runs_here(target):
        raise NotSupported(f"this machine cannot run code for {target.name}", help="emit an object with object_code")
    builder = llvm().JITLibraryBuilder()
    for data in objects:
        builder.add_object_img(data)
    for name, address in imports.items():
        builder.import_symbol(name, address)
    names = list(exports)
    for name in names:
        builder.export_symbol(name)
    _counter += 1
    engine = _engine()
    tracker = builder.link(engine, f"chainrule{_counter}")
    return Library({name: tracker[name] for name in names}, tracker, engine)


def runs_here(target: Target) -> bool:
    """True when this machine has every feature of the target."""
    host = host_target()
    return target.triple.split("-")[0] == host.triple.split("-")[0] and set(target.features) <= set(host.features)
