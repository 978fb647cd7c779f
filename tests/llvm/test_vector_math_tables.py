"""The coefficients in the source are those that the derivation gives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_derivation_prints_the_coefficients_file() -> None:
    script = ROOT / "benchmarks" / "derive_polynomials.py"
    printed = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True).stdout
    kept = ROOT / "backends" / "llvm" / "kernels" / "vector_math" / "coefficients.py"
    assert printed == kept.read_text()


def test_the_bits_of_two_over_pi_and_the_parts_of_half_pi_are_right() -> None:
    import mpmath

    from chainrule.backends.llvm.kernels.vector_math import reduction

    with mpmath.workprec(1400):
        assert int(mpmath.floor(2 / mpmath.pi * mpmath.mpf(2) ** 1216)) == reduction.TWO_OVER_PI_BITS
        rest = mpmath.pi / 2 - sum(mpmath.mpf(part) for part in reduction.HALF_PI_PARTS)
        assert abs(rest) < mpmath.mpf(2) ** -150
        assert float(mpmath.pi / 2 - mpmath.mpf(reduction.HALF_PI_PARTS[0])) == reduction.HALF_PI_REST
        for part in reduction.HALF_PI_PARTS[:3]:
            assert (mpmath.frexp(mpmath.mpf(part))[0] * 2**33) % 1 == 0
