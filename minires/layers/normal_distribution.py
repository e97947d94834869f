"""The normal distribution, which NumPy lacks: how likely a number drawn from it is less than x, and its density."""

import math

from minires.backend import array_module
from minires.types import Array

# (1 + x) exp(x^2 / 2) (1 - cdf(x)) for x from 0 to infinity as a polynomial in t = (x - 4) / (x + 4), from t^23 down to
# 1: its Chebyshev series, whose next term is below 5e-17.
_SERIES = (
    -6.763267210562454e-10,
    -1.5456221598143852e-09,
    5.474708632048689e-09,
    1.7442583764419795e-08,
    -1.7932121916642413e-08,
    -1.1022354013739079e-07,
    -1.237153366992197e-09,
    5.507747965364098e-07,
    4.0671730125154447e-07,
    -2.6118464340168558e-06,
    -3.433372216853275e-06,
    1.3626315192600401e-05,
    2.1250446856208376e-05,
    -8.785300442645791e-05,
    -9.443033944152223e-05,
    0.0006948970692570495,
    -0.00028562308680939413,
    -0.0050023785870514665,
    0.01793609747886859,
    -0.03219783742831453,
    0.02860036405357749,
    0.013999634724430469,
    -0.09670347732652607,
    0.47205320650984467,
)


def normal_cdf(x: Array) -> Array:
    """P(Z <= x) of Z from the standard normal distribution: (1 + erf(x / sqrt(2))) / 2. Element-wise.

    Its tail from |x| on is exp(-x^2 / 2) times a slowly varying function, for which one series does from 0 to infinity,
    without a branch that would part the numbers of an array. Off by 2e-16 at most in float64.
    Source: Shepherd and Laframboise 1981.
    """
    xp = array_module(x)
    size = xp.minimum(xp.absolute(x), 40.0)  # beyond that the tail is 0 in any precision, and infinity no number
    t = (size - 4) / (size + 4)
    series = _SERIES[0] * t + _SERIES[1]
    for coefficient in _SERIES[2:]:
        series *= t
        series += coefficient
    tail = series * xp.exp(size * size * -0.5) / (size + 1)
    sign = xp.sign(x)
    return (sign + 1) * 0.5 - sign * tail  # the tail below 0, one less the tail above


def normal_density(x: Array) -> Array:
    """exp(-x^2 / 2) / sqrt(2 pi), the derivative of `normal_cdf`. Element-wise."""
    xp = array_module(x)
    size = xp.minimum(xp.absolute(x), 40.0)
    return xp.exp(size * size * -0.5) * (1 / math.sqrt(2 * math.pi))
