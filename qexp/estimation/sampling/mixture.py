"""Mixtures of multivariate Student's t, from which posteriors are sampled by importance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

Array = NDArray[np.float64]

DEGREES = 5.0
"""Of freedom of Student's t: tails that are heavier than those of most posteriors."""

LEAST_SHARE = 1e-3
"""Components with a smaller share of the weights are left out."""

LEAST_OF_PRIOR = 0.05
"""Least share of the prior, which keeps weights bounded wherever the likelihood is."""

ROUNDS = 8
"""Of expectation and maximisation."""


@dataclass(frozen=True)
class Mixture:
    """Student's t distributions, and a standard normal one, the prior, for what they do not reach.

    shares   (component,)  they add up to 1 − `of_prior`
    centres  (component, coordinate)
    roots    (component, coordinate, coordinate)  lower Cholesky factors of their scale matrices
    """

    shares: Array
    centres: Array
    roots: Array
    of_prior: float

    def draws(self, count: int, random: np.random.Generator, degrees: float = DEGREES) -> Array:
        """(draw, coordinate), with the components in proportion to their shares.

        degrees  of freedom of the components
        """
        components = len(self.shares)
        shares = np.append(self.shares, self.of_prior)
        at = (np.arange(count) + random.random()) / count
        chosen = np.minimum(np.searchsorted(np.cumsum(shares / shares.sum()), at), components)
        normal = random.standard_normal((count, self.centres.shape[1]))
        stretch = np.ones(count) if np.isinf(degrees) else np.sqrt(degrees / random.chisquare(degrees, count))
        own = np.minimum(chosen, components - 1)
        moved = self.centres[own] + stretch[:, None] * np.einsum("nij,nj->ni", self.roots[own], normal)
        return np.where((chosen < components)[:, None], moved, normal)

    def wider(self, factor: float) -> Mixture:
        """The components alone, without the prior, `factor` times as wide."""
        return Mixture(self.shares, self.centres, factor * self.roots, 0.0)

    def log_density(self, draws: Array) -> Array:
        """(draw,)"""
        return np.asarray(np.logaddexp.reduce(self._parts(draws)[0], axis=1))

    def fitted(self, draws: Array, weights: Array) -> Mixture:
        """The mixture that weighted draws are most likely from, by expectation and maximisation from this one.

        Peel and McLachlan (2000), Stat. Comput. 10, 339-348; with weights, Cappé, Douc, Guillin, Marin and Robert
        (2008), Stat. Comput. 18, 447-459.
        """
        now, size, count = self, draws.shape[1], weights.sum() ** 2 / np.square(weights).sum()
        for _ in range(ROUNDS):
            parts, distances = now._parts(draws)
            belongs = np.exp(parts - np.logaddexp.reduce(parts, axis=1, keepdims=True)) * weights[:, None]
            belongs, of_prior = belongs[:, :-1], max(LEAST_OF_PRIOR, float(belongs[:, -1].sum()))
            shares = belongs.sum(axis=0)
            kept = shares > LEAST_SHARE
            belongs, shares = belongs[:, kept], shares[kept]
            if not len(shares):
                return now
            pulled = belongs * (DEGREES + size) / (DEGREES + distances[:, kept])
            centres = pulled.T @ draws / pulled.sum(axis=0)[:, None]
            apart = draws[None] - centres[:, None]
            scales = ((apart * pulled.T[..., None]).swapaxes(1, 2) @ apart) / shares[:, None, None]
            scales = _shrunk(scales, shares, count)
            now = Mixture(shares / shares.sum() * (1 - of_prior), centres, _roots(scales), of_prior)
        return now

    def _parts(self, draws: Array) -> tuple[Array, Array]:
        """Logarithms of share times density by each component and last the prior, (draw, component + 1); and squared
        distances in units of the components' scales, (draw, component).
        """
        size, count = draws.shape[1], len(self.shares)
        inverse, offsets, constants = self._prepared
        distances = np.square((draws @ inverse.T - offsets).reshape(-1, count, size)).sum(axis=2)
        of_each = constants - 0.5 * (DEGREES + size) * np.log1p(distances / DEGREES)
        of_prior = -0.5 * np.square(draws).sum(axis=1) - 0.5 * size * np.log(2 * np.pi)
        with np.errstate(divide="ignore"):
            return np.column_stack([of_each, of_prior + np.log(self.of_prior)]), distances

    @cached_property
    def _prepared(self) -> tuple[Array, Array, Array]:
        """The inverses of all roots, one below the other; these times the centres; and logarithms of share times
        density at the centres.
        """
        size = self.centres.shape[1]
        inverse: Array = np.asarray(np.linalg.inv(self.roots), dtype=np.float64)
        volume = np.log(np.diagonal(self.roots, axis1=1, axis2=2)).sum(axis=1)
        constant = gammaln((DEGREES + size) / 2) - gammaln(DEGREES / 2) - 0.5 * size * np.log(DEGREES * np.pi)
        offsets = np.einsum("kij,kj->ki", inverse, self.centres).ravel()
        constants: Array = constant - volume + np.log(self.shares)
        return inverse.reshape(-1, size), offsets, constants


def mixture(log_shares: Sequence[float] | Array, centres: Array, covariances: Array, of_prior: float) -> Mixture:
    """Components with these relative shares."""
    log = np.asarray(log_shares, dtype=np.float64)
    shares = np.exp(log - np.logaddexp.reduce(log)) * (1 - of_prior)
    return Mixture(shares, centres, _roots(covariances), of_prior)


def _shrunk(scales: Array, shares: Array, count: float) -> Array:
    """Scales of components, those with few effective draws moved towards the mean of all: alone they would be too small
    for what lies between the draws.
    """
    mean = np.einsum("k,kij->ij", shares / shares.sum(), scales)
    draws, few = (shares * count)[:, None, None], scales.shape[1] + 2
    return np.asarray((draws * scales + few * mean) / (draws + few))


def _roots(covariances: Array) -> Array:
    """Cholesky factors; directions that are not determined get a width of their own."""
    sizes, vectors = np.linalg.eigh(covariances)
    least = 1e-10 * sizes.max(axis=1, keepdims=True) + 1e-300
    safe = np.einsum("kij,kj,klj->kil", vectors, np.maximum(sizes, least), vectors)
    return np.asarray(np.linalg.cholesky(safe))
