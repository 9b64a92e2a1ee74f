"""A finished run on spectra as what estimates other spectra: its network, and how spectra lie in files."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from qexp import assemble
from qexp.analysis.prediction.predictor import load_model
from qexp.analysis.prediction.spectra import SpectrumModel
from qexp.analysis.prediction.spectrum_sources import Layout
from qexp.datasets.spectra import SPECTRUM
from qexp.errors import QexpError
from qexp.runs.record.directory import RunDirectory


def spectrum_model(directory: RunDirectory, device: str = "auto") -> SpectrumModel:
    """What `predict_spectra` needs of a run. Raises QexpError if it is not done, or estimates no number."""
    record, spec = directory.record(), directory.spec()
    outputs = [name for name in spec["outputs"] if name != SPECTRUM]
    if not outputs:
        raise QexpError(
            f"{directory.name} makes spectra again that are masked, and estimates no number of them; start a run with "
            f"a target from it, with pretrain={directory.name} in its experience, and predict with that"
        )
    if others := [name for name in spec["inputs"] if name != SPECTRUM]:
        raise QexpError(f"{directory.name} takes {', '.join(others)} besides spectra, which files of spectra have not")
    on = assemble.device_of(device)
    model = load_model(directory, on)

    def estimate(counts: NDArray[np.float32]) -> NDArray[np.float32]:
        made = model.estimate({SPECTRUM: torch.from_numpy(counts).to(on)}, batch_size=len(counts))
        return torch.cat([made[name] for name in outputs], dim=1).cpu().numpy()

    dataset = spec["dataset"]
    return SpectrumModel(
        layout=Layout(dataset["channels"], dataset["columns"], dataset["core"], dataset["depth"]),
        outputs={name: record.units.get(name, "") for name in outputs},
        estimate=estimate,
        depth_unit=dataset["units"].get(dataset["depth"] or "", "mm"),
        origin={"run": directory.name, "digest": record.digest, "caution": record.caution},
    )
