"""The tables whose entries specs name: the built-in entries, and those that a workspace adds."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from qexp.base.quantities import QUANTITIES, Quantity
from qexp.base.tables import Entry, OpenTable, Tables
from qexp.base.workspace import VARIABLE, find
from qexp.errors import NotFoundError, QexpError, suggestion
from qexp.metrics.baselines import BASELINES
from qexp.metrics.built_in import METRICS
from qexp.metrics.metric import Additive, Metric
from qexp.metrics.splits import SPLITS
from qexp.networks.callbacks import CALLBACKS
from qexp.networks.losses import LOSSES
from qexp.networks.modules import MODULES
from qexp.networks.optimizers import OPTIMIZERS, SCHEDULES
from qexp.networks.transforms import TRANSFORMS
from qexp.simulation.distributions import DISTRIBUTIONS
from qexp.simulation.generators import GENERATORS
from qexp.simulation.noise_models import NOISES
from qexp.spec.extensions import variables_of
from qexp.store.directory import RunDirectory

BUILT_IN: Tables = {
    "generators": GENERATORS,
    "distributions": DISTRIBUTIONS,
    "noises": NOISES,
    "modules": MODULES,
    "transforms": TRANSFORMS,
    "splits": SPLITS,
    "losses": LOSSES,
    "metrics": METRICS,
    "optimizers": OPTIMIZERS,
    "schedules": SCHEDULES,
    "callbacks": CALLBACKS,
    "baselines": BASELINES,
    "quantities": QUANTITIES,
}

_JOINED: dict[tuple[bytes, bool], Tables] = {}
"""Content of an extension, and whether it is that of a run → its tables."""


def tables_of(directory: RunDirectory) -> Tables:
    """The tables for a run's spec: those of qexp and of packages, and the entries of its own code,
    which is executed.

    Raises UntrustedCodeError for an imported run whose code the user has not trusted.
    """
    directory.require_trust()
    return tables_with(directory.extensions, of_a_run=True)


def tables_with(extensions: Path, *, of_a_run: bool = False) -> Tables:
    """The tables of qexp and of installed packages, with the entries that a workspace's
    `extensions.py`, if it exists, adds to them. Those of a package that have such a name are not
    used.

    The file may define `MODULES = {...}`, `GENERATORS = {...}` and so on, dictionaries of
    `qexp.extend.Entry`, `QUANTITIES`, of `qexp.extend.Quantity`, and `KINDS`, of
    `qexp.extend.Kind`. It is executed once in a process.
    of_a_run  whether it is a run's copy, whose entries replace built-in ones of their names, which
              were added later
    Raises QexpError for an entry that has the name of a built-in one.
    """
    if not extensions.is_file():
        return OPEN
    content, variables = variables_of(extensions)
    if (content, of_a_run) not in _JOINED:
        reserved = {name: {} if of_a_run else table for name, table in BUILT_IN.items()}
        _JOINED[content, of_a_run] = _joined(variables, extensions, reserved)
    return _JOINED[content, of_a_run]


def _joined(variables: Mapping[str, Any], extensions: Path, reserved: Tables) -> Tables:
    """The tables of qexp and of installed packages with those among an extension's variables.

    reserved  table → entries whose names the extension cannot have
    Raises QexpError for what is no table, or has a reserved name.
    """
    tables = dict(OPEN)
    for name, table in OPEN.items():
        added = _added(variables, name, reserved[name], extensions)
        tables[name] = OpenTable(name, table.built_in, table.trouble, added)
    for name, value in variables.items():
        of_entries = (
            isinstance(value, dict)
            and value
            and all(isinstance(entry, Entry) for entry in value.values())
        )
        if of_entries and name.isupper() and name.lower() not in BUILT_IN:
            raise QexpError(
                f"{extensions}: no table {name};"
                f" {suggestion(name, [key.upper() for key in BUILT_IN])}"
            )
    return tables


def _trouble_with_quantity(quantity: Quantity) -> str | None:
    """Why a quantity cannot be used, such as for arguments in another order."""
    texts = {name: getattr(quantity, name) for name in ("unit", "description", "name", "symbol")}
    limits = {name: getattr(quantity, name) for name in ("above", "at_least", "at_most", "period")}
    numbers = {
        "si_factor": quantity.si_factor,
        **{name: each for name, each in limits.items() if each is not None},
    }
    order = (
        'the arguments are Quantity(unit, si_factor, description), such as Quantity("km", 1e3,'
        ' "depth")'
    )
    for name, value in texts.items():
        if not isinstance(value, str):
            return f"its {name} must be a text, but is {value!r}; {order}"
    for name, value in numbers.items():
        if not isinstance(value, int | float) or isinstance(value, bool):
            return f"its {name} must be a number, but is {value!r}; {order}"
    ends = quantity.plausible
    if ends is not None and not (
        isinstance(ends, tuple | list) and len(ends) == 2 and ends[0] < ends[1]
    ):
        return f"its plausible must be (low, high) with low < high, but is {ends!r}"
    return (
        None
        if quantity.si_factor > 0
        else f"its si_factor must be greater than 0, but is {quantity.si_factor:g}"
    )


def _trouble_with(table: str, entry: Any) -> str | None:
    """Why an entry of an extension or a package cannot be used, in words."""
    kind = Quantity if table == "quantities" else Entry
    if not isinstance(entry, kind):
        return f"must be a qexp.extend.{kind.__name__}"
    if isinstance(entry, Quantity):
        trouble = _trouble_with_quantity(entry)
        return f"cannot be used: {trouble}" if trouble else None
    try:
        entry.schema()
    except (TypeError, ValueError) as error:
        return f"has no usable builder: {error}"
    if table != "metrics":
        return None
    try:
        metric = entry.build()
    except Exception as error:  # a user's code may raise any error
        return (
            f"cannot be built: {error}"
            if isinstance(error, ValueError)
            else f"cannot be built: {error!r}"
        )
    if isinstance(metric, Metric):
        return _trouble_with_sums(metric.additive) if metric.additive else None
    return (
        f"builds {type(metric).__name__}, but must build a qexp.extend.Metric: "
        'Metric(function of estimate and truth, best="lowest", unit="{unit}")'
    )


def _trouble_with_sums(additive: Additive) -> str | None:
    """Why an additive metric has no interval, which is seen before training rather than after
    it.
    """
    try:
        terms = additive.pieces(np.full((2, 1), 1.5), np.array([[1.0], [2.0]]))
    except Exception:  # a user's code may raise any error on samples that are no images, or too few
        return None
    try:
        additive.value([np.full(3, float(term.sum())) for term in terms], np.full(3, 2.0))
    except Exception as error:  # as above
        return f"has a value that does not accept arrays of sums, as intervals need: {error}"
    return None


def tables_here(workspace: str | Path | None = None) -> Tables:
    """The tables of the workspace named or found; those of none where there is none and none was
    asked for.
    """
    try:
        return tables_with(find(workspace).extensions)
    except NotFoundError:
        if workspace is not None or os.environ.get(VARIABLE):
            raise
        return OPEN


def _added(
    variables: Mapping[str, Any], table: str, reserved: Mapping[str, Any], extensions: Path
) -> dict[str, Any]:
    """The entries of one of an extension's tables. Raises QexpError where it is no such table."""
    name = table.upper()
    added = variables.get(name, {})
    if not isinstance(added, dict):
        raise QexpError(f"{extensions}: {name} must be a dictionary")
    for entry_name, entry in added.items():
        trouble = _trouble_with(table, entry)
        if not isinstance(entry_name, str):
            trouble = "must have a text as its name"
        if trouble is not None:
            raise QexpError(f"{extensions}: {name}[{entry_name!r}] {trouble}")
        if (built_in := reserved.get(entry_name)) is None:
            continue
        # A workspace's quantity may have limits and words of its own.
        if not isinstance(entry, Quantity) or (entry.unit, entry.si_factor) != (
            built_in.unit,
            built_in.si_factor,
        ):
            raise QexpError(
                f"{extensions}: {name} has '{entry_name}', which qexp has already; rename it"
            )
    return added


OPEN: Mapping[str, OpenTable[Any]] = {
    name: OpenTable(name, table, partial(_trouble_with, name)) for name, table in BUILT_IN.items()
}
"""The built-in tables with the entries of installed packages."""
