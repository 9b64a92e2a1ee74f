"""Checkpoints, and the weights of the kept epoch: of the lowest validation loss, or the last."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from qexp.base.files import write_bytes
from qexp.errors import DamagedError

OPTIMIZER = "optimizer"


def write(path: Path, tensors: Mapping[str, Tensor], document: Mapping[str, Any]) -> None:
    """Replace a checkpoint atomically; `document` is JSON. Raises QexpError if the disk is full."""
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_bytes(path, save(contiguous, {"qexp": json.dumps(document, sort_keys=True)}))


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the document of a checkpoint. Raises DamagedError if it is missing or was not
    written by qexp.
    """
    with _open(path) as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        try:
            document = json.loads((file.metadata() or {}).get("qexp", ""))
        except ValueError:
            document = None
    if not isinstance(document, dict):
        raise DamagedError(f"{path} is damaged: it was not written by qexp")
    return tensors, document


@contextmanager
def understood(path: Path) -> Iterator[None]:
    """Raise DamagedError where the content of a checkpoint is not what is taken from it."""
    try:
        yield
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        why = f"'{error.args[0]}' is missing" if isinstance(error, KeyError) else str(error)
        raise DamagedError(
            f"{path} is damaged: it is not the state of this training: {why}"
        ) from error


def shapes(path: Path) -> dict[str, list[int]]:
    """Name → shape of the tensors in a file, from its header alone. Raises DamagedError."""
    with _open(path) as file:
        return {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118 - not a dict


def joined(
    parts: Sequence[Mapping[str, Tensor]], join: Callable[[list[Tensor]], Tensor]
) -> dict[str, Tensor]:
    """Tensors of the same names as one of each, made by a function such as `torch.stack`."""
    made = {}
    for name in parts[0]:
        made[name] = join([part[name] for part in parts])
    return made


def load(model: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Give a model weights. Raises DamagedError for other names or shapes, and for NaN."""
    load_diverged(model, tensors, path)
    require_numbers(model.state_dict(), path)


def load_diverged(model: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Load weights that may be NaN, as they are after training has diverged; see `load`."""
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:  # the first line only says that there is an error
        differences = "; ".join(line.strip() for line in str(error).splitlines()[1:])
        raise DamagedError(
            f"{path} is damaged: its weights do not fit the run's model: {differences}"
        ) from None


def require_numbers(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raise DamagedError if a value is NaN: a network with such a weight estimates nothing."""
    for name, tensor in tensors.items():
        if tensor.isnan().any():
            raise DamagedError(f"{path} is damaged: '{name}' contains NaN")


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    if path.exists() and not path.is_file():
        raise DamagedError(f"{path} is damaged: it is not a plain file")
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except FileNotFoundError:
        raise DamagedError(f"{path} is gone") from None
    except (SafetensorError, OSError) as error:
        raise DamagedError(f"{path} is damaged: {error}") from None


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state as `optimizer.<index of the weight>.<slot>` → tensor."""
    return {
        f"{OPTIMIZER}.{index}.{slot}": value
        for index, slots in optimizer.state_dict()["state"].items()
        for slot, value in slots.items()
        if isinstance(value, Tensor)
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Load the state that `optimizer_tensors` gave; other tensors are ignored."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith(f"{OPTIMIZER}."):
            _, index, slot = name.split(".")
            state.setdefault(int(index), {})[slot] = tensor
    optimizer.load_state_dict(
        {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
    )


# The weights of the epoch that is kept (`Recipe.keep`).

ALIGNMENT = 16
"""Weights start at multiples of it, so that vectorised code rounds alike for all networks."""


class WeightLayout:
    """Name of a weight → where it lies in the row of a network."""

    def __init__(self, module: nn.Module) -> None:
        self._slots: dict[str, tuple[int, torch.Size]] = {}
        self._length = 0
        for name, weight in module.named_parameters():
            self._slots[name] = (self._length, weight.shape)
            self._length += -(-weight.numel() // ALIGNMENT) * ALIGNMENT

    def row(self, weights: Mapping[str, Tensor]) -> Tensor:
        """Weights of a network of this layout as one row, (number,), with zeros between them."""
        row = next(iter(weights.values())).new_zeros(self._length)
        for name, (start, shape) in self._slots.items():
            row[start : start + shape.numel()] = weights[name].detach().flatten()
        return row

    def views(self, rows: Tensor) -> dict[str, Tensor]:
        """Name → weight, (network, ...), as views of the memory of the rows, (network, number)."""
        return {
            name: rows[:, start : start + shape.numel()].view(len(rows), *shape)
            for name, (start, shape) in self._slots.items()
        }


def is_kept(loss: float, best_loss: float, keep: str) -> bool:
    """Whether an epoch's weights replace the ones kept so far; `keep` is "best" or "last"."""
    return loss < best_loss or keep == "last"


class BestWeights:
    """A copy of a model's weights at its best epoch, in memory and in `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tensors: dict[str, Tensor] | None = None
        self._unwritten = False

    def keep(self, model: nn.Module) -> None:
        """Copy the model's present weights."""
        self._tensors = {
            name: tensor.detach().clone() for name, tensor in model.state_dict().items()
        }
        self._unwritten = True

    def load_into(self, model: nn.Module) -> None:
        """Load the weights of the best epoch into the model, after `keep` or `read`."""
        assert self._tensors is not None
        model.load_state_dict(self._tensors)

    def write(self, epoch: int, loss: float) -> None:
        """Write the weights, with their epoch and its validation loss, unless they are written."""
        if self._tensors is not None and self._unwritten:
            write(self.path, self._tensors, {"epoch": epoch, "loss": loss})
            self._unwritten = False

    def read(self) -> None:
        """Read the weights back, if they were written. Raises DamagedError."""
        if self.path.exists():
            self._tensors = read(self.path)[0]


class BestRows:
    """The weights at their best epoch of all networks of a stack, each in a row of one matrix."""

    def __init__(
        self, layout: WeightLayout, modules: Sequence[nn.Module], device: torch.device
    ) -> None:
        """modules  the networks, all of one layout, with their initial weights"""
        self._layout = layout
        rows = [layout.row(dict(module.named_parameters())) for module in modules]
        self.weights = torch.stack(rows).to(device)
        """(network, number)"""
        buffers = joined([dict(module.named_buffers()) for module in modules], torch.stack)
        self.buffers = {name: values.to(device) for name, values in buffers.items()}
        """Name → (network, ...)."""

    def keep(self, position: int, weights: Tensor, buffers: Mapping[str, Tensor]) -> None:
        """Copy the present weights of one network, (number,), and its buffers."""
        self.weights[position].copy_(weights)
        for name, values in self.buffers.items():
            values[position].copy_(buffers[name])

    def load_into(self, position: int, module: nn.Module) -> None:
        """Load the kept weights of one network into a module of the same layout."""
        weights = self._layout.views(self.weights[position : position + 1])
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                parameter.copy_(weights[name][0])
            for name, buffer in module.named_buffers():
                buffer.copy_(self.buffers[name][position])

    def tensors(self) -> dict[str, Tensor]:
        """All weights and buffers, by their names in a checkpoint."""
        return {
            "kept": self.weights,
            **{f"kept.{name}": values for name, values in self.buffers.items()},
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Load the weights and buffers of a checkpoint."""
        device = self.weights.device
        self.weights = tensors["kept"].to(device)
        self.buffers = {name: tensors[f"kept.{name}"].to(device) for name in self.buffers}
