"""Patches as a training run takes them: new ones every epoch, read batch by batch; the same ones to validate on."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from qexp.datasets.gridded.dataset import GriddedDataset
from qexp.datasets.gridded.frames import THICKNESS
from qexp.datasets.gridded.patches import Numbers, Patches, Places
from qexp.seeds import Seeds

Samples = Mapping[str, Tensor]
"""Variable → (patch, 1, y, x) in the variable's unit."""

MOST_TO_VALIDATE = 2048
"""Patches, where the experience does not say how many: they stay in memory."""

PATCHES_TO_FIT = 1024
"""That transforms are fitted to, where they have something to fit."""


class PatchSamples:
    """Patches of a gridded dataset; what is in memory does not depend on how many frames there are.

    train       training frames, as rows of the dataset
    validation  those that are kept for validation
    counts      patches for training (per epoch) and validation; None: as many as cover the frames
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
        tested = dataset.test_patches()
        self.test = self._drawn(tested, min(tested.tiles, MOST_TO_VALIDATE), "test")

    def epoch(self, number: int, batch_size: int, prepared: Callable[[Samples], Samples]) -> Callable[[int], Samples]:
        """The batches of an epoch by their number, counted from 0, each `prepared` when it is asked for."""
        random = self._seeds.numpy("train", number, "patches")
        places = self._patches.draw(self.train_size, random, turned=self._dataset.augment)

        def batch(index: int) -> Samples:
            return prepared(self._cut(self._patches, places[index * batch_size : (index + 1) * batch_size]))

        return batch

    def to_fit(self) -> Samples:
        """Training samples for transforms to be fitted to."""
        return self._drawn(self._patches, min(self.train_size, PATCHES_TO_FIT), "fit")

    def counted(self, output: str, samples: Samples) -> Tensor | None:
        """Which cells of samples are judged, of every output the same, (patch, 1, y, x); None: all."""
        if self._dataset.threshold is None or THICKNESS not in samples:
            return None
        return samples[THICKNESS] > self._dataset.threshold

    def _drawn(self, patches: Patches, count: int, purpose: str) -> Samples:
        return self._cut(patches, patches.draw(count, self._seeds.numpy(purpose, "patches"), turned=False))

    def _cut(self, patches: Patches, places: Places) -> Samples:
        names = self._dataset.variables
        made = torch.from_numpy(patches.cut(places, len(names), self._vectors)).to(self._device)
        return {name: made[..., index].unsqueeze(1) for index, name in enumerate(names)}
