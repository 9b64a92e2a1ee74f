"""Vectors that are not like those of training are found, whatever the distribution, and fresh ones
that are like them hardly ever.
"""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from qexp.metrics.outliers import TrainingVectors

Draw = Callable[[np.random.Generator, int, int], np.ndarray]


def bump(place: np.ndarray, size: int) -> np.ndarray:
    return np.exp(-((np.linspace(0, 1, size) - place) ** 2) / 0.02)


def of_uniform(random: np.random.Generator, count: int, size: int) -> np.ndarray:
    """Numbers of sizes from 1e-3 to 1e6."""
    numbers = random.uniform(0, 1, (count, size)) + 0.1 * random.normal(size=(count, size))
    return numbers * np.geomspace(1e-3, 1e6, size)


def of_clusters(random: np.random.Generator, count: int, size: int) -> np.ndarray:
    return random.choice([-3, 3], (count, 1)) + 0.1 * random.normal(size=(count, size))


def of_heavy_tails(random: np.random.Generator, count: int, size: int) -> np.ndarray:
    return random.standard_t(1.5, (count, size)) + random.uniform(-3, 3, (count, 1))


def of_counts(random: np.random.Generator, count: int, size: int) -> np.ndarray:
    """Some of them rarely more than none."""
    return random.poisson(
        random.uniform(0.5, 2, (count, 1)) * np.geomspace(1e-4, 100, size)
    ).astype(float)


def of_curves(random: np.random.Generator, count: int, size: int) -> np.ndarray:
    return bump(random.uniform(0.2, 0.8, (count, 1)), size) + 0.02 * random.normal(
        size=(count, size)
    )


def of_decades(random: np.random.Generator, count: int, size: int) -> np.ndarray:
    return np.exp(2 * random.normal(size=(count, 1)) + 0.1 * random.normal(size=(count, size)))


def of_rain(random: np.random.Generator, count: int, size: int) -> np.ndarray:
    return random.exponential(1, (count, size)) * (random.uniform(size=(count, size)) < 0.003)


KINDS: list[Draw] = [
    of_uniform,
    of_clusters,
    of_heavy_tails,
    of_counts,
    of_curves,
    of_decades,
    of_rain,
]


def seen(draw: Draw, size: int, count: int = 1700) -> TrainingVectors:
    return TrainingVectors(draw(np.random.default_rng(0), count, size))


def any_of(of: TrainingVectors, vectors: np.ndarray) -> np.ndarray:
    each, together = of.outside(vectors)
    return each.any(axis=1) | together


@pytest.mark.heavy
@pytest.mark.parametrize("size", [1, 10, 200])
@pytest.mark.parametrize("draw", KINDS, ids=lambda draw: draw.__name__)
def test_fresh_vectors_of_the_same_distribution_are_outside_at_most_once_in_a_hundred(draw, size):
    fresh = draw(np.random.default_rng(1), 2000, size)
    assert any_of(seen(draw, size), fresh).mean() <= 0.015


def unlike(size: int) -> Iterator[tuple[Draw, str, np.ndarray]]:
    random, count, scale = np.random.default_rng(2), 200, np.geomspace(1e-3, 1e6, size)
    far = of_uniform(random, count, size)
    far[:, 0] = 3e-3
    yield of_uniform, "one number, the smallest, nine deviations beyond", far
    yield of_uniform, "all numbers noisier", (0.5 + 20 * random.normal(size=(count, size))) * scale
    yield (
        of_clusters,
        "between two clusters, in the middle of all",
        0.1 * random.normal(size=(count, size)),
    )
    yield of_heavy_tails, "a number far in the tail", of_heavy_tails(random, count, size) * 1e9
    yield of_counts, "counts a hundred times as many", 100 * of_counts(random, count, size) + 300
    yield of_curves, "a peak beyond its places", bump(np.full((count, 1), 1.0), size) - 0.1
    yield of_curves, "no peak", 0.3 + 0.02 * random.normal(size=(count, size))
    yield (
        of_decades,
        "off the line",
        of_decades(random, count, size) * np.where(np.arange(size) % 2, 30, 1),
    )


@pytest.mark.heavy
@pytest.mark.parametrize("size", [2, 10, 200])
def test_what_is_unlike_all_training_vectors_is_outside(size):
    for draw, words, vectors in unlike(size):
        assert any_of(seen(draw, size), vectors).mean() > 0.9, (draw.__name__, words)


def test_the_middle_is_not_outside_nor_a_constant_but_another_one_and_no_gap_is():
    of = TrainingVectors(
        np.concatenate([of_uniform(np.random.default_rng(0), 500, 2), np.full((500, 2), 0.1)], 1)
    )
    middle = np.array([[0.5e-3, 0.5e6, 0.1, 0.1]])
    assert not any_of(of, middle)[0]
    assert of.outside(middle + np.array([0, 0, 0, 0.01]))[0].tolist() == [
        [False, False, False, True]
    ]
    assert of.outside(np.array([[3e-3, np.nan, 0.1, np.inf]]))[0].tolist() == [
        [True, False, False, True]
    ]
    low, high = of.limits()
    assert (low[2], high[2]) == (0.1, 0.1)
    assert -0.7e-3 < low[0] < -0.2e-3


@pytest.mark.parametrize("count", [17, 40])
def test_a_few_vectors_tell_what_is_far_away(count):
    of = seen(of_uniform, 3, count)
    assert not any_of(of, np.array([[0.5e-3, 0.5 * 10**1.5, 0.5e6]]))[0]
    assert any_of(of, np.array([[0.5e-3, 0.5 * 10**1.5, 1e9]]))[0]
