"""What a document leaves to others: short forms, defaults, and values that follow from the dataset."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qexp.errors import suggestion
from qexp.spec.reading import Document, Finding, Where


def defaults_in(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Key → default, for the properties of a schema that have one."""
    return {name: copy.deepcopy(value["default"]) for name, value in schema["properties"].items() if "default" in value}


# Specs that follow their dataset: what says "from dataset" is filled in from the dataset that is used.


FROM_DATASET = "from dataset"
"""Stands for what the dataset decides: inputs and outputs, their sizes and names, and the channels of the outputs."""

CHANNELS = "outputs"
"""The parameter of operations that is the number of channels, or values, of all outputs."""


@dataclass(frozen=True)
class Fields:
    """What a dataset offers to specs that follow it."""

    sizes: Mapping[str, Sequence[int]]
    """Variable → its size as specs write it, channels last."""
    roles: tuple[Sequence[str], Sequence[str]] | None
    """Names of inputs and of outputs; None if the dataset does not tell them apart."""


def follows(document: Document) -> bool:
    """Whether a model, or an experience's own keys, cannot be checked without the dataset; of any JSON object."""
    return any(True for _ in _followers(document))


def follow_dataset(experience: Document, fields: Fields) -> tuple[Document, list[tuple[str, Finding]]]:
    """An experience with its dataset and model inserted, as the dataset decides; a single loss is that of every output.

    Returns also the problems, each with the kind of spec that it is in. The document is not checked yet.
    """
    following = copy.deepcopy(experience)
    problems: list[tuple[str, Finding]] = []
    for key, position in (("inputs", 0), ("outputs", 1)):
        if following.get(key) != FROM_DATASET:
            continue
        if fields.roles is None:
            message = f"this dataset does not say which variables are {key}; list them"
            problems.append(("experience", ((key,), message)))
        else:
            following[key] = list(fields.roles[position])
    inputs, outputs = (_names(following.get(key)) for key in ("inputs", "outputs"))
    if isinstance(following.get("losses"), str) and outputs is not None:
        following["losses"] = dict.fromkeys(outputs, following["losses"])
    if isinstance(following.get("model"), dict) and inputs is not None and outputs is not None:
        problems += [("model", finding) for finding in _follow(following["model"], inputs, outputs, fields)]
    return following, problems


def _follow(model: Document, inputs: list[str], outputs: list[str], fields: Fields) -> Iterator[Finding]:
    """Fill in a model, in place; yields what the dataset cannot decide."""
    if model.get("inputs") == FROM_DATASET:
        model["inputs"] = {name: {"size": FROM_DATASET} for name in inputs}
    for where in list(_followers(model)):
        value: Any = None
        if where[0] == "inputs":
            if where[1] not in fields.sizes:
                yield where, f"the dataset has no '{where[1]}'; {suggestion(str(where[1]), fields.sizes)}"
                continue
            value = list(fields.sizes[str(where[1])])
        elif where[0] == "operations":
            value = sum(fields.sizes[name][-1] for name in outputs if name in fields.sizes)
        else:
            value = list(inputs) if where[-1] == "x_name" else list(outputs)
        _put(model, where, value)


def _followers(document: Document) -> Iterator[Where]:
    """Where a model, or the inputs and outputs of an experience, say "from dataset"."""
    for key in ("inputs", "outputs"):
        if document.get(key) == FROM_DATASET:
            yield (key,)
    for name, entry in _items(document.get("inputs")):
        if isinstance(entry, dict) and entry.get("size") == FROM_DATASET:
            yield "inputs", name, "size"
    for name, operation in _items(document.get("operations")):
        parameters = operation.get("parameters") if isinstance(operation, dict) else None
        if isinstance(parameters, dict) and parameters.get(CHANNELS) == FROM_DATASET:
            yield "operations", name, "parameters", CHANNELS
    for index, branch in enumerate(document["branches"] if isinstance(document.get("branches"), list) else []):
        for key in ("x_name", "y_name"):
            if isinstance(branch, dict) and branch.get(key) == FROM_DATASET:
                yield "branches", index, key


def _items(value: Any) -> list[tuple[str, Any]]:
    return list(value.items()) if isinstance(value, dict) else []


def _names(value: Any) -> list[str] | None:
    """A list of names; None if it is none."""
    return value if isinstance(value, list) and all(isinstance(name, str) for name in value) else None


def _put(document: Any, where: Where, value: Any) -> None:
    for step in where[:-1]:
        document = document[step]
    document[where[-1]] = value
