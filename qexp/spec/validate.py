"""What is wrong with a document, in words: against its schema, and in ways that a schema cannot say."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from qexp.did_you_mean import nearest, suggestion
from qexp.quantities import Quantities, base_name, quantity
from qexp.spec import old_forms
from qexp.spec.load import described
from qexp.spec.schema import belongs_to, whole_schema
from qexp.tables import Tables

Path = tuple[str | int, ...]
Finding = tuple[Path, str]
"""Where in the document, and what is wrong there."""


DATASET_TYPES = ("generated", "tabular", "gridded", "spectra")


def findings(kind: str, document: dict[str, Any], tables: Tables, dataset_type: str | None = None) -> list[Finding]:
    """Everything that is wrong with one document, as far as it can be seen without the others.

    dataset_type  of an experience's dataset, where it is known
    """
    schema = whole_schema(kind, tables)
    old = old_forms.findings(kind, document, tables)
    covered = [path for path, _ in old]
    by_schema = [
        finding
        for finding in _against_schema(document, schema)
        if not any(finding[0][: len(path)] == path for path in covered)
    ]
    if kind == "experience":
        by_schema += _of_its_dataset(document, schema, dataset_type)
    if old or by_schema:
        return sorted(old + by_schema, key=lambda finding: [str(step) for step in finding[0]])
    if kind == "experience":
        return list(_in_experience(document, _dataset_type(document, dataset_type)))
    return list(_in_model(document) if kind == "model" else _in_dataset(document, tables["quantities"]))


def _against_schema(document: Any, schema: dict[str, Any]) -> Iterator[Finding]:
    for error in Draft202012Validator(schema).iter_errors(document):
        yield from _in_words(error)


def _in_words(error: ValidationError) -> Iterator[Finding]:
    path: Path = tuple(error.absolute_path)
    value: Any = error.instance
    rule, limit, schema = str(error.validator), cast(Any, error.validator_value), error.schema
    if not isinstance(schema, dict):
        yield path, error.message
    elif rule == "additionalProperties":
        known = schema.get("properties", {})
        for key in value:
            if key not in known:
                yield (*path, key), f"unknown key '{key}'; {suggestion(key, known)}"
    elif rule == "required":
        for key in limit:
            if key not in value and f"'{key}' is a required property" == error.message:
                yield path, _missing(key, value, schema.get("properties", {}))
    elif rule == "enum":
        noun = schema.get("x-noun")
        if isinstance(value, str):
            yield path, f"no {noun or 'choice'} '{value}'; {suggestion(value, [str(choice) for choice in limit])}"
        else:
            yield path, f"must be the name of a {noun or 'choice'}, but is {described(value)}"
    elif rule == "type":
        kinds = limit if isinstance(limit, list) else [limit]
        yield path, f"must be {' or '.join(_KINDS[kind] for kind in kinds)}, but is {described(value)}"
    elif rule == "not" and "x-message" in schema:
        yield path, schema["x-message"]
    elif rule == "pattern":
        yield path, f"'{value}' is not a name; use letters, digits, - and _, beginning with a letter"
    elif rule in _LIMITS:
        yield path, f"{_LIMITS[rule].format(limit=limit)}, but is {described(value)}"
    else:
        yield path, error.message


def _missing(key: str, document: Iterable[str], known: Mapping[str, Any]) -> str:
    meant = nearest(key, [other for other in document if other not in known])
    about = known.get(key, {}).get("description")
    return (
        f"the key '{key}' is missing{f' ({about})' if about else ''}"
        f"{f'; is {meant!r} meant to be it?' if meant else ''}"
    )


_KINDS = {
    "object": "an object {…}",
    "array": "a list […]",
    "string": "a text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "null": "null",
}

_LIMITS = {
    "minimum": "must be at least {limit}",
    "maximum": "must be at most {limit}",
    "exclusiveMinimum": "must be greater than {limit}",
    "exclusiveMaximum": "must be less than {limit}",
    "minItems": "must have at least {limit} items",
    "maxItems": "must have at most {limit} items",
    "minProperties": "must have at least {limit} entry",
    "uniqueItems": "must not repeat an item",
    "not": "must not be {limit}",
}


def _of_its_dataset(document: dict[str, Any], schema: dict[str, Any], dataset_type: str | None) -> Iterator[Finding]:
    """Keys of an experience that are missing for its type of dataset, or mean something for another one only."""
    split, dataset_type = document.get("split"), _dataset_type(document, dataset_type)
    for key, of_key in schema["properties"].items():
        belongs = belongs_to(of_key, dataset_type)
        if key in document and not belongs:
            types = " and ".join(_listed(of_key["x-dataset"]))
            yield (key,), f"'{key}' is for {types} datasets, but this one is of the type '{dataset_type}'"
        if key not in document and belongs and "x-dataset" in of_key and "default" not in of_key:
            yield (), _missing(key, document, schema["properties"])
    if dataset_type == "generated" and isinstance(split, str | dict):
        yield (
            ("split",),
            "a generated dataset is divided by shares of training and validation, for example [0.8, 0.2]; "
            "its test part is what 'varyings' says",
        )
    if dataset_type == "gridded" and isinstance(split, list):
        yield (
            ("split",),
            "frames of the train folders are kept for validation by folder or by time, for example "
            '{"type": "random_groups", "parameters": {"by": "folder", "share": 0.2}} or {"type": "time_block"}',
        )
    if dataset_type == "tabular" and isinstance(split, list):
        yield (
            ("split",),
            "the rows of a tabular dataset are held out in folds, for example "
            '{"type": "leave_one_out"} or {"type": "k_fold", "parameters": {"folds": 5}}',
        )
    if dataset_type == "spectra" and isinstance(split, list):
        yield (
            ("split",),
            'spectra are held out by core: "parts" for the test part that the dataset has, or for example '
            '{"type": "held_out", "parameters": {"by": "core", "values": ["A", "B"]}}',
        )


def _dataset_type(document: dict[str, Any], known: str | None) -> str:
    """The type of an experience's dataset; where it is not known, the form of `split` tells which was meant."""
    if known in DATASET_TYPES:
        return str(known)
    return "tabular" if isinstance(document.get("split"), str | dict) else "generated"


