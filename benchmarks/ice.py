"""Errors of emulated ice velocities on glaciers that were held out from training, over seeds. Takes
an hour.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import mean

import qexp
from qexp.base.workspace import find

SEEDS = range(3)
LIMITS = {
    "ice_cnn": 5.0,
    "ice_unet": 5.0,
    "ice_coupled_cnn": 8.0,
    "ice_coupled_unet": 8.0,
    "ice_coupled_pointwise": None,
}
"""Experience → largest mean error, in percent of the mean speed; None: see `TIMES_BETTER`."""
TIMES_BETTER = 3.0
COUPLING = 4.0


@dataclass(frozen=True)
class Row:
    experience: str
    percent: list[float]
    """Mean error of the velocity, as a vector, in percent of the mean speed, where ice is thicker
    than 1 m; by seed.
    """
    seconds: float
    """Mean training time."""
    limit: float | None

    @property
    def mean(self) -> float:
        return mean(self.percent)

    @property
    def holds(self) -> bool:
        return self.limit is None or self.mean <= self.limit


def measure() -> list[Row]:
    data = find().root / "data"
    if not (data / "ice").exists():
        qexp.make_ice(data / "ice")
    qexp.make_ice(data / "ice_coupled", coupling=COUPLING)
    rows = []
    for name, limit in LIMITS.items():
        runs = [qexp.run(name, seed=seed) for seed in SEEDS]
        percent = [run.record["errors"]["vectors"]["ubar, vbar"]["percent"] for run in runs]
        rows.append(Row(name, percent, mean(run.record["seconds"] for run in runs), limit))
    return rows
