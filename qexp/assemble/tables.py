"""The tables that specs name things in: the built-in ones, and what a workspace adds."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from qexp.baselines.estimators import BASELINES
from qexp.datasets.distributions import DISTRIBUTIONS
from qexp.datasets.generators import GENERATORS
from qexp.datasets.noises import NOISES
from qexp.datasets.splits import SPLITS
from qexp.datasets.transforms import TRANSFORMS
from qexp.errors import NotFoundError, QexpError
from qexp.metrics.built_in import METRICS
from qexp.models.modules import MODULES
from qexp.quantities import QUANTITIES, Quantity, declare
from qexp.tables import Entry, Table, Tables, suggestion
from qexp.training.callbacks import CALLBACKS
from qexp.training.losses import LOSSES
from qexp.training.optimizers import OPTIMIZERS
from qexp.training.schedules import SCHEDULES
from qexp.workspace import VARIABLE, find

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
}


def tables_with(extensions: Path) -> dict[str, Table]:
    """The built-in tables, and what a workspace's `extensions.py` adds to them, if it is there.

    The file may define `MODULES = {...}`, `GENERATORS = {...}` and so on, dictionaries of `qexp.tables.Entry`,
    and `QUANTITIES`, of `qexp.quantities.Quantity`.
    """
    tables: dict[str, Table] = dict(BUILT_IN)
    declare({})
    if not extensions.is_file():
        return tables
    module_spec = importlib.util.spec_from_file_location("qexp_extensions", extensions)
    assert module_spec is not None
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    try:
        module_spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # whatever a user's own code may raise
        raise QexpError(f"{extensions} cannot be used: {type(error).__name__}: {error}") from error
    for name, table in BUILT_IN.items():
        added = _added(module, name.upper(), table, Entry, extensions)
        for entry_name, entry in added.items():
            try:
                entry.schema()
            except (TypeError, ValueError) as error:
                raise QexpError(
                    f"{extensions}: {name.upper()}['{entry_name}'] has no usable builder: {error}"
                ) from error
        tables[name] = {**table, **added}
    for name, value in vars(module).items():
        of_entries = isinstance(value, dict) and value and all(isinstance(entry, Entry) for entry in value.values())
        if of_entries and name.isupper() and name.lower() not in BUILT_IN:
            raise QexpError(f"{extensions}: no table {name}; {suggestion(name, [key.upper() for key in BUILT_IN])}")
    declare(_added(module, "QUANTITIES", QUANTITIES, Quantity, extensions))
    return tables


def tables_here(named: str | None = None) -> dict[str, Table]:
    """The tables of the workspace named or found; the built-in ones where there is none and none was asked for."""
    try:
        return tables_with(find(named).extensions)
    except NotFoundError:
        if named is not None or VARIABLE in os.environ:
            raise
        return tables_with(Path("no extensions"))


def _added(module: ModuleType, name: str, known: Mapping[str, Any], kind: type, extensions: Path) -> dict[str, Any]:
    """The entries of one of an extension's tables. Raises QexpError where it is no such table."""
    added = getattr(module, name, {})
    if not isinstance(added, dict):
        raise QexpError(f"{extensions}: {name} must be a dictionary")
    for entry_name, entry in added.items():
        if not isinstance(entry_name, str) or not isinstance(entry, kind):
            raise QexpError(f"{extensions}: {name}[{entry_name!r}] must be a {kind.__module__}.{kind.__name__}")
        if entry_name in known:
            raise QexpError(f"{extensions}: {name} has '{entry_name}', which qexp has already; rename it")
    return added
