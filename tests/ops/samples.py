"""All samples of all ops: every samples_*.py beside this file joined, in order of file name."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from tests.ops.sample import BadSample, Sample

FILES = tuple(sorted(path.stem for path in Path(__file__).parent.glob("samples_*.py")))
_MODULES = tuple(import_module(f"tests.ops.{name}") for name in FILES)

SAMPLES: tuple[Sample, ...] = tuple(sample for module in _MODULES for sample in module.SAMPLES)
BAD: tuple[BadSample, ...] = tuple(sample for module in _MODULES for sample in module.BAD)
