"""The model for predicting from spectra with a finished run: its network and the layout of files."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from qexp import assemble
from qexp.analysis.intervals.folds import means_of_folds
from qexp.analysis.intervals.new_rows import new_intervals
from qexp.analysis.prediction.draws import draws_of
from qexp.analysis.prediction.spectra.estimates import SpectrumModel
from qexp.analysis.prediction.spectra.sources import SpectrumLayout
from qexp.analysis.prediction.trained import ranges_of_targets
from qexp.analysis.trained import load_model
from qexp.datasets.spectra import SPECTRUM
from qexp.errors import QexpError
from qexp.limits import limits_of
from qexp.networks.estimator import Posterior, with_quantiles
from qexp.runs.record.directory import RunDirectory


def spectrum_model(
    directory: RunDirectory, device: str = "auto", interval: float | None = None, draws: int | None = None
) -> SpectrumModel:
    """The model of a run for `predict_spectra`.

    interval  coverage of the intervals; see `new_intervals`
    draws     from the posterior of each spectrum, which are written to a file of their own
    Raises QexpError if the run is not done or estimates only spectra, or if draws are asked for without a posterior
    head.
    """
    record, spec = directory.record(), directory.training_spec()
    outputs = [name for name in spec["outputs"] if name != SPECTRUM]
    if not outputs:
        raise QexpError(
            f"{directory.name} reconstructs masked spectra and estimates no other quantity; train a run with a target "
            f"and pretrain={directory.name} in its experience, and predict with that"
        )
    if others := [name for name in spec["inputs"] if name != SPECTRUM]:
        raise QexpError(
            f"{directory.name} needs {', '.join(others)} besides spectra, which files of spectra do not contain"
        )
    on = assemble.device_of(device)
    model, intervals = load_model(directory, on).eval(), new_intervals(directory, interval, [""])
    probabilities = () if intervals is None else intervals.probabilities

    @torch.no_grad()
    def estimate(counts: NDArray[np.float32]) -> NDArray[np.float32]:
        made = with_quantiles(model, {SPECTRUM: torch.from_numpy(counts).to(on)}, probabilities)
        columns: list[NDArray[np.floating]] = []
        for name in outputs:
            of_network = means_of_folds(model, name, made[name][None], [1], probabilities)
            columns += [of_network.estimate[0], *(intervals.rules[name].ends(of_network) if intervals else ())]
        return np.stack(columns, axis=1).astype(np.float32)

    def posterior(counts: NDArray[np.float32]) -> Posterior:
        return model.posterior({SPECTRUM: torch.from_numpy(counts).to(on)})

    dataset = spec["dataset"]
    return SpectrumModel(
        layout=SpectrumLayout(dataset["channels"], dataset["columns"], dataset["core"], dataset["depth"]),
        outputs={name: record.units.get(name, "") for name in outputs},
        estimate=estimate,
        limits=limits_of(spec),
        trained=ranges_of_targets(record, model.periods),
        depth_unit=dataset["units"].get(dataset["depth"] or "", "mm"),
        origin={"run": directory.name, "digest": record.digest, "caution": record.caution},
        intervals=intervals,
        posterior=posterior if model.network.heads else None,
        draws=draws_of(model.network, record, draws),
    )
