"""Calibration of a run: are its posteriors as sure as they may be?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from qexp import assemble
from qexp.analysis.calibration import numbers
from qexp.analysis.calibration.judging import Judged
from qexp.analysis.calibration.observing import PURPOSE, blocks, of_head, prior_of, quantiles_of
from qexp.analysis.calibration.placing import Placed, placed, together
from qexp.analysis.evaluation.asked import ALL
from qexp.analysis.prediction.predictor import load_model
from qexp.calibration.uniformity import power
from qexp.datasets.generated import GeneratedDataset
from qexp.errors import QexpError
from qexp.models.inversion import Inversion
from qexp.quantities import Quantities, quantity
from qexp.runs import figures
from qexp.runs.figures.calibration import FIGURES
from qexp.runs.record.calibration import Calibration, keep_calibration
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.held_out_intervals import intervals_of
from qexp.runs.record.names import now
from qexp.runs.record.trust import tables_of
from qexp.seeds import Seeds
from qexp.workspace import Workspace

OnObservation = Callable[[int, int], None]
"""Takes the number of observations that are done, and of all."""

LEAST_DRAWS, LEAST_SAMPLES = 20, 20


@dataclass(frozen=True)
class Asked:
    """What to calibrate with.

    draws    from the prior, each with a simulated observation
    samples  from the posterior of each
    part     of the distributions: all, train, validation or test
    """

    draws: int = 2000
    samples: int = 1000
    part: str = ALL
    seed: int = 0

    def require_sensible(self) -> None:
        """Raise QexpError for numbers that cannot be."""
        if self.draws < LEAST_DRAWS:
            raise QexpError(f"--draws {self.draws}: at least {LEAST_DRAWS}; fewer could show no fault at all")
        if self.samples < LEAST_SAMPLES:
            raise QexpError(f"--samples {self.samples}: at least {LEAST_SAMPLES}, for the ends of 90 % intervals")
        if self.seed < 0:
            raise QexpError(f"--seed {self.seed}: a seed is a whole number from 0 on")


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
    part = quantiles_of(dataset, asked.part, spec["split"], directory.record().seed)
    with assemble.threads(assemble.threads_to_predict(spec, tables, on)):
        judged = _judged(model, dataset, part, asked, on, on_observation)
    made = _recorded(judged, dataset.quantities, directory.record().dataset, asked)
    table = numbers.table(judged, dataset.quantities, {"run": directory.name, "part": asked.part})
    keep_calibration(directory, made, numbers.encoded(table))
    if figures.drawn_at_once():
        figures.draw(directory, only=tuple(FIGURES), left_out=left_out)
    return made


def _judged(
    model: Inversion,
    dataset: GeneratedDataset,
    part: Any,
    asked: Asked,
    on: torch.device,
    on_observation: OnObservation,
) -> Judged:
    seeds, found, names = Seeds(asked.seed), list[Placed](), list[str]()
    for block in blocks(dataset, part, asked.draws, seeds, on):
        names = names or model.posterior(block.samples).names
        prior = prior_of(dataset, names)
        truth = np.stack([block.values[name] for name in names], axis=1)
        random = seeds.torch(on, PURPOSE, "draws", block.number)
        draws = of_head(model, block, truth, asked.samples, random)
        found.append(placed(truth, draws, prior, seeds.numpy(PURPOSE, "positions", block.number)))
        on_observation(block.start + len(truth), asked.draws)
    return Judged(names, together(found), prior_of(dataset, names))


def _recorded(judged: Judged, quantities: Quantities, dataset: str, asked: Asked) -> Calibration:
    seen, balls = power(asked.draws), judged.recorded("balls")
    assert balls is not None
    return Calibration(
        dataset=dataset,
        part=asked.part,
        seed=asked.seed,
        draws=asked.draws,
        samples=asked.samples,
        created=now(),
        notices_narrow=seen.narrow,
        notices_shift=seen.shift if np.isfinite(seen.shift) else None,
        outputs={
            name: judged.output(place, quantity(name, quantities).unit, None) for place, name in enumerate(judged.names)
        },
        density=judged.recorded("density"),
        balls=balls,
    )
