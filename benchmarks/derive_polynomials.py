"""Derives the coefficients in backends/llvm/kernels/vector_math/coefficients.py and prints that file.

Each table is the polynomial whose largest weighted error is smallest (the exchange algorithm of Remez, 220 bits), with
coefficients rounded to the table's type afterwards. Needs mpmath. Run:

    python benchmarks/derive_polynomials.py > backends/llvm/kernels/vector_math/coefficients.py
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import mpmath as mp
import numpy as np

Real = Callable[[mp.mpf], mp.mpf]
TINY = mp.mpf(2) ** -70


@dataclass(frozen=True)
class Table:
    """p of `degree` minimising max |weight * (p - f)| on [lo, hi]; the text says what p stands for."""

    name: str
    says: str
    f: Real
    lo: mp.mpf
    hi: mp.mpf
    degree: int
    weight: Real
    bits: int = 64


def exchange(f: Real, lo: mp.mpf, hi: mp.mpf, degree: int, weight: Real) -> tuple[list[mp.mpf], mp.mpf]:
    """Coefficients, lowest first, and the largest weighted error."""
    unknowns, steps = degree + 2, 30 * (degree + 2)
    grid = sorted((lo + hi) / 2 + (hi - lo) / 2 * mp.cos(mp.pi * i / steps) for i in range(steps + 1))
    values, weights = [f(x) for x in grid], [abs(weight(x)) for x in grid]
    floor = max(weights) * mp.mpf("1e-5")
    weights = [max(w, floor) for w in weights]
    chosen = [round(i * steps / (unknowns - 1)) for i in range(unknowns)]
    for _ in range(8):
        matrix, right = mp.matrix(unknowns, unknowns), mp.matrix(unknowns, 1)
        for row, i in enumerate(chosen):
            for power in range(degree + 1):
                matrix[row, power] = weights[i] * grid[i] ** power
            matrix[row, degree + 1] = (-1) ** row
            right[row] = values[i] * weights[i]
        solved = mp.lu_solve(matrix, right)
        found, level = [solved[j] for j in range(degree + 1)], abs(solved[degree + 1])
        errors = [w * (mp.polyval(found[::-1], x) - y) for x, y, w in zip(grid, values, weights, strict=True)]
        extrema = alternating_extrema(errors)
        while len(extrema) > unknowns:
            extrema.pop(0 if abs(errors[extrema[0]]) < abs(errors[extrema[-1]]) else -1)
        largest = max(abs(e) for e in errors)
        if len(extrema) < unknowns or largest < level * mp.mpf("1.02"):
            break
        chosen = extrema
    return found, largest


def alternating_extrema(errors: list[mp.mpf]) -> list[int]:
    """The place of the largest error in every run of one sign."""
    places: list[int] = []
    for i, error in enumerate(errors):
        if not places or (error > 0) != (errors[places[-1]] > 0):
            places.append(i)
        elif abs(error) > abs(errors[places[-1]]):
            places[-1] = i
    return places


def near_zero(f: Real, limit: object) -> Real:
    """f, with its limit at 0."""
    return lambda x: mp.mpf(limit) if abs(x) < TINY else f(x)


def of_square(f: Real, limit: object) -> Real:
    """f(sqrt(t)) as a function of t, with its limit at 0."""
    return lambda t: mp.mpf(limit) if abs(t) < TINY else f(mp.sqrt(t))


def one(_: mp.mpf) -> mp.mpf:
    return mp.mpf(1)


def itself(t: mp.mpf) -> mp.mpf:
    return t


def tables() -> list[Table]:
    """Every table of the library."""
    half_ln2 = mp.log(2) / 2 * mp.mpf("1.005")
    tail = near_zero(lambda r: (mp.exp(r) - 1 - r) / r**2, 0.5)
    found = [
        Table(
            f"EXP_{name}",
            "(e^r - 1 - r) / r^2, |r| <= ln(2)/2",
            tail,
            -half_ln2,
            half_ln2,
            degree,
            lambda r: r**2 / mp.exp(r),
            bits,
        )
        for name, bits, degree in (("32", 32, 4), ("MIDDLE_64", 64, 5), ("64", 64, 10))
    ]
    half = mp.mpf("0.503")
    power = near_zero(lambda r: (mp.power(2, r) - 1) / r, mp.log(2))
    for name, degree, bits in (
        ("EXP2_32", 5, 32),
        ("EXP2_SHORT_32", 4, 32),
        ("EXP2_MIDDLE_64", 7, 64),
        ("EXP2_64", 11, 64),
    ):
        found.append(Table(name, "(2^r - 1) / r, |r| <= 1/2", power, -half, half, degree, itself, bits))
    tanh_part = of_square(lambda r: (mp.tanh(r) / r - 1) / r**2, mp.mpf(-1) / 3)
    for bits, degree in ((32, 3), (64, 8)):
        found.append(
            Table(
                f"TANH_{bits}",
                "(tanh(r)/r - 1) / r^2 in r^2, |r| <= ln(2)/2",
                tanh_part,
                mp.mpf(0),
                half_ln2**2,
                degree,
                itself,
                bits,
            )
        )
    found += logarithms() + circular() + errors()
    sinh_part = of_square(lambda r: (mp.sinh(r) / r - 1) / r**2, mp.mpf(1) / 6)
    says = "(sinh(x)/x - 1) / x^2 in x^2, |x| <= 1.2"
    for bits, degree in ((32, 3), (64, 6)):
        found.append(Table(f"SINH_{bits}", says, sinh_part, mp.mpf(0), mp.mpf("1.45"), degree, itself, bits))
    found.append(
        Table(
            "CBRT_64",
            "r^(-1/3), |r - 1| <= 0.11",
            lambda r: r ** (-mp.mpf(1) / 3),
            mp.mpf("0.89"),
            mp.mpf("1.11"),
            4,
            one,
        )
    )
    return found


def logarithms() -> list[Table]:
    """ln of a number between sqrt(1/2) and sqrt(2)."""
    lo, hi = mp.sqrt(mp.mpf("0.5")) - 1, mp.sqrt(2) - 1

    def part(f: mp.mpf) -> mp.mpf:
        return mp.mpf(1) / 3 - f / 4 if abs(f) < mp.mpf(2) ** -40 else (mp.log1p(f) - f + f * f / 2) / f**3

    def relative(f: mp.mpf) -> mp.mpf:
        return mp.mpf(0) if abs(f) < mp.mpf(2) ** -40 else f**3 / mp.log1p(f)

    found = [Table("LOG_32", "(ln(1+f) - f + f^2/2) / f^3, sqrt(1/2) <= 1+f <= sqrt(2)", part, lo, hi, 7, relative, 32)]
    s = (mp.sqrt(2) - 1) / (mp.sqrt(2) + 1) * mp.mpf("1.0001")
    odd = of_square(lambda s: (2 * mp.atanh(s) / s - 2) / s**2, mp.mpf(2) / 3)
    for name, degree in (("LOG_MIDDLE_64", 3), ("LOG_64", 6)):
        found.append(Table(name, "(2 atanh(s)/s - 2) / s^2 in s^2, s = f/(2+f)", odd, mp.mpf(0), s * s, degree, itself))
    rest = of_square(lambda s: ((2 * mp.atanh(s) / s - 2) / s**2 - mp.mpf(2) / 3) / s**2, mp.mpf(2) / 5)
    found.append(
        Table(
            "LOG_REST_64",
            "(2 atanh(s)/s - 2 - 2 s^2/3) / s^4 in s^2, s = f/(2+f)",
            rest,
            mp.mpf(0),
            s * s,
            7,
            lambda t: t * t,
        )
    )
    atanh_part = of_square(lambda x: (mp.atanh(x) / x - 1) / x**2, mp.mpf(1) / 3)
    asinh_part = of_square(lambda x: (mp.asinh(x) / x - 1) / x**2, mp.mpf(-1) / 6)
    for name, part_of in (("ATANH", atanh_part), ("ASINH", asinh_part)):
        says = f"({name.lower()}(x)/x - 1) / x^2 in x^2, |x| <= 0.3"
        for bits, degree in ((32, 3), (64, 9)):
            found.append(Table(f"{name}_{bits}", says, part_of, mp.mpf(0), mp.mpf("0.09"), degree, itself, bits))
    return found


def circular() -> list[Table]:
    """sin, cos, asin, atan."""
    quarter = (mp.pi / 4) ** 2 * mp.mpf("1.01")
    sine = of_square(lambda r: (mp.sin(r) / r - 1) / r**2, -mp.mpf(1) / 6)
    cosine = of_square(lambda r: (mp.cos(r) - 1 + r * r / 2) / r**4, mp.mpf(1) / 24)
    found: list[Table] = []
    for name, bits, degree in (("32", 32, 2), ("MIDDLE_64", 64, 3), ("64", 64, 6)):
        found.append(
            Table(
                f"SIN_{name}",
                "(sin(r)/r - 1) / r^2 in r^2, |r| <= pi/4",
                sine,
                mp.mpf(0),
                quarter,
                degree,
                itself,
                bits,
            )
        )
    for name, bits, degree in (("32", 32, 2), ("MIDDLE_64", 64, 2), ("64", 64, 5)):
        found.append(
            Table(
                f"COS_{name}",
                "(cos(r) - 1 + r^2/2) / r^4 in r^2, |r| <= pi/4",
                cosine,
                mp.mpf(0),
                quarter,
                degree,
                lambda t: t * t,
                bits,
            )
        )
    arcsine = of_square(lambda x: (mp.asin(x) / x - 1) / x**2, mp.mpf(1) / 6)
    arctangent = of_square(lambda x: (mp.atan(x) / x - 1) / x**2, -mp.mpf(1) / 3)
    for name, part_of, single, double in (("ASIN", arcsine, 4, 12), ("ATAN", arctangent, 5, 12)):
        says = f"({name.lower()}(x)/x - 1) / x^2 in x^2, |x| <= 1/2"
        for bits, degree in ((32, single), (64, double)):
            found.append(Table(f"{name}_{bits}", says, part_of, mp.mpf(0), mp.mpf("0.25"), degree, itself, bits))
    return found


def errors() -> list[Table]:
    """erf, erfc and the normal distribution function."""
    slope = 2 / mp.sqrt(mp.pi)
    small = of_square(lambda x: mp.erf(x) / x - 1, slope - 1)

    def log2_erfc(x: mp.mpf) -> mp.mpf:
        return mp.log(mp.erfc(x), 2)

    def log2_tail(x: mp.mpf) -> mp.mpf:
        return log2_erfc(x / mp.sqrt(2)) - 1

    def x_of(t: mp.mpf) -> mp.mpf:
        return 3 * (1 + t) / (1 - t)

    def scaled(t: mp.mpf) -> mp.mpf:
        x = x_of(t)
        return x * mp.erfc(x) * mp.exp(x * x) - mp.mpf(0.5)

    ends = mp.mpf("-2.2") / mp.mpf("3.8"), mp.mpf(25) / 31
    says = "x e^(x^2) erfc(x) - 1/2 in t = (x-3)/(x+3), 0.8 <= x <= 28"
    return [
        Table("ERF_32", "erf(x)/x - 1 in x^2, |x| <= 1", small, mp.mpf(0), mp.mpf(1), 6, one, 32),
        Table("ERFC_LOG2_32", "log2(erfc(x)), 1 <= x <= 4", log2_erfc, mp.mpf(1), mp.mpf(4), 6, mp.erfc, 32),
        Table(
            "NORMAL_LOG2_32",
            "log2(erfc(x/sqrt(2))/2), 0 <= x <= 5.7",
            log2_tail,
            mp.mpf(0),
            mp.mpf("5.7"),
            8,
            lambda x: mp.erfc(x / mp.sqrt(2)),
            32,
        ),
        Table("ERF_MIDDLE_64", "erf(x)/x - 1 in x^2, |x| <= 0.8", small, mp.mpf(0), mp.mpf("0.64"), 8, one),
        Table("ERF_64", "erf(x)/x - 1 in x^2, |x| <= 0.8", small, mp.mpf(0), mp.mpf("0.64"), 12, one),
        Table("ERFC_MIDDLE_64", says, scaled, *ends, 12, lambda t: 1 / (scaled(t) + mp.mpf(0.5))),
        Table("ERFC_64", says, scaled, *ends, 20, lambda t: 1 / (scaled(t) + mp.mpf(0.5))),
    ]


def main() -> None:
    """Prints the module."""
    mp.mp.prec = 220
    print(
        '"""Minimax polynomials, coefficients lowest first. Written by benchmarks/derive_polynomials.py, not by hand.\n'
    )
    print("The number that ends a name is the type of the coefficients. MIDDLE tables have about 34 bits and serve")
    print('float32 results that are computed in float64.\n"""\n')
    print("from __future__ import annotations\n")
    listed = tables()
    for table in listed:
        found, error = exchange(table.f, table.lo, table.hi, table.degree, table.weight)
        rounded = [float(np.float32(float(c))) if table.bits == 32 else float(c) for c in found]
        print(f"# {table.says}; error 2^{float(mp.log(error, 2)):.1f}")
        print(f"{table.name} = (")
        for value in rounded:
            print(f"    {value!r},")
        print(")\n" if table is not listed[-1] else ")")


if __name__ == "__main__":
    main()