def _in_dataset(document: dict[str, Any], quantities: Quantities) -> Iterator[Finding]:
    if document["type"] == "generated":
        return _in_generated(document, quantities)
    kinds = {"tabular": _in_tabular, "gridded": _in_gridded, "spectra": _in_spectra}
    return kinds[document["type"]](document)


RESERVED = ("spectrum", "mask", "name", "part", "core", "depth", "hidden_rmse")
"""What a target cannot be called: variables of spectra, and columns of their tables."""


def _in_spectra(document: dict[str, Any]) -> Iterator[Finding]:
    channels, patch_size = document.get("channels", 2048), document.get("patch_size", 16)
    if channels % patch_size:
        yield (
            ("patch_size",),
            f"patches of {patch_size} channels do not divide a spectrum of {channels}; "
            f"{_nearest_divisor(channels, patch_size)} would",
        )
    if document.get("target") in RESERVED:
        yield ("target",), f"'{document['target']}' is what something else of a spectrum is called; choose another name"
    energy = document.get("energy")
    if energy is not None and not energy[1] > 0:
        yield ("energy", 1), f"channels go on to higher energies, but by {energy[1]:g} keV"


def _nearest_divisor(number: int, wanted: int) -> int:
    """Searched outwards from the size that is wanted; 1 comes last."""
    sizes = (size for distance in range(wanted) for size in (wanted - distance, wanted + distance))
    return next(size for size in sizes if number % size == 0)


def _in_gridded(document: dict[str, Any]) -> Iterator[Finding]:
    given = [key for key in ("inputs", "outputs") if key in document]
    if document.get("mapping") is not None:
        for key in given:
            yield (key,), "the mapping names inputs and outputs already; leave out one of the two"
        return
    for key in ("inputs", "outputs"):
        if key not in given:
            yield (), f"the key '{key}' is missing; list its variables, or name a 'mapping', for example \"f2\""
    for name in document.get("outputs", {}):
        if name in document.get("inputs", {}):
            yield ("outputs", name), f"'{name}' is an input, too; a variable is one or the other"


def _in_tabular(document: dict[str, Any]) -> Iterator[Finding]:
    inputs, outputs = document["inputs"], document["outputs"]
    owners = {column: name for name, columns in inputs.items() for column in _listed(columns)}
    for name, columns in outputs.items():
        if name in inputs:
            yield ("outputs", name), f"'{name}' is an input, too; a variable is one or the other"
            continue
        for column in _listed(columns):
            if column in owners:
                yield (
                    ("outputs", name),
                    f"the column '{column}' belongs to the input '{owners[column]}', too: the network would be told "
                    "the answer",
                )
    for name in document.get("units", {}):
        if name not in {**inputs, **outputs}:
            yield ("units", name), f"no variable '{name}'; {suggestion(name, [*inputs, *outputs])}"


def _listed(columns: str | list[str]) -> list[str]:
    return [columns] if isinstance(columns, str) else columns


