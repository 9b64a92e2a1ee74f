"""`calibration.nc`: what the figures of a calibration are drawn from, and every observation's own numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from qexp.analysis.calibration.judging import Judged, Local
from qexp.analysis.calibration.placing import PROBABILITIES
from qexp.metrics.calibration import Uniformity, uniformity
from qexp.quantities import Quantities, quantity
from qexp.runs.record.calibration import INTERVAL

if TYPE_CHECKING:
    import xarray

OBSERVATION, QUANTILE, POINT = "observation", "quantile", "point"


def table(judged: Judged, quantities: Quantities, attributes: Mapping[str, Any]) -> xarray.Dataset:
    """True values, positions and quantiles of every observation; distribution functions with their band; cells."""
    import xarray

    placed = judged.placed
    variables: dict[str, Any] = {"ball_level": (OBSERVATION, placed.balls, {"long_name": _BALLS})}
    if len(placed.density):
        variables["density_level"] = (OBSERVATION, placed.density, {"long_name": _DENSITY})
    for place, name in enumerate(judged.names):
        of = quantity(name, quantities)
        in_unit = {"units": of.unit, "long_name": of.description}
        variables[name] = (OBSERVATION, placed.truth[:, place], in_unit)
        variables[f"{name}_quantile"] = ((OBSERVATION, QUANTILE), placed.quantiles[:, place], in_unit)
        variables[f"{name}_position"] = (OBSERVATION, placed.positions[:, place], {"long_name": _POSITION})
        variables |= _distribution(f"{name}_position", judged.ranks[place])
        variables |= _distribution(f"{name}_level", uniformity(judged.central(place)))
        variables |= _cells(name, judged, judged.local[place])
    for region, of_region in judged.regions.items():
        variables |= _distribution(f"{'ball' if region == 'balls' else region}_level", of_region)
    one = judged.ranks[0]
    variables |= {"lower": (POINT, one.lower), "upper": (POINT, one.upper)}
    coordinates = {QUANTILE: list(PROBABILITIES), POINT: one.points}
    return xarray.Dataset(variables, coordinates, {**attributes, "interval": INTERVAL, "outputs": judged.names})


_POSITION = "share of the posterior's draws below the true value; uniform if the posteriors are right"
_DENSITY = (
    "posterior probability of the smallest region that holds the true values; uniform if the posteriors are right"
)
_BALLS = "posterior probability of the ball around a random point that reaches to the true values; likewise"


def _distribution(name: str, of: Uniformity) -> dict[str, Any]:
    words = f"share of observations with {name} of at most each point"
    return {f"{name}_share": (POINT, of.share, {"long_name": words})}


def _cells(name: str, judged: Judged, local: Local) -> dict[str, Any]:
    """Numbers of observations in cells, of those whose interval holds the truth, and where that is beyond chance."""
    axes = [judged.names[place] for place in local.axes]
    dims = [f"{name}_cell_{axis}" for axis in axes]
    made: dict[str, Any] = {}
    for words, found in (("estimate", local.by_estimates), ("truth", local.by_truth)):
        made[f"{name}_{words}_count"] = (dims, found.count, {"axes": axes})
        made[f"{name}_{words}_inside"] = (dims, found.inside)
        made[f"{name}_{words}_wrong"] = (dims, found.wrong)
    for place, axis, dim in zip(local.axes, axes, dims, strict=True):
        edges = judged.prior.values(place, np.linspace(0, 1, local.by_estimates.count.shape[0] + 1))
        made[f"{dim}_edge"] = (f"{dim}_edge_number", edges, {"long_name": f"edges of the cells of {axis}"})
    return made


def encoded(of: xarray.Dataset) -> bytes:
    return bytes(of.to_netcdf(engine="h5netcdf"))


def names_of(of: xarray.Dataset) -> Sequence[str]:
    """The outputs of a table."""
    found = of.attrs["outputs"]
    return [found] if isinstance(found, str) else [str(one) for one in found]
