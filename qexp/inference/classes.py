"""Probabilities of the classes of simulated images, by the evidence of each."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.special import logsumexp, ndtri, softmax
from scipy.stats import qmc

from qexp.base.arrays import Array
from qexp.base.options import Counted, uncounted
from qexp.errors import QexpError
from qexp.inference.density import PosteriorDensity, Signals
from qexp.inference.evidence import log_mean
from qexp.inference.image_posteriors import STARTS, Likelihood, Likelihoods, proposals
from qexp.inference.refinement import Samples
from qexp.inference.sampling import Mixture as Proposal, adapt, effective, resample
from qexp.simulation.mixture import Mixture

LOG2_OF_DRAWS = 14
"""Of the draws from the prior of each class."""

SPANNING, NEGLIGIBLE = 2**10, 1e-4
"""Draws whose signals span those of all; and what is left out, see `Signals.reduced`."""

COMPARED = 64
"""Draws by which the evidence from such signals is corrected to that from all numbers."""

ENOUGH_DRAWS, AROUND_MODES = 200.0, 1500
"""Effective number of draws from which on no others are drawn around the modes; and those."""

UNLIKELY = 15.0
"""Below the largest logarithm, from which on the probability of a class is taken as none by its
evidence by Laplace's method, or by draws from the prior.
"""

AT_A_TIME = 2**24
"""Numbers of a matrix of observations and draws."""


@dataclass(frozen=True)
class ClassProbabilities:
    """probabilities  (sample, class)
    errors         (sample, class)  their standard errors
    log_evidence   (sample, class)  natural logarithms, over that of no source
    """

    probabilities: Array
    errors: Array
    log_evidence: Array


def class_probabilities(
    dataset: Mixture,
    samples: Samples,
    images: Sequence[str],
    known: Collection[str] = (),
    *,
    seed: int = 0,
    around_modes: bool = True,
    on_sample: Counted = uncounted,
) -> ClassProbabilities:
    """The probabilities of the classes of images, by their priors and the declared noise.

    samples       what is known of each, as the dataset makes them
    images        names of those that are seen
    known         variables that are given beside them
    around_modes  whether draws around the modes of a posterior take the place of draws from the
                  prior where few of these matter, as for signals far above the noise; these take
                  about a second for a class and a sample

    The evidence of a class is the mean of its likelihood over its prior: by quasi-random draws
    (Sobol 1967) that are the same for all samples, or by adaptive importance sampling. Raises
    QexpError for a dataset whose likelihood is not known.
    """
    count = len(samples[images[0]])
    logs = np.zeros((count, len(dataset.members)))
    errors = np.zeros_like(logs)
    uncertain: list[list[tuple[float, int, _Refined]]] = [[] for _ in range(count)]
    for column, (name, member) in enumerate(dataset.members.items()):
        if not getattr(member.generator, "sources", True):
            continue  # of noise alone
        try:
            likelihoods = Likelihoods(member, images, known, averaging=False)
        except QexpError as lack:
            raise QexpError(f"{dataset.variable} '{name}': {lack}") from lack
        for group, likelihood in likelihoods(samples):
            evidence = _ByPrior(likelihood, np.random.default_rng([seed, column]))
            logs[group, column], errors[group, column] = evidence.logs, evidence.errors
            if around_modes:
                for row, refined in evidence.refined():
                    uncertain[group[row]].append((refined.estimate, column, refined))
    shares = np.log(dataset.probabilities)
    random = np.random.default_rng([seed, len(shares)])
    for row, classes in enumerate(uncertain):
        on_sample(row, count)
        columns = [column for _, column, _ in classes]
        best = max(np.delete(logs[row] + shares, columns), default=-math.inf)
        for estimate, column, refined in sorted(classes, key=lambda each: -each[0]):
            if estimate + shares[column] > best - UNLIKELY:
                logs[row, column], errors[row, column] = refined.evidence(random)
                best = max(best, logs[row, column] + shares[column])
    posterior = softmax(logs + shares, axis=1)
    # to first order, of independent errors of the logarithms
    squares = np.square(posterior * errors)
    variance = squares.sum(axis=1, keepdims=True) * np.square(posterior)
    variance += squares * (1 - 2 * posterior)
    return ClassProbabilities(posterior, np.sqrt(variance), logs)


class _ByPrior:
    """The evidence of observations by draws from the prior.

    logs    (observation,)  over the evidence of no source
    errors  (observation,)
    """

    def __init__(self, likelihood: Likelihood, random: np.random.Generator) -> None:
        if likelihood.level is not None:
            raise QexpError("the level of the noise is unknown; put 'noise' into 'fixed'")
        prior, signals = likelihood.prior, likelihood.signals
        sobol = qmc.Sobol(len(prior.free), rng=random).random_base2(LOG2_OF_DRAWS)
        scores = ndtri(sobol.clip(1e-9, 1 - 1e-9))
        moved = signals.lengthless(prior.values(scores[:SPANNING]))
        few = signals.reduced(moved, negligible=NEGLIGIBLE)
        self._exact = signals
        self.likelihood = replace(likelihood, signals=few or signals)
        of_draws = self.likelihood.signals(prior.values(scores))
        possible = of_draws[:, 0].isfinite()
        self.log_share = math.log(float(possible.double().mean()))
        of_draws, scores = of_draws[possible], scores[possible.numpy()]
        halves = of_draws.square().sum(dim=1) / 2
        logs, errors, starts = [], [], []
        for data in self.likelihood.signals.data.split(max(1, AT_A_TIME // len(of_draws))):
            log = (data @ of_draws.mT - halves).numpy()
            total = logsumexp(log, axis=1)
            logs.append(total - math.log(len(of_draws)))
            errors.append(np.sqrt(np.square(np.exp(log - total[:, None])).sum(axis=1)))
            starts.append(scores[np.argpartition(-log, STARTS, axis=1)[:, :STARTS]])
        self.logs, self.errors = np.concatenate(logs), np.concatenate(errors)
        self._starts = np.concatenate(starts)

    def refined(self) -> list[tuple[int, _Refined]]:
        """Observations of which few draws matter, and their evidence around the modes."""
        rows = np.flatnonzero(self.errors > ENOUGH_DRAWS**-0.5)
        whole, which = self.likelihood.signals, torch.from_numpy(rows)
        signals = Signals(whole.model, whole.whiten, whole.data[which], whole.rest[which])
        pairs = proposals(self.likelihood, signals, self._starts[rows])
        found = []
        for row, (density, proposal) in zip(rows.tolist(), pairs, strict=True):
            exact = replace(density, signals=self._exact.of_observation(row))
            found.append((row, _Refined(density, exact, proposal, self.log_share)))
        return found


class _Refined:
    """The evidence of an observation by draws around its modes.

    estimate  the logarithm of the evidence by Laplace's method, but for what is impossible
    """

    def __init__(
        self,
        density: PosteriorDensity,
        exact: PosteriorDensity,
        proposal: Proposal,
        log_share: float,
    ) -> None:
        self.density, self.exact, self.proposal = density, exact, proposal
        self._log_share = log_share
        signals = density.signals
        self._none = -float(signals.data.square().sum() + signals.rest) / 2
        self._of_prior = proposal.centres.shape[1] / 2 * math.log(2 * math.pi)
        volumes = np.log(np.diagonal(proposal.roots, axis1=1, axis2=2)).sum(axis=1)
        self.estimate = float(logsumexp(density(proposal.centres) + volumes)) - self._none

    def evidence(self, random: np.random.Generator) -> tuple[float, float]:
        """The logarithm of the evidence over that of no source, and its error."""
        found = self._by(self.proposal, random)
        if found[1] > ENOUGH_DRAWS**-0.5:
            found = self._by(adapt(self.density, self.proposal, random), random)
        return found

    def _by(self, proposal: Proposal, random: np.random.Generator) -> tuple[float, float]:
        scores = proposal.draws(AROUND_MODES, random)
        logs = self.density(scores) - proposal.log_density(scores)
        weights = np.exp(logs - logs.max())
        chosen = scores[resample(weights, COMPARED, random)]
        apart = self.exact(chosen) - self.density(chosen)
        of_weights = max(1 / effective(weights) - 1 / AROUND_MODES, 0.0)
        over_none = log_mean(logs) + log_mean(apart) - self._none
        log = over_none - self._of_prior - self._log_share
        return log, math.sqrt(of_weights + float(apart.var()) / COMPARED)
