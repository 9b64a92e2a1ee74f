"""torch's optimizers without its compiler.

Their first step loads the compiler, only to tell it to leave them alone. That takes two thirds of a second, a quarter
of what a process takes to begin with training, and no training of qexp is compiled.
"""

from __future__ import annotations

import inspect
from typing import TypeVar

import torch
from torch.optim import Optimizer

Kind = TypeVar("Kind", bound=type[Optimizer])


def uncompiled(kind: Kind) -> Kind:
    """The same optimizer, with the same numbers, by the functions that torch wraps for its compiler."""
    wrapped = {name: getattr(kind, name) for name in ("add_param_group", "zero_grad", "state_dict", "load_state_dict")}
    functions = {name: inspect.unwrap(function) for name, function in wrapped.items()}
    step_with_gradients = inspect.unwrap(kind.step)

    def step(self: Optimizer, closure: None = None) -> None:
        with torch.no_grad():
            step_with_gradients(self, closure)

    made: Kind = type(kind.__name__, (kind,), {**functions, "step": step})  # type: ignore[assignment]
    return made
