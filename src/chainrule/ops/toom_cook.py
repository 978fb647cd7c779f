"""Short convolutions with fewest products: the matrices of F(m, r), made from interpolation points.

F(m, r) gives m neighbouring outputs of a kernel of r taps from n = m + r - 1 inputs by n products:
y = A((G w) * (B x)). The products are the values of a polynomial at n - 1 points and at infinity (Toom and Cook);
transposed, the polynomial product becomes a convolution. Points come in pairs +-p, so that two rows share their even
and their odd half.

Errors grow with the spread of the points' powers: +-1/sqrt2 and +-sqrt2 err a third of what the usual +-1 and +-2 do,
at equal cost. Sources: Winograd, "Arithmetic Complexity of Computations", 1980; Lavin and Gray, "Fast Algorithms for
Convolutional Neural Networks", 2016; Barabasz et al., "Error Analysis and Improving the Accuracy of Winograd
Convolution", 2020, for the choice of points.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, localcontext
from functools import cache

Matrix = tuple[tuple[float, ...], ...]

# The squares of the points +-p beside 0 and infinity, by the number of products.
SQUARES: dict[int, tuple[str, ...]] = {4: ("1",), 6: ("0.5", "2"), 8: ("0.25", "1", "4")}
_DIGITS = 60  # of the arithmetic, so that what should be 0 or 2.5 is


@dataclass(frozen=True)
class ShortConvolution:
    """outputs: A [m, n]; weights: G [n, r]; inputs: B [n, n]. Row or column 0 is the point 0, the last is infinity."""

    outputs: Matrix
    weights: Matrix
    inputs: Matrix

    @property
    def products(self) -> int:
        return len(self.inputs)


def has_points(outputs: int, taps: int) -> bool:
    """True when F(outputs, taps) is among those that there are points for."""
    return outputs >= 2 and taps >= 2 and outputs + taps - 1 in SQUARES


@cache
def short_convolution(outputs: int, taps: int) -> ShortConvolution:
    """The matrices of F(outputs, taps), rounded once to float64."""
    count = outputs + taps - 1
    with localcontext() as context:
        context.prec = _DIGITS
        points = [Decimal(0)]
        for square in SQUARES[count]:
            root = Decimal(square).sqrt()
            points += [root, -root]
        inputs, weights = list[list[Decimal]](), list[list[Decimal]]()
        for j, point in enumerate(points):
            others = points[:j] + points[j + 1 :]
            scale = Decimal(1)
            for other in others:
                scale *= point - other
            inputs.append([*_polynomial(others), Decimal(0)])
            weights.append([point**k / scale if k else 1 / scale for k in range(taps)])
        inputs.append(_polynomial(points))
        weights.append([Decimal(int(k == taps - 1)) for k in range(taps)])
        powers = [[*(p**i if i else Decimal(1) for p in points), Decimal(int(i == outputs - 1))]
                  for i in range(outputs)]  # fmt: skip
        return ShortConvolution(_rounded(powers), _rounded(weights), _rounded(inputs))


def _polynomial(roots: list[Decimal]) -> list[Decimal]:
    """The coefficients of the product of (x - root), the constant first."""
    found = [Decimal(1)]
    for root in roots:
        shifted, scaled = [Decimal(0), *found], [*(root * c for c in found), Decimal(0)]
        found = [a - b for a, b in zip(shifted, scaled, strict=True)]
    return found


def _rounded(rows: list[list[Decimal]]) -> Matrix:
    places = Decimal(10) ** -(_DIGITS // 2)
    return tuple(tuple(float(v.quantize(places)) + 0.0 for v in row) for row in rows)
