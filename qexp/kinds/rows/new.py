"""First specs for a table: columns that are inputs and outputs, and an experience."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from qexp.base.arrays import Array
from qexp.kinds.options import NewOptions
from qexp.kinds.rows.dataset import TabularDataset
from qexp.rows.formats import open_table
from qexp.rows.table import name_in_title, numbers_in, unit_in_title
from qexp.spec.reading import FROM_DATASET, Document

INPUTS = "features"

FORMATS = (".csv", ".parquet")
"""Endings of tables; NetCDF files are simulations, where nothing says what they are."""


def takes(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in FORMATS


def dataset(path: Path, options: NewOptions) -> Document:
    """The keys of the dataset of a table.

    Of the columns of numbers the last is the output, unless others are named, and the others are
    inputs; texts, and numbers that count the rows, name a row.
    """
    table = open_table(path, FORMATS)
    table.require([*table.names, *options.outputs, *options.groups])
    numbers, _ = table.read(numbers_in(table.types(table.names)), [])
    used = []
    for name, values in numbers.items():
        if name not in options.groups and (name in options.outputs or not _counts(values)):
            used.append(name)
    inputs, outputs = options.divided(used, str(path), "columns of numbers")
    variables = _variables(outputs)
    unit = {column: table.units.get(column) or unit_in_title(column) for column in used}
    units = {name: unit[column] for name, column in variables.items()}
    units_of_inputs = {unit[column] for column in inputs}
    units[INPUTS] = units_of_inputs.pop() if len(units_of_inputs) == 1 else ""
    keys = {
        "inputs": {INPUTS: inputs},
        "outputs": variables,
        "units": {name: unit for name, unit in units.items() if unit},
        "identifiers": [name for name in table.names if name not in [*used, *options.groups]],
        "groups": {name: {"column": column} for name, column in _variables(options.groups).items()},
        "missing": "drop" if any(np.isnan(numbers[name]).any() for name in used) else "",
    }
    return {key: value for key, value in keys.items() if value}


def experience(document: Document, dataset: TabularDataset) -> tuple[Document, Document]:
    """The keys of a model and of an experience for a dataset of rows."""
    network = {"module": "mlp", "parameters": {"units": [16], "outputs": FROM_DATASET}}
    branch = {"x_name": FROM_DATASET, "y_name": FROM_DATASET, "operations": ["network"]}
    model = {
        "inputs": FROM_DATASET,
        "outputs": FROM_DATASET,
        "operations": {"network": network},
        "branches": [branch],
    }
    groups = list(document.get("groups", {}))
    split: Document = {"type": "k_fold", "parameters": {"folds": 5}}
    inner: Document = {"type": "k_fold", "parameters": {"folds": 3}}
    if groups:
        split = {"type": "group_k_fold", "parameters": {"by": groups[0]}}
        others = len(np.unique(dataset.column(groups[0]))) - 1
        if others > 1:
            parameters = {"by": groups[0], "folds": min(3, others)}
            inner = {"type": "group_k_fold", "parameters": parameters}
    why = {"description": "Two groups: no inner fold could hold out one, and train on others."}
    return model, {
        **(why if groups and inner["type"] == "k_fold" else {}),
        "inputs": FROM_DATASET,
        "outputs": FROM_DATASET,
        "split": split,
        "inner": inner,
        "transforms": dict.fromkeys([*dataset.inputs, *dataset.outputs], "standardize"),
        "epochs": 50,
        "batch_size": 8,
        "optimizer": "adam",
        "learning_rate": 0.01,
        "losses": "mse",
        "baselines": ["mean", "ridge", "gradient_boosting"],
    }


def _counts(values: Array) -> bool:
    """Whether numbers count the rows."""
    return len(values) > 1 and bool((np.diff(values) == 1).all())


def _variables(columns: Iterable[str]) -> dict[str, str]:
    """Name of a variable → its column."""
    names: dict[str, str] = {}
    for column in columns:
        words = re.sub(r"\W+", "_", name_in_title(column), flags=re.ASCII)
        name = words.strip("_").lower() or "column"
        name = name if name[0].isalpha() else f"_{name}"
        while name in names or name == INPUTS:
            name += "_"
        names[name] = column
    return names
