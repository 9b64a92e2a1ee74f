"""Patches for training: new ones every epoch, read batch by batch; the same validation patches throughout."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cached_property

import torch
from torch import Tensor

from qexp.datasets.gridded.dataset import GriddedDataset
from qexp.datasets.gridded.frames import THICKNESS
from qexp.datasets.gridded.patches import Numbers, Patches, Places
from qexp.seeds import Seeds

Samples = Mapping[str, Tensor]
"""Variable → (patch, 1, y, x) in the variable's unit."""

MOST_TO_VALIDATE = 2048
"""Default number of validation patches, which stay in memory."""

PATCHES_TO_FIT = 1024
"""Patches that transforms are fitted to."""


class PatchSamples:
    """Patches of a gridded dataset; memory use does not depend on the number of frames.

    train       training frames, as rows of the dataset
    validation  validation frames, as rows of the dataset
    counts      numbers of patches for training (per epoch) and validation; None: as many as cover the frames
    """

    def __init__(
        self,
        dataset: GriddedDataset,
        train: Numbers,
        validation: Numbers,
        counts: tuple[int, int] | None,
        seeds: Seeds,
        device: torch.device,
    ) -> None:
        self._dataset, self._seeds, self._device = dataset, seeds, device
        self._patches, kept = dataset.patches(train), dataset.patches(validation)
        self._vectors = dataset.vector_positions()
        self.train_size, to_validate = counts or (self._patches.tiles, min(kept.tiles, MOST_TO_VALIDATE))
        self.validation = self._drawn(kept, to_validate, "validation")

    @cached_property
    def test(self) -> Samples:
        """Patches of the test frames, for what is evaluated during training."""
        tested = self._dataset.test_patches()
        return self._drawn(tested, min(tested.tiles, MOST_TO_VALIDATE), "test")

    def epoch(self, number: int, batch_size: int, prepared: Callable[[Samples], Samples]) -> Callable[[int], Samples]:
        """Number of a batch of an epoch, counted from 0 → its samples, read and `prepared` on demand."""
        random = self._seeds.numpy("train", number, "patches")
        places = self._patches.draw(self.train_size, random, turned=self._dataset.augment)

        def batch(index: int) -> Samples:
            return prepared(self._cut(self._patches, places[index * batch_size : (index + 1) * batch_size]))

        return batch

    def to_fit(self) -> Samples:
        """Training samples to which transforms are fitted."""
        return self._drawn(self._patches, min(self.train_size, PATCHES_TO_FIT), "fit")

    def training_mean(self, output: str) -> float:
        """NaN: patches are drawn again in every epoch."""
        return math.nan

    def counted(self, output: str, samples: Samples) -> Tensor | None:
        """The cells that are evaluated, (patch, 1, y, x), the same for every output; None for all."""
        if self._dataset.threshold is None or THICKNESS not in samples:
            return None
        return samples[THICKNESS] > self._dataset.threshold

    def _drawn(self, patches: Patches, count: int, purpose: str) -> Samples:
        return self._cut(patches, patches.draw(count, self._seeds.numpy(purpose, "patches"), turned=False))

    def _cut(self, patches: Patches, places: Places) -> Samples:
        names = self._dataset.variables
        made = torch.from_numpy(patches.cut(places, len(names), self._vectors)).to(self._device)
        return {name: made[..., index].unsqueeze(1) for index, name in enumerate(names)}