def _in_generated(document: dict[str, Any], quantities: Quantities) -> Iterator[Finding]:
    fixed, varyings = document.get("fixed", {}), document["varyings"]
    for name, value in fixed.items():
        violation = None if value is False else quantity(name, quantities).violation(value)
        if violation:
            yield ("fixed", name), f"{violation}, but is {value:g}"
        if name in varyings:
            yield ("fixed", name), f"'{name}' is fixed and varies; keep it in 'fixed' or in 'varyings'"
    for name, intervals in varyings.items():
        yield from _in_intervals(name, intervals)
        if name not in document["distributions"]:
            yield (
                ("varyings", name),
                f"'{name}' varies but has no distribution; add $.distributions.{name}, "
                'for example {"type": "uniform", "parameters": {"a": 0, "b": 1}}',
            )
    for name, (low, high) in document.get("matrix", {}).get("axes", {}).items():
        where: Path = ("matrix", "axes", name)
        if not low < high:
            yield where, f"the axis must rise, but goes from {low:g} to {high:g}"
            continue
        # Cells are centred, so that an end may lie on a limit that values must not reach.
        of = quantity(name, quantities)
        for violation in {of.violation(low + 1e-9 * (high - low)), of.violation(high)} - {None}:
            yield where, f"{violation}, but the axis goes from {low:g} to {high:g}"


def _in_intervals(name: str, intervals: list[list[float]]) -> Iterator[Finding]:
    before, taken = 0.0, 0.0
    for index, (low, high) in enumerate(intervals):
        where: Path = ("varyings", name, index)
        if not low < high:
            yield where, f"the interval must rise, but goes from {low:g} to {high:g}"
        elif low < 0 or high > 1:
            yield where, f"quantiles lie between 0 and 1, but the interval goes from {low:g} to {high:g}"
        elif low < before:
            yield where, f"starts at {low:g}, before the interval ahead of it ends at {before:g}; order and part them"
        else:
            taken += high - low
        before = max(before, high)
    if taken >= 1 - 1e-9:
        yield ("varyings", name), "the test part takes all quantiles; leave some for training and validation"


def _in_model(document: dict[str, Any]) -> Iterator[Finding]:
    known = set(document["inputs"])
    operations = document["operations"]
    for index, branch in enumerate(document["branches"]):
        sources = branch["x_name"] if isinstance(branch["x_name"], list) else [branch["x_name"]]
        for name in sources:
            if name not in known:
                yield (
                    ("branches", index, "x_name"),
                    f"nothing before this branch is called '{name}'; {suggestion(name, known)}",
                )
        for position, name in enumerate(branch["operations"]):
            if name not in operations:
                yield (
                    ("branches", index, "operations", position),
                    (f"no operation '{name}'; {suggestion(name, operations)}"),
                )
        if not branch["operations"] and len(sources) > 1:
            yield ("branches", index, "operations"), "several inputs and nothing that joins them; add a 'concatenate'"
        known.update(_listed(branch["y_name"]))
    made = {name for branch in document["branches"] for name in _listed(branch["y_name"])}
    for index, name in enumerate(document["outputs"]):
        if name not in made:
            yield ("outputs", index), f"no branch ends in '{name}'; {suggestion(name, made)}"


def _in_experience(document: dict[str, Any], dataset_type: str) -> Iterator[Finding]:
    outputs = document["outputs"]
    checks = {"generated": _of_shares, "tabular": _of_folds, "gridded": _of_patches, "spectra": _of_spectra}
    yield from checks[dataset_type](document)
    yield from _in_pretrain(document)
    for key in ("losses", "metrics"):
        for name in document.get(key, {}):
            if name not in outputs:
                yield (key, name), f"'{name}' is not an output; {suggestion(name, outputs)}"
    for index, name in enumerate(outputs):
        if name not in document["losses"]:
            yield ("outputs", index), f"the output '{name}' has no loss; add $.losses.{name}, for example \"mae\""
    for name in document.get("transforms", {}):
        variables = [*document["inputs"], *outputs]
        if name not in variables:
            yield ("transforms", name), f"'{name}' is neither input nor output; {suggestion(name, variables)}"


def _of_shares(document: dict[str, Any]) -> Iterator[Finding]:
    if abs(sum(document["split"]) - 1) > 1e-9:
        yield ("split",), f"the shares must add up to 1, but make {sum(document['split']):g}"
    if document["batch_size"] > document["sizes"][0]:
        yield (
            ("batch_size",),
            (f"a batch of {document['batch_size']} is larger than the {document['sizes'][0]} training samples"),
        )


