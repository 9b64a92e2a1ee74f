"""Which tensor of the files is which weight of the network, by the rules that fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from qexp.errors import QexpError
from qexp.foreign import fitting, weight_files
from qexp.foreign.fitting import Account, Rules, Target, named, shipped
from qexp.foreign.weight_files import Contents, Stored
from qexp.networks.estimator import Inversion
from qexp.runs.foreign_weights.order import WeightsOrder

MOST_LISTED = 1000
"""Number of problems that an error lists."""

MOST_NAMES = 20
"""Number of tensors that an error names if nothing is known about any."""


def target_of(model: Inversion, spec: Mapping[str, Any]) -> Target:
    shapes = {name: shape for name, shape in model.network.input_shapes.items() if isinstance(shape, tuple)}
    return Target(model, {name: one["module"] for name, one in spec["model"]["operations"].items()}, shapes)


def contents_of(order: WeightsOrder, stack: ExitStack) -> Contents:
    """The tensors of the file and of the further files, which stay open until the stack ends."""
    if weight_files.format_of(order.file).name == "numpy":
        raise QexpError(f"{order.file}: holds a single array without a name; a network needs a file of several")
    main = stack.enter_context(weight_files.opened(order.file))
    tensors: dict[str, Stored] = dict(main.tensors)
    for name, file in order.also.items():
        for inner, stored in stack.enter_context(weight_files.opened(file)).tensors.items():
            called = f"{name}.{inner}" if inner else name
            if called in tensors:
                raise QexpError(f"--also {name}={file}: {order.file} has a tensor '{called}', too; choose another name")
            tensors[called] = stored
    return Contents(tensors, main.settings)


def account_of(order: WeightsOrder, tensors: Mapping[str, Stored], target: Target) -> Account:
    """The account by the rules that were named, or by the only ones that fit. Raises QexpError with all problems."""
    candidates = [named(order.rules)] if order.rules else list(shipped().values())
    accounts = [fitting.accounted(one, tensors, target) for one in candidates]
    fitting_ones = [one for one in accounts if one.fits]
    if len(fitting_ones) == 1:
        return fitting_ones[0]
    if fitting_ones:
        names = ", ".join(one.rules.name for one in fitting_ones)
        raise QexpError(f"{order.file}: fits by several rules, {names}; choose with --map")
    nearest = max(accounts, key=lambda one: (one.known, -len(one.problems)))
    if not nearest.known:
        known = ", ".join(shipped())
        raise QexpError(
            f"{order.file}: no rules are known for its tensors, {_listed(tensors)}; rules that qexp has: {known}; "
            "write your own and name them with --map RULES.json"
        )
    raise QexpError(not_fitting(order.file, nearest.rules, nearest.problems))


def _listed(names: Mapping[str, Any]) -> str:
    shown = list(names)[:MOST_NAMES]
    return ", ".join(shown) + (", …" if len(names) > len(shown) else "")


def not_fitting(file: Path, rules: Rules, problems: Sequence[str]) -> str:
    lines = list(problems[:MOST_LISTED])
    if len(problems) > MOST_LISTED:
        lines.append(f"and {len(problems) - MOST_LISTED} more")
    return f"{file}: does not fit this model by the rules '{rules.name}':\n  " + "\n  ".join(lines)
