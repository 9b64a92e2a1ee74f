"""Checkpoints"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from qexp.base.files import write_bytes
from qexp.errors import DamagedError

OPTIMIZER = "optimizer"


def write(path: Path, tensors: Mapping[str, Tensor], document: Mapping[str, Any]) -> None:
    """Replace a checkpoint atomically; `document` is JSON. Raises QexpError if the disk is full."""
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_bytes(path, save(contiguous, {"qexp": json.dumps(document, sort_keys=True)}))


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the document of a checkpoint. Raises DamagedError if it is missing or was not written by qexp."""
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
        raise DamagedError(f"{path} is damaged: it is not the state of this training: {why}") from error


def shapes(path: Path) -> dict[str, list[int]]:
    """Name → shape of the tensors in a file, from its header alone. Raises DamagedError."""
    with _open(path) as file:
        return {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118 - not a dict


def load(model: torch.nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Give a model the weights read from `path`. Raises DamagedError if names or shapes differ, or for NaN."""
    load_diverged(model, tensors, path)
    require_numbers(model.state_dict(), path)


def load_diverged(model: torch.nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """The same, but weights may be NaN, as they are after training has diverged."""
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:  # the first line only says that there is an error
        differences = "; ".join(line.strip() for line in str(error).splitlines()[1:])
        raise DamagedError(f"{path} is damaged: its weights do not fit the run's model: {differences}") from None


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
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
