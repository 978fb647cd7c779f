"""PyTorch's own tables of modules and ops."""

from __future__ import annotations

import sys
import types
import unittest
from typing import Any

import pytest

# The tables' modules import it for tests of their own, and nothing here needs it.
_unneeded: Any = types.ModuleType("expecttest")
_unneeded.TestCase = unittest.TestCase
sys.modules.setdefault("expecttest", _unneeded)
_modules: Any = pytest.importorskip("torch.testing._internal.common_modules")
_ops: Any = pytest.importorskip("torch.testing._internal.common_methods_invocations")

MODULES: list[Any] = _modules.module_db
OPS: dict[str, list[Any]] = {}
for _op in _ops.op_db:
    OPS.setdefault(_op.name, []).append(_op)
