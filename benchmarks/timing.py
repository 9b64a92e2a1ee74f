"""Two ways of doing a thing, timed in turn, so that a machine that slows down slows both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Comparison:
    """Medians over the repetitions; the ratio is the median of the pairs' ratios."""

    name: str
    ours: float
    other: float
    ratio: float
    spread: tuple[float, float]
    demand: str
    """What the ratio must be, in words."""
    holds: bool


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def at_most(
    name: str,
    ours: Callable[[], object],
    other: Callable[[], object],
    limit: float,
    repeats: int = 9,
) -> Comparison:
    """Ours may take at most `limit` times as long as the other."""
    pairs = _pairs(ours, other, repeats)
    ratios = [a / b for a, b in pairs]
    ratio = statistics.median(ratios)
    return _comparison(name, pairs, ratios, f"≤ {limit:g}", ratio <= limit)


def at_least(
    name: str,
    ours: Callable[[], object],
    other: Callable[[], object],
    limit: float,
    repeats: int = 9,
) -> Comparison:
    """Ours must be at least `limit` times as fast as the other; the ratio is how many times."""
    pairs = _pairs(ours, other, repeats)
    ratios = [b / a for a, b in pairs]
    return _comparison(name, pairs, ratios, f"≥ {limit:g}", statistics.median(ratios) >= limit)


def _pairs(
    ours: Callable[[], object], other: Callable[[], object], repeats: int
) -> list[tuple[float, float]]:
    ours(), other()  # once unmeasured: caches, pages, threads
    return [(seconds(ours), seconds(other)) for _ in range(repeats)]


def _comparison(
    name: str, pairs: list[tuple[float, float]], ratios: list[float], demand: str, holds: bool
) -> Comparison:
    ours, other = (statistics.median(times) for times in zip(*pairs, strict=True))
    return Comparison(
        name, ours, other, statistics.median(ratios), (min(ratios), max(ratios)), demand, holds
    )
