"""Documents of datasets of rows of a table, and of experiences on them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
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
    "additional_callbacks", "batch_size", "epochs", "gradient_clip", "learning_rate", "losses",
    "model", "optimizer", "precision", "schedule", "transforms",
)  # fmt: skip
"""Keys that `select` may choose by cross-validation: those on building and training networks."""

MOST_COMBINATIONS = 10_000
"""Combinations of values in `select`, at most: each is trained on all inner folds of all folds."""

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
        inputs = dataset["inputs"]
        outputs = dataset["outputs"]
        owners = {column: name for name, columns in inputs.items() for column in listed(columns)}
        for name, columns in outputs.items():
            where = "outputs", name
            if name in inputs:
                yield where, f"'{name}' is also an input; a variable is one or the other"
                continue
            for column in listed(columns):
                if column in owners:
                    yield (
                        where,
                        (
                            f"the column '{column}' belongs to the input '{owners[column]}' as"
                            " well: the network would see the answer"
                        ),
                    )
        for name in dataset.get("classes", {}):
            if name not in outputs:
                yield ("classes", name), f"'{name}' is no output; {suggestion(name, outputs)}"
            elif len(listed(outputs[name])) > 1:
                yield ("outputs", name), f"'{name}' is a class, which has one column"
        names = [*inputs, *outputs]
        rule = imputation(dataset)
        indicator = rule["parameters"]["indicator"] if rule else None
        if indicator in names:
            yield (
                ("missing", "parameters", "indicator"),
                f"'{indicator}' is a variable of columns; choose another name",
            )
        for name in dataset["units"]:
            if name not in names:
                yield ("units", name), f"no variable '{name}'; {suggestion(name, names)}"

    def in_experience(self, experience: Document) -> Iterator[Finding]:
        """Problems, above all choices on rows that are trained on or held out."""
        for index, name in enumerate(experience["outputs"]):
            if name in experience["inputs"]:
                yield (
                    ("outputs", index),
                    f"'{name}' is also an input: the network would see the answer",
                )
        if not experience.get("test", True):
            yield (
                ("test",),
                (
                    "rows are divided into folds, and have no validation part of their own;"
                    " values are chosen within each fold, by 'select'"
                ),
            )
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
        yield from _in_choices(experience, callbacks)
        yield from _in_selection(experience["select"])

    def with_defaults(self, dataset: Document, tables: Tables) -> Document:
        inputs, outputs = (
            {name: listed(columns) for name, columns in dataset[key].items()}
            for key in ("inputs", "outputs")
        )
        units = {**dict.fromkeys([*inputs, *outputs], ""), **dataset["units"]}
        groups = {name: {"pattern": None, **value} for name, value in dataset["groups"].items()}
        missing = imputation(dataset) or dataset["missing"]
        variables = {"inputs": inputs, "outputs": outputs, "units": units}
        return {**dataset, **variables, "groups": groups, "missing": missing}

    def summary(self, spec: Document) -> dict[str, str]:
        dataset = spec["dataset"]
        choices = []
        for key, values in spec["select"].items():
            few = len(values) <= MOST_LISTED
            listing = ", ".join(map(str, values)) if few else f"{len(values)} points"
            choices.append(f"{key} from {listing}")
        groups = "" if spec["split"]["parameters"].get("by") else ", ".join(dataset["groups"])
        path = dataset["stand_in" if dataset.get("stood_in") else "path"]
        lines = {
            "file": f"{path}, SHA-256 {dataset['fingerprint'][:16]}…",
            "held out": entry_in_words(spec["split"]),
            "inner folds": entry_in_words(spec["inner"]) if spec["inner"] else "none",
        }
        if groups:
            lines["held out"] += f", not by the declared groups: {groups}"
        if isinstance(dataset["missing"], dict):
            lines["gaps"] = entry_in_words(dataset["missing"])
        lines["selected"] = "; ".join(choices) or "only the epoch"
        lines["members"] = str(spec["members"])
        taught = dataset.get("estimates_of")
        if taught:
            lines["learned"] = f"estimates of {taught['run']}, of {taught['rows']}"
        lines["protocol"] = spec["protocol"].replace("_", " ")
        return lines

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
        published = [AS_PUBLISHED] if spec["protocol"] == "as_published" else []
        return self.cautions_of_data(spec) + published


def _in_choices(experience: Document, callbacks: Sequence[str]) -> Iterator[Finding]:
    """Choices without validation rows, or on rows that are held out."""
    inner = experience["inner"]
    keep = experience["keep"]
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
        way_out = 'leave it out, or use "keep": "best" with $.inner'
        for index, name in enumerate(callbacks):
            if name in VALIDATED:
                lack = f'\'{name}\' needs validation rows, and with "keep": "last" all outside a'
                yield ("additional_callbacks", index), f"{lack} fold are trained on; {way_out}"
        if experience["select"] and inner is None:
            yield ("select",), f"there are no validation rows to choose on; {INNER}"
        if inner is not None and not experience["select"] and not experience["baselines"]:
            yield (
                ("inner",),
                (
                    'nothing is chosen, since "keep" is "last" and there is no $.select;'
                    " leave it out"
                ),
            )
    elif inner is None:
        lack = "there are no rows on which to choose the best epoch without looking at those"
        yield (
            ("keep",),
            (
                f'{lack} held out; {INNER}, or use "keep": "last" with a number of epochs that'
                " is known to work"
            ),
        )


def _in_selection(select: Mapping[str, Sequence[Any]]) -> Iterator[Finding]:
    """Too many combinations, and keys that cannot be chosen."""
    combinations = math.prod(len(values) for values in select.values())
    if combinations > MOST_COMBINATIONS:
        yield (
            ("select",),
            f"{combinations:,} combinations are too many; list at most {MOST_COMBINATIONS:,}",
        )
    for name in select:
        for key in name.split(","):
            first = key.split(".")[0]
            if first not in SELECTABLE:
                similar = suggestion(first, SELECTABLE)
                yield ("select", name), f"'{first}' cannot be chosen by cross-validation; {similar}"
            elif key == "model":
                yield (
                    ("select", name),
                    (
                        "list values of a key in the model, for example"
                        " model.operations.NAME.parameters.KEY"
                    ),
                )


def imputation(dataset: Mapping[str, Any]) -> Document:
    """How gaps in the inputs of a dataset are filled in; empty if rows with gaps are not used."""
    missing = dataset["missing"]
    rule = _type(missing)
    if rule in ("error", "drop"):
        return {}
    given = {} if rule == missing else missing.get("parameters", {})
    return {"type": rule, "parameters": {"indicator": None, **given}}


def measured(spec: Mapping[str, Any]) -> list[str]:
    """The inputs of an experience that are columns of its file, without the indicator of gaps."""
    return [name for name in spec["inputs"] if name in spec["dataset"]["inputs"]]


def grouped_by(spec: Mapping[str, Any]) -> str | None:
    """The column or group of the split, else the dataset's first group; None without either."""
    return spec["split"]["parameters"].get("by") or next(iter(spec["dataset"]["groups"]), None)


def _type(value: Any) -> str:
    """The name of a callback in any of its forms."""
    if isinstance(value, list):
        return str(value[0])
    return str(value["type"]) if isinstance(value, dict) else str(value)


DOCUMENTS = TabularSpecs()
