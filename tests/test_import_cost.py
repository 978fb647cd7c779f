"""`import chainrule` loads no heavy library, and the names it promises are there."""

import ast
import importlib
import os
import pkgutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import chainrule

SOURCE = Path(__file__).parents[1] / "src"


def run_python(program: str) -> str:
    """What a fresh interpreter prints that runs the program with this checkout's chainrule."""
    environment = os.environ | {"PYTHONPATH": str(SOURCE)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded_modules(program: str) -> set[str]:
    """The top-level modules that a fresh interpreter has loaded after the program."""
    return {name.partition(".")[0] for name in run_python(f"{program}\nimport sys\nprint(*sys.modules)").split()}


@pytest.mark.parametrize("heavy", ["llvmlite", "onnx", "onnxruntime", "rich"])
def test_import_chainrule_does_not_load(heavy: str):
    assert heavy not in loaded_modules("import chainrule")


@pytest.mark.parametrize("heavy", ["numpy", "llvmlite", "onnx", "onnxruntime", "rich"])
@pytest.mark.parametrize("option", ["--help", "--version"])
def test_the_command_line_answers_without_loading(option: str, heavy: str):
    program = f"from chainrule.cli import main\ntry:\n    main([{option!r}])\nexcept SystemExit: pass\nprint('end')"
    loaded = run_python(f"{program}\nimport sys\nprint(*sys.modules)").rpartition("end\n")[2].split()
    assert "chainrule" in loaded
    assert heavy not in loaded


def test_every_public_name_is_there_and_listed_once():
    assert len(set(chainrule.__all__)) == len(chainrule.__all__)
    for name in chainrule.__all__:
        assert getattr(chainrule, name) is not None
    assert set(chainrule.__all__) <= set(dir(chainrule))


def test_type_checkers_see_the_same_names_as_python():
    tree = ast.parse(Path(str(chainrule.__file__)).read_text(encoding="utf-8"))
    blocks = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    seen: dict[str, str] = {}
    for block in blocks:
        for node in block.body:
            assert isinstance(node, ast.ImportFrom)
            for alias in node.names:
                assert alias.asname == alias.name, f"import {alias.name} as itself, or it is private to checkers"
                seen[alias.name] = str(node.module)
    assert set(seen) | {"__version__"} == set(chainrule.__all__)
    for name, home in seen.items():
        found = getattr(importlib.import_module(home), name, None) or importlib.import_module(f"{home}.{name}")
        assert found is getattr(chainrule, name)


def test_no_module_hides_a_public_function():
    inside = {module.name for module in pkgutil.iter_modules(chainrule.__path__)}
    functions = {name for name in chainrule.__all__ if not isinstance(getattr(chainrule, name), ModuleType)}
    assert not inside & functions


def test_an_unknown_name_is_refused_by_name():
    with pytest.raises(AttributeError, match="no attribute 'complie'"):
        chainrule.complie  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]


def test_every_home_of_a_name_can_be_the_first_that_is_imported():
    """Circles of imports show only in some orders."""
    program = """
import sys, importlib, chainrule
for home in sorted(set(chainrule._HOME_OF.values())):
    for name in [n for n in sys.modules if n.partition(".")[0] == "chainrule"]:
        del sys.modules[name]
    importlib.import_module(home)
"""
    run_python(program)
