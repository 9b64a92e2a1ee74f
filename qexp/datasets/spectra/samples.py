"""Spectra for training: in a new order every epoch, with new random numbers for the masks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qexp.datasets.spectra.dataset import MASK, SPECTRUM, SpectraDataset
from qexp.seeds import Seeds

Samples = Mapping[str, Tensor]
"""Variable → (sample, ...) in the variable's unit."""

Numbers = NDArray[np.int64]

MOST_TO_FIT = 4096
"""Spectra that transforms are fitted to."""


class SpectrumSamples:
    """Spectra of a dataset, with a uniform random number for each of their patches, and with the target if it has one.

    train, validation, test  rows of the dataset
    unlabelled               more training spectra, whose targets must not be used; see `to_fit`
    hidden                   random numbers of the patches, (sample, patch) → whether a channel is masked,
                             (sample, channel): if the spectrum is an output, only these are evaluated
    """

    def __init__(
        self,
        dataset: SpectraDataset,
        train: Numbers,
        validation: Numbers,
        test: Numbers,
        unlabelled: Numbers,
        seeds: Seeds,
        device: torch.device,
        hidden: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.train_rows, self.test_rows = train, test
        self._dataset, self._unlabelled, self._seeds, self._device = dataset, unlabelled, seeds, device
        self._hidden = hidden
        self.train_size = len(train)
        self.validation = self._samples(validation, self._masks(len(validation), "validation", "masks"))
        self.test = self._samples(test, self._masks(len(test), "test", "masks"))

    def epoch(self, number: int, batch_size: int, prepared: Callable[[Samples], Samples]) -> Callable[[int], Samples]:
        """Number of a batch of an epoch, counted from 0 → its samples, `prepared` on demand.

        The random numbers of the patches and of the mixing belong to the position in the epoch, so that any batch can
        be made without the others.
        """
        order = self._seeds.numpy("train", number, "order").permutation(self.train_rows)
        masks = self._masks(self.train_size, "train", number, "masks")
        mixed_with = self._mixed_with(number) if self._dataset.mix else None

        def batch(index: int) -> Samples:
            place = slice(index * batch_size, (index + 1) * batch_size)
            samples = self._measured(order[place])
            if mixed_with is not None:
                others, shares = mixed_with
                second = self._measured(others[place])
                share = torch.from_numpy(shares[place]).to(self._device)
                samples = {name: torch.lerp(values, second[name], share) for name, values in samples.items()}
            return prepared({**samples, **self._tensors({MASK: masks[place]})})

        return batch

    def _mixed_with(self, number: int) -> tuple[Numbers, NDArray[np.float32]]:
        """For each position in an epoch: another row, (sample,), and its fraction in the mixture, (sample, 1).

        The spectrum of a mixture of two sediments is nearly the mixture of their spectra; so few cores give new samples
        in every epoch (mixup, Zhang et al. 2018, but with uniform fractions).
        """
        others = self._seeds.numpy("train", number, "mixed with").permutation(self.train_rows)
        shares = self._seeds.numpy("train", number, "mixed shares").random((self.train_size, 1), dtype=np.float32)
        return others, shares * np.float32(self._dataset.mix)

    def to_fit(self) -> Samples:
        """Training samples to which transforms are fitted: targets of the labelled ones, spectra of all."""
        spectra = self._some(np.union1d(self.train_rows, self._unlabelled))
        labelled = self._some(self.train_rows)
        masks = self._masks(len(labelled), "fit", "masks")
        return self._tensors({SPECTRUM: self._dataset.read(spectra), MASK: masks, **self._target(labelled)})

    def _some(self, rows: Numbers) -> Numbers:
        if len(rows) <= MOST_TO_FIT:
            return rows
        return np.sort(self._seeds.numpy("fit", "spectra").choice(rows, MOST_TO_FIT, replace=False))

    def counted(self, output: str, samples: Samples) -> Tensor | None:
        """The values of an output that are evaluated, (sample, channel) for the spectrum; None for all."""
        if output != SPECTRUM or self._hidden is None:
            return None
        return self._hidden(samples[MASK])

    def training_mean(self, output: str) -> float:
        """The mean of the targets that are trained on, in the target's unit; NaN for spectra."""
        if output != self._dataset.target or self._dataset.targets is None:
            return math.nan
        return float(self._dataset.targets[self.train_rows].mean(dtype=np.float64))

    def _masks(self, count: int, *purpose: str | int) -> NDArray[np.float32]:
        return self._seeds.numpy(*purpose).random((count, self._dataset.patches), dtype=np.float32)

    def _samples(self, rows: Numbers, masks: NDArray[np.float32]) -> dict[str, Tensor]:
        """Variable → (sample, ...)."""
        return {**self._measured(rows), **self._tensors({MASK: masks})}

    def _measured(self, rows: Numbers) -> dict[str, Tensor]:
        """The spectrum, and the target if there is one."""
        return self._tensors({SPECTRUM: self._dataset.read(rows), **self._target(rows)})

    def _target(self, rows: Numbers) -> dict[str, NDArray[np.float32]]:
        """The target, (sample, 1), if there is one."""
        if self._dataset.target is None or self._dataset.targets is None:
            return {}
        return {self._dataset.target: self._dataset.targets[rows, None].astype(np.float32)}

    def _tensors(self, values: Mapping[str, NDArray[np.float32]]) -> dict[str, Tensor]:
        return {name: torch.from_numpy(array).to(self._device) for name, array in values.items()}
