"""The network with the weights of a file, and transforms with the numbers of the files or fitted to the data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from qexp import assemble
from qexp.assemble import Experience
from qexp.errors import QexpError
from qexp.foreign import fitting
from qexp.foreign.fitting import Account, Rules, Target
from qexp.foreign.weight_files import Contents
from qexp.networks import checkpoint
from qexp.networks.estimator import Inversion
from qexp.networks.tensor_names import transformed_by
from qexp.runs.foreign_weights.accounting import not_fitting
from qexp.runs.foreign_weights.order import WeightsOrder
from qexp.seeds import Seeds


def with_values(
    order: WeightsOrder,
    account: Account,
    contents: Contents,
    target: Target,
    experience: Experience,
    spec: dict[str, Any],
) -> tuple[Inversion, dict[str, str]]:
    """The model with the weights of the file and fitted transforms, and the origin of each transform's numbers."""
    model = assemble.initial_model(spec, experience.tables, Seeds(order.seed))
    values = fitting.values(account, contents.tensors, target)
    problems = [
        *fitting.unequal(account, contents.tensors, model),
        *fitting.other_settings(account, contents.settings, model),
        *(f"{name} holds values that are not finite" for name, one in values.items() if not one.isfinite().all()),
        *_incomplete_transforms(values, model),
    ]
    if problems:
        raise QexpError(not_fitting(order.file, account.rules, problems))
    origins = _fit_transforms(order, account.rules, values, model, experience, spec)
    state = model.state_dict() | {
        name: _per_channel(name, one, model) if transformed_by(name) is not None else one
        for name, one in values.items()
    }
    checkpoint.load(model, state, order.file)
    return model, origins


def _incomplete_transforms(values: Mapping[str, Tensor], model: Inversion) -> Iterator[str]:
    """Problems of transforms some of whose numbers are in the files, but not all."""
    for variable in _given(values):
        needed = {name for name, _ in model.named_buffers() if transformed_by(name) == variable}
        for name in sorted(needed - values.keys()):
            yield f"missing: {name}, although other numbers of this transform are given"
        shape = model.network.inputs.get(variable) or model.network.shapes[variable]
        for name in sorted(needed & values.keys()):
            if len(values[name]) not in (1, shape[0]):
                yield f"{name} has {len(values[name])} values, but '{variable}' has {shape[0]} channels or columns"


def _given(values: Mapping[str, Tensor]) -> list[str]:
    """Variables whose fitted transforms are in the files."""
    return list(dict.fromkeys(one for name in values if (one := transformed_by(name)) is not None))


def _per_channel(name: str, values: Tensor, model: Inversion) -> Tensor:
    """Fitted numbers in the shape in which transforms keep them, (1, channel, 1, ...)."""
    variable = transformed_by(name)
    assert variable is not None
    shape = model.network.inputs.get(variable) or model.network.shapes[variable]
    return values.reshape(1, -1, *[1] * (len(shape) - 1))


def _fit_transforms(
    order: WeightsOrder,
    rules: Rules,
    values: Mapping[str, Tensor],
    model: Inversion,
    experience: Experience,
    spec: dict[str, Any],
) -> dict[str, str]:
    kind = assemble.kind_of(spec["dataset"])
    given = _given(values)
    samples: dict[str, Tensor] = {}

    def to_fit() -> Mapping[str, Tensor]:
        samples.update(kind.to_fit(spec, experience.dataset, experience.tables, Seeds(order.seed)))
        return samples

    fitted = assemble.fit_transforms(model, to_fit, known=given)
    if rules.population:
        for name in fitted:
            _divide_by_n(model.transforms[name], len(samples[name]))
    return {
        **dict.fromkeys(given, "from the files"),
        **dict.fromkeys(fitted, f"fitted to the training data of {experience.dataset_name}, seed {order.seed}"),
    }


@torch.no_grad()
def _divide_by_n(transform: torch.nn.Module, count: int) -> None:
    """Make deviations of a sample, divided by n - 1, those of the population, which the other program uses."""
    for name, buffer in transform.named_buffers():
        if name.endswith("deviation"):
            buffer.mul_(((count - 1) / count) ** 0.5)
