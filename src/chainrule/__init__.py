"""chainrule compiles neural networks, for inference and for training, to native code.

    import chainrule as cr

Every public name is listed here with its home. A name is fetched from its home at its first use, so that
`import chainrule` costs next to nothing and neither LLVM nor ONNX is loaded before it is needed.

The names stand twice: under TYPE_CHECKING for editors and type checkers, and in _HOMES for Python. A test holds the two
together. No public function has the name of a module of this package: importing the module would hide the function.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from chainrule.errors import ArgumentError as ArgumentError
    from chainrule.errors import ChainruleError as ChainruleError
    from chainrule.errors import DTypeError as DTypeError
    from chainrule.errors import ModelError as ModelError
    from chainrule.errors import NotSupported as NotSupported
    from chainrule.errors import NumericsError as NumericsError
    from chainrule.errors import ShapeError as ShapeError

# home module -> the names it gives. A module that is itself a public name stands under its own name with no names.
_HOMES: dict[str, tuple[str, ...]] = {
    "chainrule.errors": (
        "ArgumentError",
        "ChainruleError",
        "DTypeError",
        "ModelError",
        "NotSupported",
        "NumericsError",
        "ShapeError",
    ),
}
_HOME_OF: dict[str, str] = {name: home for home, names in _HOMES.items() for name in names}
_MODULES: dict[str, str] = {home.rpartition(".")[2]: home for home, names in _HOMES.items() if not names}

__all__ = ["__version__", *_HOME_OF, *_MODULES]  # noqa: PLE0604  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    """Fetches a public name from its home and keeps it."""
    if name in _HOME_OF:
        value = getattr(import_module(_HOME_OF[name]), name)
    elif name in _MODULES:
        value = import_module(_MODULES[name])
    else:
        raise AttributeError(f"module 'chainrule' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
