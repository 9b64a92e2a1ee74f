"""Errors of the lunar TiO2 experiences on measured samples, over seeds, and the required errors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

import qexp
from qexp.errors import QexpError
from qexp.kinds.rows.spec import STAND_IN

SEEDS = (0, 1, 2)

DEMANDED = {
    "lunar_tio2_as_published": (0.35, 0.51),
    "lunar_tio2_dlim": (1.1, 1.3),
    "lunar_tio2": (0.0, 0.93),
    "lunar_tio2_by_mission": (0.0, 1.84),
}
"""Bounds of the mean error over seeds, in wt%."""


@dataclass(frozen=True)
class Judged:
    experience: str
    errors: list[float]
    """Error for each seed over all held-out rows, in wt%."""
    baselines: dict[str, float]
    """Mean over the seeds; all are evaluated on the same rows."""
    seconds: float
    """Training time per seed."""
    demanded: tuple[float, float]

    @property
    def mean(self) -> float:
        return float(np.mean(self.errors))

    @property
    def holds(self) -> bool:
        return self.demanded[0] <= self.mean <= self.demanded[1]


def measure() -> Iterator[Judged]:
    """One experience after the other. Raises QexpError without the measured samples."""
    for name, demanded in DEMANDED.items():
        runs = [run(name, seed) for seed in SEEDS]
        compared = [line for run in runs for line in run.record["comparison"]]
        baselines = list(
            dict.fromkeys(line["estimator"] for line in compared if line["estimator"] != "network")
        )
        yield Judged(
            name,
            [run.results["test"]["tio2"]["rmse"] for run in runs],
            {
                baseline: float(
                    np.mean([line["rmse"] for line in compared if line["estimator"] == baseline])
                )
                for baseline in baselines
            },
            float(np.mean([run.record["seconds"] for run in runs])),
            demanded,
        )


def run(name: str, seed: int) -> qexp.Run:
    result = qexp.run(name, seed=seed, device="cpu")
    if STAND_IN in result.record["caution"]:
        raise QexpError(
            f"{name} was {STAND_IN}; add the folder that holds lunar/data_Kaguya_TiO2.csv to"
            " QEXP_DATA"
        )
    return result
