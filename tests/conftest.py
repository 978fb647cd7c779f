"""Options and hypothesis profiles of the whole suite, and the lint over all LLVM code that it builds."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from chainrule.backends.llvm import jit
from chainrule.backends.llvm.lint import lint_ir

# No profile has a deadline: a compile in the middle of an example is not a fault, and no test asserts a time.
hypothesis.settings.register_profile("dev", deadline=None, max_examples=50)
hypothesis.settings.register_profile("ci", deadline=None, max_examples=50, derandomize=True, print_blob=True)
hypothesis.settings.register_profile("long", deadline=None, max_examples=1000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))

# The user's own compile cache is left alone; one in the checkout still spares a second run the compiles.
os.environ.setdefault("CHAINRULE_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "chainrule"))

_END_TIME = pytest.StashKey[float]()


class LintedModules(list[jit.Module]):
    """Takes every module that is compiled or loaded, and keeps of it only what the lint says."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[bytes] = set()
        self.faults: list[str] = []

    def append(self, module: jit.Module) -> None:
        digest = hashlib.sha256(module.text.encode()).digest()
        if digest in self.seen:
            return
        self.seen.add(digest)
        where = os.environ.get("PYTEST_CURRENT_TEST", "outside of a test")
        self.faults += [f"{module.exports[0]}, {fault} ({where})" for fault in lint_ir(module.text, module.imports)]

    def __iadd__(self, modules: Iterable[jit.Module]) -> LintedModules:
        for module in modules:
            self.append(module)
        return self


_MODULES = pytest.StashKey[LintedModules]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--bless` rewrites golden texts; `--seconds` bounds a run: what has not begun by then is skipped, and said so.

    `--onnx-models` names a folder of ONNX models that nobody here wrote; tests that want some are skipped without it.
    """
    parser.addoption("--bless", action="store_true", help="rewrite the golden texts with what the code now prints")
    parser.addoption("--seconds", type=float, default=None, help="skip the tests that have not begun after SECONDS")
    parser.addoption("--onnx-models", default=os.environ.get("CHAINRULE_ONNX_MODELS"), metavar="FOLDER",
                     help="a folder with ONNX models, at any depth, for the tests on real ones")  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):  # workers of pytest-xdist ignore Ctrl-C, which some tests are about
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.stash[_MODULES] = LintedModules()
    jit.record_modules(config.stash[_MODULES])
    if config.pluginmanager.hasplugin("dsession"):
        config.pluginmanager.register(WorkersModules(config.stash[_MODULES]))
    seconds = config.getoption("--seconds")
    if seconds is not None:
        config.stash[_END_TIME] = time.monotonic() + seconds


def pytest_runtest_setup(item: pytest.Item) -> None:
    if time.monotonic() > item.config.stash.get(_END_TIME, float("inf")):
        pytest.skip("the time given with --seconds is over")


@pytest.fixture
def bless(request: pytest.FixtureRequest) -> bool:
    """True when the run was asked to rewrite golden texts instead of comparing with them."""
    return bool(request.config.getoption("--bless"))


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None]:
    """A fault in any LLVM module fails the session, whatever its tests say."""
    yield
    jit.record_modules(None)
    modules = session.config.stash[_MODULES]
    # A worker of pytest-xdist hands what it found to the process that started it.
    output: dict[str, object] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["modules"] = {"seen": [digest.hex() for digest in modules.seen], "faults": modules.faults}
    if modules.faults and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


class WorkersModules:
    """Gathers what the workers of pytest-xdist linted."""

    def __init__(self, modules: LintedModules) -> None:
        self.modules = modules

    def pytest_testnodedown(self, node: Any, error: object) -> None:
        found = getattr(node, "workeroutput", {}).get("modules", {"seen": [], "faults": []})
        self.modules.seen |= {bytes.fromhex(digest) for digest in found["seen"]}
        self.modules.faults += found["faults"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Says how many modules were linted, and every fault."""
    modules = config.stash[_MODULES]
    if modules.faults:
        terminalreporter.section("faults in LLVM modules", red=True, bold=True)
        for fault in modules.faults:
            terminalreporter.write_line(fault)
    if modules.seen:
        terminalreporter.write_line(f"{len(modules.seen)} LLVM modules linted, {len(modules.faults)} faults")
