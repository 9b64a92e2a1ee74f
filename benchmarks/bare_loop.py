"""An experience trained by qexp, and beside it the same network, batches and optimizer in a loop of
a few lines.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from qexp.base.seeds import Seeds
from qexp.base.workspace import find
from qexp.kinds.experiments import experience
from qexp.kinds.objects import data_kind, dataset_of, fit_transforms, initial_model, recipe_of
from qexp.kinds.tables import BUILT_IN
from qexp.networks.training import PRECISIONS, Trainer

CPU = torch.device("cpu")

Loss = Callable[[Tensor, Tensor], Tensor]
"""The loss of an output's estimate and truth."""


class Deaf:
    """A listener that does nothing."""

    def batch_done(self, *_: Any) -> None: ...
    def epoch_done(self, *_: Any) -> None: ...
    def checkpoint_written(self, *_: Any) -> None: ...


def trainer_of(
    spec: Mapping[str, Any], seed: int, device: torch.device = CPU, folder: Path | None = None
) -> Trainer:
    """What trains a run of a resolved experience, from the start, in a folder, or in a temporary
    one.
    """
    tables, seeds = BUILT_IN, Seeds(seed)
    data = data_kind(spec["dataset"]).data(
        dict(spec), dataset_of(spec["dataset"], tables), tables, seeds, device
    )
    model = initial_model(dict(spec), tables, seeds).to(device)
    fit_transforms(model, data.to_fit)
    return Trainer(
        model,
        data,
        recipe_of(dict(spec), tables),
        seeds,
        device,
        folder or Path(tempfile.mkdtemp()),
    )


class SideBySide:
    """Both, with the same initial weights and fitted transforms.

    loss  of every output in the bare loop
    """

    def __init__(
        self,
        name: str,
        loss: Loss,
        overrides: Mapping[str, Any] | None = None,
        device: torch.device = CPU,
    ) -> None:
        self.spec = experience(name, overrides or {}, find()).document
        self.trainer = trainer_of(self.spec, 0, device)
        self.data = self.trainer.data
        self.bare = initial_model(self.spec, BUILT_IN, Seeds(0)).to(device)
        self.bare.load_state_dict(self.trainer.model.state_dict())
        weights = list(self.bare.network.parameters())
        self.optimizer = self.trainer.recipe.optimizer(weights, self.spec["learning_rate"])
        self._loss = loss

    def managed_steps(self) -> None:
        self.trainer.progress.epoch = 1
        self.trainer._batch_losses.clear()
        self.trainer.train_epoch(Deaf(), lambda: False)
        self.trainer.progress.batch = 0

    def managed_epoch(self) -> None:
        """Its validation, and what it writes, with it."""
        self.managed_steps()
        self.trainer.close_epoch()

    def transformed(self, samples: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Transformed samples."""
        return {
            name: self.bare.transformed(name, values).contiguous()
            for name, values in samples.items()
        }

    def ready(self) -> dict[str, Tensor]:
        """All samples of an epoch, transformed, in memory."""
        return self.transformed(
            self.data.epoch(1, self.data.train_size, lambda samples: samples)(0)
        )

    def bare_steps(self, ready: Mapping[str, Tensor]) -> None:
        self.bare.network.train()
        for some in self.batches(ready):
            self.bare_step(some)

    def batches(self, ready: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
        size = int(self.spec["batch_size"])
        for first in range(0, self.data.train_size, size):
            yield {name: values[first : first + size] for name, values in ready.items()}

    def bare_step(self, some: Mapping[str, Tensor]) -> None:
        network, clip = self.bare.network, self.spec["gradient_clip"]
        cast = PRECISIONS[self.spec["precision"]]
        with torch.autocast(self.trainer.device.type, cast) if cast else nullcontext():
            estimates = network({name: some[name] for name in network.inputs})
        loss = sum(
            self._loss(estimates[output].float(), some[output]) for output in network.outputs
        )
        self.optimizer.zero_grad()
        loss.backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(network.parameters(), clip)
        self.optimizer.step()

    def bare_validation(self) -> None:
        """The mean absolute errors of the validation part."""
        self.bare.network.eval()
        with torch.no_grad():
            estimates = self.bare(self.data.validation)
            for output in self.bare.network.outputs:
                functional.l1_loss(estimates[output], self.data.validation[output]).item()
