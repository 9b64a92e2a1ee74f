"""Calibration of a run: are its posteriors as sure as they may be?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from qexp import assemble
from qexp.analysis.calibration import numbers
from qexp.analysis.calibration.bound import BesideBound
from qexp.analysis.calibration.exact import BesideExact
from qexp.analysis.calibration.judging import Beside, Judged
from qexp.analysis.calibration.observing import PURPOSE, blocks, quantiles_of
from qexp.analysis.calibration.placing import Placed, placed, together
from qexp.analysis.calibration.posteriors import OfHead, OnDone, Posteriors, Refined, prior_of
from qexp.analysis.evaluation.asked import ALL
from qexp.analysis.trained import load_model
from qexp.errors import QexpError
from qexp.metrics.calibration import power
from qexp.quantities import Quantities, quantity
from qexp.runs import figures
from qexp.runs.figures.calibration import FIGURES
from qexp.runs.record.calibration import Calibration, keep_calibration, with_verdict
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.held_out_intervals import intervals_of
from qexp.runs.record.names import now
from qexp.runs.record.trust import tables_of
from qexp.seeds import Seeds, require_seed
from qexp.simulation.dataset import GeneratedDataset, Part
from qexp.workspace import Workspace

OnObservation = Callable[[int, int], None]
"""Takes the number of observations that are done, and of all."""

LEAST_DRAWS, LEAST_SAMPLES = 20, 20
MOST, MOST_NUMBERS = 10_000_000, 1_000_000_000


@dataclass(frozen=True)
class Asked:
    """What to calibrate with.

    draws    from the prior, each with a simulated observation
    samples  from the posterior of each
    part     of the distributions: all, train, validation or test
    exact    observations whose posteriors are compared with the exact ones
    refined  whether posteriors by the likelihood are tested, instead of those of the network's head
    """

    draws: int = 2000
    samples: int = 1000
    part: str = ALL
    seed: int = 0
    exact: int = 0
    refined: bool = False

    def require_sensible(self) -> None:
        """Raise QexpError for numbers that cannot be."""
        if not LEAST_DRAWS <= self.draws <= MOST:
            raise QexpError(
                f"--draws {self.draws}: from {LEAST_DRAWS}, as fewer could show no fault at all, to {MOST:,}"
            )
        if not LEAST_SAMPLES <= self.samples <= MOST:
            raise QexpError(
                f"--samples {self.samples}: from {LEAST_SAMPLES}, for the ends of 90 % intervals, to {MOST:,}"
            )
        if self.draws * self.samples > MOST_NUMBERS:
            raise QexpError(
                f"--draws {self.draws:,} with --samples {self.samples:,}: {self.draws * self.samples:,} numbers of "
                f"each output are too many; at most {MOST_NUMBERS:,}"
            )
        if not 0 <= self.exact <= self.draws:
            raise QexpError(f"--exact {self.exact}: from 0 to the number of draws, {self.draws}")
        require_seed(self.seed)


def calibrate(
    directory: RunDirectory,
    workspace: Workspace,
    asked: Asked,
    device: str,
    on_observation: OnObservation,
    left_out: Callable[[str], None],
) -> Calibration:
    """Simulate observations, take their posteriors from the run, judge these, and keep what is found in the run.

    left_out  receives the reason for each figure that cannot be drawn
    Raises QexpError for a run without posteriors.
    """
    asked.require_sensible()
    figures.drawn_at_once()  # a wrong setting is refused before anything is made
    spec, tables, on = directory.training_spec(), tables_of(directory), assemble.device_of(device)
    if intervals_of(directory) is not None:
        raise QexpError(
            f"{directory.name} has intervals from held-out errors, not posteriors; how many held-out true values "
            f"these cover: qexp show {directory.name}"
        )
    dataset = assemble.generated_of(spec["dataset"], tables, workspace)
    model = load_model(directory, on)
    images = [name for name in dataset.generator.images(dataset.variables) if name in spec["inputs"]]
    held_out = [name for name, ranges in dataset.held_out.items() if ranges]
    tested: Posteriors = (
        Refined(model, dataset, images, spec["inputs"], held_out) if asked.refined else OfHead(model, held_out, on)
    )
    beside: Beside = BesideBound(dataset, tested.names, spec["inputs"])
    if asked.exact:
        beside = BesideExact(dataset, tested.names, images, spec["inputs"], asked.exact)
    part = quantiles_of(dataset, asked.part, spec["split"], directory.record().seed)
    with assemble.threads(assemble.threads_to_predict(spec, tables, on)):
        judged, doubted = _judged(tested, dataset, part, asked, on, beside, on_observation)
    caution = tested.caution(asked.part)
    made = _recorded(judged, dataset.quantities, directory.record().dataset, asked, beside, doubted, caution)
    table = numbers.table(judged, dataset.quantities, {"run": directory.name, "created": made.created})
    keep_calibration(directory, made, numbers.encoded(table))
    if figures.drawn_at_once():
        figures.draw(directory, only=tuple(FIGURES), left_out=left_out)
    return made


def _judged(
    tested: Posteriors,
    dataset: GeneratedDataset,
    part: Part,
    asked: Asked,
    on: torch.device,
    beside: Beside,
    on_observation: OnObservation,
) -> tuple[Judged, int]:
    """The statistics, and the number of observations whose draws are not to be trusted."""
    seeds, found, doubted, prior = Seeds(asked.seed), list[Placed](), 0, prior_of(dataset, tested.names)
    for block in blocks(dataset, part, asked.draws, tested.together, seeds, on):
        truth = np.stack([block.values[name] for name in tested.names], axis=1)
        on_done = _counting_from(block.start, asked.draws, on_observation)
        draws = tested.draws(block, truth, asked.samples, seeds, on_done)
        found.append(placed(truth, draws, prior, seeds.numpy(PURPOSE, "positions", block.number)))
        doubted += draws.doubted
        beside.add(block, draws, prior, seeds)
    return Judged(tested.names, together(found), prior), doubted


def _counting_from(start: int, count: int, on_observation: OnObservation) -> OnDone:
    return lambda done: on_observation(start + done, count)


def _recorded(
    judged: Judged,
    quantities: Quantities,
    dataset: str,
    asked: Asked,
    beside: Beside,
    doubted: int,
    caution: str,
) -> Calibration:
    seen, balls = power(asked.draws), judged.recorded("balls")
    assert balls is not None
    ratios = beside.ratios(Seeds(asked.seed))
    found = Calibration(
        dataset=dataset,
        refined=asked.refined,
        part=asked.part,
        seed=asked.seed,
        draws=asked.draws,
        samples=asked.samples,
        caution=caution,
        doubted=doubted,
        created=now(),
        notices_narrow=seen.narrow,
        notices_shift=seen.shift if np.isfinite(seen.shift) else None,
        outputs={
            name: judged.output(place, quantity(name, quantities).unit, ratios[place])
            for place, name in enumerate(judged.names)
        },
        density=judged.recorded("density"),
        balls=balls,
        exact=beside.recorded(),
    )
    return with_verdict(found)
