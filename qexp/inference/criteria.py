"""Information criteria: whether more parameters explain data better than chance would."""

from __future__ import annotations

import math


def aicc(chi2: float, points: int, unknowns: int) -> float:
    """Akaike's information criterion with its correction for few points, but for a constant;
    smaller is better.

    The size of the noise counts as one more unknown, so that errors that were declared too small or
    too large by a factor do not decide: N ln(χ²/N) + 2K + 2K(K + 1)/(N − K − 1), K = unknowns + 1.
    Infinite for too few points. Hurvich and Tsai (1989), Biometrika 76, 297-307.
    """
    count = unknowns + 1
    if points <= count + 1:
        return math.inf
    return _misfit(chi2, points) + 2 * count + 2 * count * (count + 1) / (points - count - 1)


def bic(chi2: float, points: int, unknowns: int) -> float:
    """Schwarz's Bayesian information criterion, with the same unknowns: N ln(χ²/N) + K ln N.

    Schwarz (1978), Ann. Stat. 6, 461-464.
    """
    return _misfit(chi2, points) + (unknowns + 1) * math.log(points)


def _misfit(chi2: float, points: int) -> float:
    return points * math.log(chi2 / points) if chi2 > 0 else -math.inf
