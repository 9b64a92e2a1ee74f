"""Predictions of a finished run, in physical units, from plain arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from qexp import assemble
from qexp.analysis.intervals.folds import means_of_folds, networks_of_folds
from qexp.analysis.intervals.new_rows import rules_of_run
from qexp.analysis.trained import load_models
from qexp.did_you_mean import suggestion
from qexp.errors import QexpError
from qexp.models.ensemble import Ensemble
from qexp.models.posterior import mixed
from qexp.models.shapes import Shape, written
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.trust import tables_of

if TYPE_CHECKING:
    import xarray


class Predictor:
    """Estimates from arrays; see `predict`."""

    def __init__(self, directory: RunDirectory, device: str = "auto") -> None:
        self.device = assemble.device_of(device)
        models = load_models(directory, self.device)
        self.network, self.ensemble = models[0].network, Ensemble(models)
        self.directory, self.units = directory, directory.record().units
        self._threads = assemble.threads_to_predict(directory.spec(), tables_of(directory), self.device)

    def predict(self, inputs: Mapping[str, ArrayLike]) -> dict[str, NDArray[np.float32]]:
        """Estimates of all outputs, (sample,) each, in the outputs' units; the mean over the networks of all folds.

        inputs  variable → (sample, height, width), (sample, height, width, channel), (sample, column) or (sample,), in
                the variable's unit; without the sample axis for a single one, which gives estimates without it
        Raises QexpError for a missing or unknown input or one of another shape.
        """
        tensors, single = self._batch(inputs)
        with assemble.threads(self._threads):
            estimated = self.ensemble.mean_and_spread(tensors)
        arrays = {name: mean.cpu().numpy() for name, (mean, _) in estimated.items()}
        arrays = {name: array[:, 0] if array.shape[1:] == (1,) else array for name, array in arrays.items()}
        return {name: array[0] for name, array in arrays.items()} if single else arrays

    def interval(self, inputs: Mapping[str, ArrayLike], coverage: float) -> dict[str, tuple[NDArray[Any], ...]]:
        """Lower and upper ends of the intervals of rows or spectra, in the shape of their estimates; see `predict`.

        Raises QexpError as `predict` does, and for a run whose held-out errors do not promise this coverage.
        """
        sizes, first = networks_of_folds(self.directory), self.ensemble.models[0]
        made_by = rules_of_run(self.directory, coverage, list(sizes))
        rules, probabilities = made_by.rules, made_by.probabilities
        tensors, single = self._batch(inputs)

        def ends(name: str, values: torch.Tensor) -> list[torch.Tensor]:
            low, high = rules[name].ends(means_of_folds(first, name, values, list(sizes.values()), probabilities))
            return [torch.from_numpy(np.stack([low, high], axis=1))]

        with assemble.threads(self._threads):
            made = {name: both.numpy() for name, (both,) in self.ensemble.reduced(tensors, ends, probabilities).items()}
        low, high = ({name: both[:, end].astype(np.float32) for name, both in made.items()} for end in (0, 1))
        return {name: (low[name][0], high[name][0]) if single else (low[name], high[name]) for name in made}

    def posterior(self, inputs: Mapping[str, ArrayLike], draws: int, seed: int) -> xarray.Dataset:
        """Draws from the joint posterior of the outputs of posterior heads, in their units.

        inputs   as for `predict`
        returns  output → (chain, draw, sample), one chain, as ArviZ takes them; (chain, draw) for a single sample
        Of several networks, such as those of folds, each makes an equal share of the draws: their mixture.
        Raises QexpError as `predict` does, and for a network without posterior head.
        """
        import xarray

        if draws < 1:
            raise QexpError(f"{draws} draws: at least one")
        tensors, single = self._batch(inputs)
        with assemble.threads(self._threads), torch.no_grad():
            posteriors = [model.posterior(tensors) for model in self.ensemble.models]
            made = mixed(posteriors, draws, torch.Generator(self.device).manual_seed(seed)).cpu().numpy()
        dimensions = ("chain", "draw") if single else ("chain", "draw", "sample")
        values = made[None, :, 0] if single else made[None]
        variables = {
            name: (dimensions, values[..., place], {"units": self.units.get(name, "")})
            for place, name in enumerate(posteriors[0].names)
        }
        return xarray.Dataset(
            variables, {name: np.arange(size) for name, size in zip(dimensions, values.shape, strict=False)}
        )

    def _batch(self, inputs: Mapping[str, ArrayLike]) -> tuple[dict[str, torch.Tensor], bool]:
        """The inputs as tensors on the device, (sample, ...), and whether it was a single sample."""
        wanted = self.network.inputs
        for name in inputs:
            if name not in wanted:
                raise QexpError(f"the model has no input '{name}'; {suggestion(name, wanted)}")
        for name in wanted:
            if name not in inputs:
                raise QexpError(f"the model needs the input '{name}'")
        tensors, single = {}, False
        for name, shape in wanted.items():
            tensors[name], single = _as_batch(name, np.asarray(inputs[name], dtype=np.float32), shape)
        if len({len(tensor) for tensor in tensors.values()}) > 1:
            counts = ", ".join(f"{name}: {len(tensor)}" for name, tensor in tensors.items())
            raise QexpError(f"all inputs must have the same number of samples, but have {counts}")
        return {name: one.to(self.device) for name, one in tensors.items()}, single


def _as_batch(name: str, array: NDArray[np.float32], shape: Shape) -> tuple[torch.Tensor, bool]:
    """(sample, channel, height, width) or (sample, feature), and whether it was a single sample."""
    channels_last = (*shape[1:], shape[0])
    accepted = [channels_last] + ([channels_last[:-1]] if shape[0] == 1 else [])
    for sample_shape in accepted:
        single = array.shape == sample_shape
        if single or array.shape[1:] == sample_shape:
            batch = torch.from_numpy(np.ascontiguousarray(array)).reshape(-1, *channels_last)
            return (batch.permute(0, 3, 1, 2) if len(shape) == 3 else batch), single
    raise QexpError(f"'{name}' must have samples of shape {written(shape)}, but the array is {list(array.shape)}")
