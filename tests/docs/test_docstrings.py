"""Everything that a user can reach from `chainrule` says what it is."""

import inspect
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import chainrule as cr
from chainrule.frontend.optim import Optimizer

# First lines say what is true of the thing, not that it is a function which does something.
EMPTY_STARTS = (
    "return",
    "returns",
    "this function",
    "this class",
    "a function",
    "the function to",
    "function ",
    "class ",
    "helper",
)
# What these do is said once, where the form of all optimisers is described.
DESCRIBED_AT_THE_FORM = {name for name in vars(Optimizer) if not name.startswith("_")}


def own(thing: object) -> bool:
    return str(getattr(thing, "__module__", "")).partition(".")[0] == "chainrule"


def public(module: ModuleType, path: str) -> Iterator[tuple[str, Any]]:
    """The classes and functions that a module offers, and those of the modules it offers, with their paths.

    A module offers what stands in its __all__; one without offers what it defines.
    """
    offered = getattr(module, "__all__", [n for n, v in vars(module).items() if n[0] != "_" and defined_in(module, v)])
    for name in offered:
        found = getattr(module, name)
        if isinstance(found, ModuleType):
            yield from public(found, f"{path}.{name}")
        elif (inspect.isclass(found) or inspect.isfunction(found)) and own(found):
            yield f"{path}.{name}", found


def defined_in(module: ModuleType, thing: object) -> bool:
    return getattr(thing, "__module__", None) == module.__name__


def described(path: str, thing: Any) -> Iterator[tuple[str, str]]:
    """The docstrings of a function, or of a class and its public methods and properties; "" where there is none."""
    doc = vars(thing).get("__doc__") if inspect.isclass(thing) else thing.__doc__
    made_by_dataclass = inspect.isclass(thing) and (doc or "").startswith(f"{thing.__name__}(")
    yield path, "" if made_by_dataclass else doc or ""
    for name, member in vars(thing).items() if inspect.isclass(thing) else ():
        function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
        if name.startswith("_") or not inspect.isfunction(function) or not own(function):
            continue
        if name not in DESCRIBED_AT_THE_FORM:
            yield f"{path}.{name}", inspect.getdoc(getattr(thing, name)) or ""


DOCS = {path: doc for at, thing in public(cr, "cr") for path, doc in described(at, thing)}


def test_every_public_name_has_a_docstring() -> None:
    assert len(DOCS) > 400  # the walk above has found them
    assert [path for path, doc in DOCS.items() if not doc.strip()] == []


def test_first_lines_say_what_is_true() -> None:
    firsts = {path: doc.strip().split("\n")[0] for path, doc in DOCS.items()}
    assert [path for path, first in firsts.items() if first.lower().startswith(EMPTY_STARTS)] == []
    assert [path for path, first in firsts.items() if len(first) < 3] == []


def test_public_modules_have_docstrings() -> None:
    modules = [getattr(cr, name) for name in cr.__all__ if isinstance(getattr(cr, name), ModuleType)]
    assert modules
    assert all(module.__doc__ for module in (cr, *modules))
