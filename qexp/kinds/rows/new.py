"""First specs for a table: columns that are inputs and outputs, and an experience."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from qexp.base.arrays import Array
from qexp.kinds.options import NewOptions
from qexp.kinds.rows.dataset import TabularDataset
from qexp.rows.formats import open_table
from qexp.rows.table import MISSING, name_in_title, numbers_in, unit_in_title
from qexp.spec.reading import FROM_DATASET, Document

INPUTS = "features"

WIDTH = 16
"""Of the layers of the network."""

LEAST_STRATIFIED = 10
"""Rows of a class with which each fold gets its share of it."""

FORMATS = (".csv", ".parquet")
"""Endings of tables; NetCDF files are simulations, where nothing says what they are."""


def takes(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in FORMATS


def dataset(path: Path, options: NewOptions) -> Document:
    """The keys of the dataset of a table.

    Of the columns of numbers the last is the output, unless others are named, and the others are
    inputs; texts, and numbers that count the rows, name a row. An output of texts is a class.
    """
    table = open_table(path, FORMATS)
    table.require([*table.names, *options.outputs, *options.groups])
    numeric = numbers_in(table.types(table.names))
    named = [name for name in options.outputs if name not in {*numeric, *options.groups}]
    numbers, texts = table.read(numeric, named)
    used = []
    for name, values in numbers.items():
        if name not in options.groups and (name in options.outputs or not _counts(values)):
            used.append(name)
    inputs, outputs = options.divided([*used, *named], str(path), "columns of numbers")
    variables = _variables(outputs)
    classes = {
        name: [text for text in np.unique(texts[column]).tolist() if text not in MISSING]
        for name, column in variables.items()
        if column in named
    }
    missing = [np.isnan(numbers[name]).any() for name in used]
    missing += [np.isin(texts[name], MISSING).any() for name in named]
    unit = {column: table.units.get(column) or unit_in_title(column) for column in used}
    units = {name: unit[column] for name, column in variables.items() if name not in classes}
    units_of_inputs = {unit[column] for column in inputs}
    units[INPUTS] = units_of_inputs.pop() if len(units_of_inputs) == 1 else ""
    keys = {
        "inputs": {INPUTS: inputs},
        "outputs": variables,
        "classes": classes,
        "units": {name: unit for name, unit in units.items() if unit},
        "identifiers": [
            name for name in table.names if name not in {*used, *named, *options.groups}
        ],
        "groups": {name: {"column": column} for name, column in _variables(options.groups).items()},
        "missing": "drop" if any(missing) else "",
    }
    return {key: value for key, value in keys.items() if value}


def experience(document: Document, dataset: TabularDataset) -> tuple[Document, Document]:
    """The keys of a model and of an experience for a dataset of rows."""
    classes = document.get("classes", {})
    numbers = [name for name in dataset.outputs if name not in classes]
    losses = dict.fromkeys(numbers, "mse") | dict.fromkeys(classes, "negative_log_likelihood")
    baselines = ["mean", "ridge"] if numbers else []
    baselines += ["majority", "logistic_regression"] if classes else []
    groups = list(document.get("groups", {}))
    split: Document = {"type": "k_fold", "parameters": {"folds": 5}}
    inner: Document = {"type": "k_fold", "parameters": {"folds": 3}}
    for name in [*classes][:1]:
        counts = np.bincount(dataset.values[name][:, 0].astype(np.int64))
        if counts.min() >= LEAST_STRATIFIED:
            split["parameters"]["stratify"] = inner["parameters"]["stratify"] = name
    if groups:
        split = {"type": "group_k_fold", "parameters": {"by": groups[0]}}
        others = len(np.unique(dataset.column(groups[0]))) - 1
        if others > 1:
            parameters = {"by": groups[0], "folds": min(3, others)}
            inner = {"type": "group_k_fold", "parameters": parameters}
    why = {"description": "Two groups: no inner fold could hold out one, and train on others."}
    return _model(dataset, classes), {
        **(why if groups and inner["type"] == "k_fold" else {}),
        "inputs": FROM_DATASET,
        "outputs": FROM_DATASET,
        "split": split,
        "inner": inner,
        "transforms": dict.fromkeys([*dataset.inputs, *numbers], "standardize"),
        "epochs": 50,
        "batch_size": 8,
        "optimizer": "adam",
        "learning_rate": 0.01,
        "losses": losses if classes else "mse",
        "baselines": [*baselines, "gradient_boosting"],
    }


def _model(dataset: TabularDataset, classes: Mapping[str, Sequence[str]]) -> Document:
    """One network for outputs that are numbers; with classes, a head on it for each output."""
    width = WIDTH if classes else FROM_DATASET
    network = {"module": "mlp", "parameters": {"units": [WIDTH], "outputs": width}}
    operations = {"network": network}
    branch = {"x_name": FROM_DATASET, "y_name": FROM_DATASET, "operations": ["network"]}
    branches = [] if classes else [branch]
    for name in dataset.outputs if classes else ():
        head = {"module": "mlp", "parameters": {"units": [WIDTH], "outputs": 1}}
        if name in classes:
            head = {"module": "classes", "parameters": {"classes": len(classes[name])}}
        operations[f"{name}_head"] = head
        branches.append({**branch, "y_name": name, "operations": ["network", f"{name}_head"]})
    return {
        "inputs": FROM_DATASET,
        "outputs": FROM_DATASET,
        "operations": operations,
        "branches": branches,
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
