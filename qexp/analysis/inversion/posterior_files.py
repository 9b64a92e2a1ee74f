"""Files of a posterior: draws as ArviZ reads them, a corner plot, and a table of intervals in LaTeX."""

from __future__ import annotations

import io
import math

import numpy as np

from qexp.analysis.comparison.typesetting import Table, latex
from qexp.analysis.inversion.posterior import COVERAGE, SourcePosterior
from qexp.figures.canvas import encoded
from qexp.figures.corner import Drawn, corner
from qexp.observations.observation import Observation
from qexp.runs.figures import drawn_at_once

DRAWS, PICTURE, TABLE = "posterior.nc", "posterior.png", "posterior.tex"

FORMAT = "qexp posterior 1"


def posterior_files(one: SourcePosterior, source: str, observation: Observation, history: str) -> dict[str, bytes]:
    """Name → content."""
    made = {DRAWS: _netcdf(one, source, observation, history), TABLE: _latex(one, source).encode()}
    if drawn_at_once():
        drawn = [
            Drawn(name, of.unit, values) for (name, of), values in zip(one.parameters.items(), one.all.T, strict=True)
        ]
        made[PICTURE] = encoded(corner(drawn, _title(one, source)), "png")
    return made


def _title(one: SourcePosterior, source: str) -> str:
    return f"Posterior of {source}: {len(one.all):,} draws, medians and {100 * COVERAGE:.0f} % intervals"


def _netcdf(one: SourcePosterior, source: str, observation: Observation, history: str) -> bytes:
    """NetCDF-4 with the groups of ArviZ' InferenceData: posterior, its statistics, and data, observed and predicted."""
    import xarray

    both = ("chain", "draw")
    chains, draws = one.draws.shape[:2]
    axes = {"chain": np.arange(chains), "draw": np.arange(draws)}
    posterior = xarray.Dataset(
        {
            name: (both, one.draws[..., column], {
                "units": of.unit, "long_name": name.replace("_", " "), "prior": of.prior,
                "prior_least": of.least, "prior_largest": of.largest,
            })
            for column, (name, of) in enumerate(one.parameters.items())
        },
        axes,
    )  # fmt: skip
    if one.noise_factor is not None:
        words = {"units": "1", "long_name": "factor of the declared errors"}
        posterior["noise_factor"] = (both, one.noise_factor, words)
    statistics = xarray.Dataset({"lp": (both, one.log_density, {"long_name": "logarithm of the density"})}, axes)
    seen = [track.seen() for track in observation.tracks]
    tracks = {"track": ("point", np.repeat([track.name for track in seen], [track.size for track in seen]))}
    measured = np.concatenate([track.displacement for track in seen])
    data = xarray.Dataset({"displacement": ("point", measured, {"units": "m"})}, tracks)
    some = one.predicted.shape[1]
    predicted = xarray.Dataset(
        {"displacement": ((*both, "point"), one.predicted.astype(np.float32), {"units": "m"})},
        {"chain": axes["chain"], "draw": np.arange(some), **tracks},
    )
    found = {"pareto_k": one.found.pareto_k, "ess": one.found.ess, "r_hat": one.found.r_hat}
    about = {
        "qexp_format": FORMAT, "title": f"posterior of {source}", "inference_library": "qexp", "history": history,
        "method": one.found.method, "remarks": "; ".join(one.remarks),
        **{name: value for name, value in found.items() if value is not None},
    }  # fmt: skip
    tree = xarray.DataTree(xarray.Dataset(attrs=about))
    groups = {
        "posterior": posterior, "sample_stats": statistics, "posterior_predictive": predicted, "observed_data": data
    }  # fmt: skip
    for name, group in groups.items():
        group.attrs = {"inference_library": "qexp"}
        tree[name] = xarray.DataTree(group)
    content = io.BytesIO()
    tree.to_netcdf(content, engine="h5netcdf")
    return content.getvalue()


def _latex(one: SourcePosterior, source: str) -> str:
    columns = ["parameter", "unit", "median", f"{100 * COVERAGE:.0f} % interval"]
    rows = []
    for name, of in one.parameters.items():
        width = (of.high - of.low) / 4 or abs(of.median) or 1.0
        places = max(0, 1 - math.floor(math.log10(width)))
        median, low, high = (f"{value:.{places}f}" for value in (of.median, of.low, of.high))
        rows.append([name.replace("_", " "), of.unit, median, f"{low} to {high}"])
    table = Table(f"Posterior of the source {source}.", columns, rows, frozenset(columns[2:]))
    return latex([table], list(one.remarks))