def _of_patches(document: dict[str, Any]) -> Iterator[Finding]:
    patches = document.get("patches")
    if patches is not None and document["batch_size"] > patches[0]:
        yield (
            ("batch_size",),
            f"a batch of {document['batch_size']} is larger than the {patches[0]} training patches",
        )


def _of_spectra(document: dict[str, Any]) -> Iterator[Finding]:
    for index, name in enumerate(document["outputs"]):
        if name in document["inputs"] and name != "spectrum":
            yield ("outputs", index), f"'{name}' is an input, too: the network would be told the answer"
    if "spectrum" in document["outputs"] and "mask" not in document["inputs"]:
        yield (
            ("outputs",),
            "a network that sees a whole spectrum can copy it; add the input 'mask', which hides patches from it",
        )
    if document.get("baselines") and "spectrum" in document["outputs"]:
        yield ("baselines",), "baselines estimate numbers, not spectra; leave them out"


def _in_pretrain(document: dict[str, Any]) -> Iterator[Finding]:
    pretrain = document.get("pretrain")
    if not isinstance(pretrain, dict):
        return
    if pretrain.get("epochs_frozen") is not None and not pretrain.get("freeze"):
        yield ("pretrain", "epochs_frozen"), "nothing is frozen; list operations in 'freeze', or leave it out"


VALIDATED = ("early_stopping", "reduce_on_plateau")
"""Callbacks that look at the error on rows that were not trained on."""

SELECTABLE = (
    "additional_callbacks", "batch_size", "epochs", "gradient_clip", "learning_rate", "losses", "model", "optimizer",
    "precision", "schedule", "transforms",
)  # fmt: skip
"""What can be chosen by inner error: all that changes how a network is made and trained, and not what it is asked."""

MOST_COMBINATIONS = 10_000
"""Of what `select` lists: each is trained on all inner parts of all folds."""

INNER = 'add $.inner, for example {"type": "k_fold", "parameters": {"folds": 5}}'


def _of_folds(document: dict[str, Any]) -> Iterator[Finding]:
    """Whether what is chosen is chosen on rows that are neither trained on nor held out."""
    for index, name in enumerate(document["outputs"]):
        if name in document["inputs"]:
            yield ("outputs", index), f"'{name}' is an input, too: the network would be told the answer"
    callbacks = [_type(value) for value in document.get("additional_callbacks", [])]
    if "test_evaluate" in callbacks:
        where: Path = ("additional_callbacks", callbacks.index("test_evaluate"))
        yield where, "rows that are held out are not looked at before the end; leave out 'test_evaluate'"
    validated = [(index, name) for index, name in enumerate(callbacks) if name in VALIDATED]
    inner, keep = document.get("inner"), document.get("keep", "best")
    if document.get("protocol") == "as_published":
        if inner is not None:
            yield ("inner",), "the protocol 'as_published' chooses on the held-out rows; leave out one of the two"
    elif keep == "last":
        for index, name in validated:
            yield (
                ("additional_callbacks", index),
                f'\'{name}\' looks at an error on rows that are not trained on, and with "keep": "last" all rows of a '
                'fold are; leave it out, or use "keep": "best" with $.inner',
            )
        if document.get("select") and inner is None:
            yield ("select",), f"there are no rows on which to choose; {INNER}"
        if inner is not None and not document.get("select") and not document.get("baselines"):
            yield ("inner",), 'nothing is chosen where "keep" is "last" and there is no $.select; leave it out'
    elif inner is None:
        yield (
            ("keep",),
            f"there are no rows on which to choose the best epoch without looking at those held out; {INNER}, or use "
            '"keep": "last" with a number of epochs that is known to be good',
        )
    combinations = math.prod(len(values) for values in document.get("select", {}).values())
    if combinations > MOST_COMBINATIONS:
        yield ("select",), f"{combinations:,} combinations are too many to choose from; at most {MOST_COMBINATIONS:,}"
    for key in document.get("select", {}):
        if (first := key.split(".")[0]) not in SELECTABLE:
            yield ("select", key), f"'{first}' cannot be chosen by inner error; {suggestion(first, SELECTABLE)}"
        elif key == "model":
            yield ("select", key), "choose among values in the model, for example model.operations.NAME.parameters.KEY"


def _type(value: Any) -> str:
    """What a callback is called in any of its forms."""
    if isinstance(value, list):
        return str(value[0])
    return str(value["type"]) if isinstance(value, dict) else str(value)


def unknown_variable(name: str, known: Iterable[str], quantities: Quantities) -> str:
    """Why a dataset cannot have a variable of this name."""
    if base_name(name) in quantities:
        return f"this dataset has no '{name}'; {suggestion(name, known)}"
    return f"no variable '{name}'; {suggestion(name, known)}"
