"""A small experience on rows of a file: stones, the colours measured on them, and the iron in
them.
"""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

ROWS = 24
COLUMNS = ("red", "green", "blue")

DATASET = {
    "type": "tabular",
    "path": "stones.csv",
    "inputs": {"colour": list(COLUMNS)},
    "outputs": {"iron": "Fe"},
    "identifiers": ["stone"],
    "units": {"iron": "wt%"},
    "groups": {"quarry": {"column": "stone", "pattern": "^[A-Z]"}},
}

MODEL = {
    "inputs": {"colour": {"size": [3]}},
    "outputs": ["iron"],
    "operations": {
        "network": {"module": "mlp", "parameters": {"units": [6], "activation": "tanh"}}
    },
    "branches": [{"x_name": "colour", "y_name": "iron", "operations": ["network"]}],
}

EXPERIENCE: dict[str, Any] = {
    "model": "stones",
    "dataset": "stones",
    "inputs": ["colour"],
    "outputs": ["iron"],
    "split": {"type": "k_fold", "parameters": {"folds": 4, "shuffle": False}},
    "inner": {"type": "k_fold", "parameters": {"folds": 3}},
    "epochs": 8,
    "batch_size": 6,
    "optimizer": "adam",
    "learning_rate": 0.02,
    "transforms": {"colour": "standardize", "iron": "standardize"},
    "losses": {"iron": "mse"},
}

MANY: dict[str, Any] = {
    "split": "leave_one_out",
    "inner": {"type": "k_fold", "parameters": {"folds": 4}},
    "members": 20,
    "epochs": 12,
}
"""Eighty networks for each of 24 folds, which are too many to be trained all at once."""

AS_PUBLISHED = {"protocol": "as_published", "inner": None}
CAUTION = "selected on the test data"


def table() -> list[list[Any]]:
    random = np.random.default_rng(5)
    colours = random.uniform(0.1, 0.9, (ROWS, 3))
    iron = 2 + 6 * colours[:, 0] * colours[:, 1] + random.normal(0, 0.1, ROWS)
    names = [f"{'ABCD'[row % 4]}{row}" for row in range(ROWS)]
    return [
        [name, *row, value]
        for name, row, value in zip(names, colours.tolist(), iron.tolist(), strict=True)
    ]


def write(workspace: Path, rows: list[list[Any]] | None = None, **changes: Any) -> None:
    """Write the table and the specs of an experience `stones`; a key that is changed to None is
    left out.
    """
    (workspace / "data").mkdir(exist_ok=True)
    with (workspace / "data" / "stones.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["stone", *COLUMNS, "Fe"], *(rows or table())])
    changed = {key: value for key, value in {**EXPERIENCE, **changes}.items() if value is not None}
    for kind, document in (("datasets", DATASET), ("models", MODEL), ("experiences", changed)):
        (workspace / "specs" / kind / "stones.json").write_text(json.dumps(document))
