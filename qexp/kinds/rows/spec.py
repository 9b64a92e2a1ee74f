"""Documents of datasets of rows of a table, and of experiences on them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from qexp.base.quantities import Quantities
from qexp.base.tables import Tables
from qexp.errors import suggestion
from qexp.spec.kinds import KindDocuments, entry_in_words
from qexp.spec.reading import Document, Finding, Where, listed

STAND_IN = "made with stand-in data"
"""Caution of runs whose data are synthetic stand-ins for measured ones."""

AS_PUBLISHED = "selected on the test data"
"""Caution of runs whose choices were made on the rows that they were evaluated on."""

VALIDATED = ("early_stopping", "reduce_on_plateau")
"""Callbacks that use the error on validation rows."""

SELECTABLE = (
    "additional_callbacks",
    "batch_size",
    "epochs",
    "gradient_clip",
    "learning_rate",
    "losses",
    "model",
    "optimizer",
    "precision",
    "schedule",
    "transforms",
)
"""Keys that `select` may choose by cross-validation: those on building and training networks."""

MOST_COMBINATIONS = 10_000
"""Largest number of combinations of the values in `select`: each is trained on all inner folds of
all folds.
"""

MOST_LISTED = 12
"""Values to choose from that are listed one by one."""

INNER = 'add $.inner, for example {"type": "k_fold", "parameters": {"folds": 5}}'


class TabularSpecs(KindDocuments):
    file = Path(__file__).with_suffix(".json")
    untrained: ClassVar[Mapping[str, Any]] = {
        "split": {"type": "k_fold", "parameters": {"folds": 2}}
    }
    split_words = (
        "the rows of a tabular dataset are held out in folds, for example "
        '{"type": "leave_one_out"} or {"type": "k_fold", "parameters": {"folds": 5}}'
    )

    def in_dataset(self, dataset: Document, quantities: Quantities) -> Iterator[Finding]:
        inputs, outputs = dataset["inputs"], dataset["outputs"]
        owners = {column: name for name, columns in inputs.items() for column in listed(columns)}
        for name, columns in outputs.items():
            if name in inputs:
                yield (
                    ("outputs", name),
                    f"'{name}' is also an input; a variable is one or the other",
                )
                continue
            for column in listed(columns):
                if column in owners:
                    owner = f"the column '{column}' belongs to the input '{owners[column]}' as well"
                    yield ("outputs", name), f"{owner}: the network would see the answer"
        if (rule := imputation(dataset)) and (name := rule["parameters"]["indicator"]) in {
            **inputs,
            **outputs,
        }:
            yield (
                ("missing", "parameters", "indicator"),
                f"'{name}' is a variable of columns; choose another name",
            )
        for name in dataset["units"]:
            if name not in {**inputs, **outputs}:
                yield (
                    ("units", name),
                    f"no variable '{name}'; {suggestion(name, [*inputs, *outputs])}",
                )

    def in_experience(self, experience: Document) -> Iterator[Finding]:
        """Problems, above all choices that are not made on rows that are neither training rows nor
        held out.
        """
        for index, name in enumerate(experience["outputs"]):
            if name in experience["inputs"]:
                yield (
                    ("outputs", index),
                    f"'{name}' is also an input: the network would see the answer",
                )
        if not experience.get("test", True):
            lack = "rows are divided into folds, and have no validation part of their own"
            yield ("test",), f"{lack}; values are chosen within each fold, by 'select'"
        callbacks = [_type(value) for value in experience["additional_callbacks"]]
        if "test_evaluate" in callbacks:
            where: Where = ("additional_callbacks", callbacks.index("test_evaluate"))
            yield (
                where,
                (
                    "held-out rows are not evaluated before the end of training; leave out"
                    " 'test_evaluate'"
                ),
            )
        validated = [(index, name) for index, name in enumerate(callbacks) if name in VALIDATED]
        inner, keep = experience["inner"], experience["keep"]
        if experience["protocol"] == "as_published":
            if inner is not None:
                yield (
                    ("inner",),
                    (
                        "the protocol 'as_published' chooses on the held-out rows; leave out one of"
                        " the two"
                    ),
                )
        elif keep == "last":
            for index, name in validated:
                lack = (
                    f'\'{name}\' needs validation rows, and with "keep": "last" all outside a fold'
                    " are trained on"
                )
                yield (
                    ("additional_callbacks", index),
                    f'{lack}; leave it out, or use "keep": "best" with $.inner',
                )
            if experience["select"] and inner is None:
                yield ("select",), f"there are no validation rows to choose on; {INNER}"
            if inner is not None and not experience["select"] and not experience["baselines"]:
                yield (
                    ("inner",),
                    (
                        'nothing is chosen, since "keep" is "last" and there is no $.select; leave'
                        " it out"
                    ),
                )
        elif inner is None:
            lack = (
                "there are no rows on which to choose the best epoch without looking at those"
                " held out"
            )
            yield (
                ("keep",),
                (
                    f'{lack}; {INNER}, or use "keep": "last" with a number of epochs that is known'
                    " to work"
                ),
            )
        combinations = math.prod(len(values) for values in experience["select"].values())
        if combinations > MOST_COMBINATIONS:
            yield (
                ("select",),
                f"{combinations:,} combinations are too many; list at most {MOST_COMBINATIONS:,}",
            )
        for name, key in [(keys, key) for keys in experience["select"] for key in keys.split(",")]:
            if (first := key.split(".")[0]) not in SELECTABLE:
                near = suggestion(first, SELECTABLE)
                yield ("select", name), f"'{first}' cannot be chosen by cross-validation; {near}"
            elif key == "model":
                advice = (
                    "list values of a key in the model, for example"
                    " model.operations.NAME.parameters.KEY"
                )
                yield ("select", name), advice

    def with_defaults(self, dataset: Document, tables: Tables) -> Document:
        variables = {
            key: {name: listed(value) for name, value in dataset[key].items()}
            for key in ("inputs", "outputs")
        }
        units = {
            **{name: "" for of_key in variables.values() for name in of_key},
            **dataset["units"],
        }
        groups = {name: {"pattern": None, **value} for name, value in dataset["groups"].items()}
        missing = imputation(dataset) or dataset["missing"]
        return {**dataset, **variables, "units": units, "groups": groups, "missing": missing}

    def summary(self, spec: Document) -> dict[str, str]:
        dataset = spec["dataset"]
        choices = {
            key: (
                ", ".join(map(str, values))
                if len(values) <= MOST_LISTED
                else f"{len(values)} points"
            )
            for key, values in spec["select"].items()
        }
        groups = "" if spec["split"]["parameters"].get("by") else ", ".join(dataset["groups"])
        taught = dataset.get("estimates_of")
        path = dataset["stand_in" if dataset.get("stood_in") else "path"]
        return {
            "file": f"{path}, SHA-256 {dataset['fingerprint'][:16]}…",
            "held out": (
                entry_in_words(spec["split"])
                + (f", not by the declared groups: {groups}" if groups else "")
            ),
            "inner folds": entry_in_words(spec["inner"]) if spec["inner"] else "none",
            **(
                {"gaps": entry_in_words(missing)}
                if isinstance(missing := dataset["missing"], dict)
                else {}
            ),
            "selected": (
                "; ".join(f"{key} from {values}" for key, values in choices.items())
                or "only the epoch"
            ),
            "members": str(spec["members"]),
            **({"learned": f"estimates of {taught['run']}, of {taught['rows']}"} if taught else {}),
            "protocol": spec["protocol"].replace("_", " "),
        }

    def cautions_of_data(self, spec: Document) -> list[str]:
        stand_in = [STAND_IN] if spec["dataset"].get("stood_in") else []
        taught = spec["dataset"].get("estimates_of")
        if not taught:
            return stand_in
        return [
            f"errors are against estimates of {taught['run']}",
            *filter(None, [taught["caution"]]),
        ]

    def cautions(self, spec: Document) -> list[str]:
        return self.cautions_of_data(spec) + (
            [AS_PUBLISHED] if spec["protocol"] == "as_published" else []
        )


def imputation(dataset: Mapping[str, Any]) -> dict[str, Any]:
    """How gaps in the inputs of a dataset, in any form, are filled in; empty if rows with gaps are
    not used.
    """
    missing = dataset["missing"]
    if (by := _type(missing)) in ("error", "drop"):
        return {}
    return {
        "type": by,
        "parameters": {
            "indicator": None,
            **({} if by == missing else missing.get("parameters", {})),
        },
    }


def measured(spec: Mapping[str, Any]) -> list[str]:
    """The inputs of an experience that are columns of its file: all but the indicator of their
    gaps.
    """
    return [name for name in spec["inputs"] if name in spec["dataset"]["inputs"]]


def grouped_by(spec: Mapping[str, Any]) -> str | None:
    """The column or group of the split, else the first group of the dataset; None if there is
    neither.
    """
    return spec["split"]["parameters"].get("by") or next(iter(spec["dataset"]["groups"]), None)


def _type(value: Any) -> str:
    """The name of a callback in any of its forms."""
    if isinstance(value, list):
        return str(value[0])
    return str(value["type"]) if isinstance(value, dict) else str(value)


DOCUMENTS = TabularSpecs()
