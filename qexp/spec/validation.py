"""Problems of a document, in words; what is left out of it with a warning, and old forms that are
refused.
"""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import reduce
from operator import getitem
from typing import Any, cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from qexp.base.options import is_number
from qexp.base.tables import Tables
from qexp.errors import nearest, suggestion
from qexp.spec.experiences import belongs_to, type_name, type_of
from qexp.spec.kinds import KINDS, all_documents, documents_named, documents_of, filled_in
from qexp.spec.reading import Document, Finding, Where, describe, follows, listed
from qexp.spec.schema import whole_schema

# Forms that VDI gave up: the error shows the new one.


def _old_forms(kind: str, document: Document, tables: Tables) -> list[Finding]:
    search = {"dataset": _old_distributions, "model": _old_graph}.get(kind)
    return list(search(document, tables)) if search else []


def _old_distributions(document: Document, tables: Tables) -> Iterator[Finding]:
    distributions = document.get("distributions")
    for variable, value in distributions.items() if isinstance(distributions, dict) else ():
        if (
            isinstance(value, list)
            and value
            and isinstance(value[0], str)
            and value[0] in tables["distributions"]
        ):
            names = tables["distributions"][value[0]].parameters.get("properties", {})
            new = {"type": value[0], "parameters": dict(zip(names, value[1:], strict=False))}
            yield (
                ("distributions", variable),
                (
                    "a distribution as a list is an old form, which VDI refuses, too; write"
                    f" {json.dumps(new)}"
                ),
            )


def _old_graph(document: Document, tables: Tables) -> Iterator[Finding]:
    if "graph" not in document and (document.get("architecture") is None or "branches" in document):
        return
    operations = document.get("operations")
    inputs = {}
    for name, operation in operations.items() if isinstance(operations, dict) else ():
        if isinstance(operation, dict) and operation.get("module") == "input":
            inputs[name] = operation.get("parameters", {})
    inputs = inputs or {"displacement": {"size": [64, 64, 1]}}
    first = next(iter(inputs))
    chain = list[str]()
    graph = document.get("graph")
    following = graph.get(first) if isinstance(graph, dict) else None
    while isinstance(graph, dict) and isinstance(following, str) and following not in chain:
        chain.append(following)
        following = graph.get(following)
    branch = {
        "x_name": first,
        "y_name": "middle",
        "operations": chain or ["resnet_block_1", "down_sample"],
    }
    # One error for the whole document: every part of it has a new form.
    yield (
        (),
        "a model with 'graph' is an old form, which VDI refuses, too; write its inputs, outputs and"
        " branches "
        f'instead, for example "inputs": {json.dumps(inputs)}, "outputs": ["depth",'
        ' "delta_volume"], '
        f'"branches": [{json.dumps(branch)}, …], and leave out "graph", "architecture" and the'
        ' module "input"',
    )


def _is_within(where: Where, others: Iterable[Finding]) -> bool:
    return any(where[: len(path)] == path for path, _ in others)


# What a document may hold although nothing reads it, as specs of VDI: left out, with a warning.


def without_unread(
    kind: str, document: Document, tables: Tables, overridden: Collection[Where] = ()
) -> tuple[Document, list[Finding]]:
    """The document without what nothing reads, and warnings about what is read otherwise.

    overridden  paths of values that were given on the command line: what nothing reads of these
                stays, as an error
    Keys that may be misspelt stay, too, and so do unknown parameters, without which an operation
    would be another.
    """
    of_kind = all_documents().get(str(document.get("type"))) if kind == "dataset" else None
    old = _old_forms(kind, document, tables)
    unread = [
        *_unknown_keys(document, whole_schema(kind, tables)),
        *(of_kind.unread(document) if of_kind else ()),
    ]
    if kind == "experience":
        unread += _untrained(document)

    keys = {".".join(map(str, path)) + "." for path in overridden}

    def is_overridden(where: Where) -> bool:
        return any(key.startswith(".".join(map(str, where)) + ".") for key in keys)

    unread = [finding for finding in unread if not _is_within(finding[0], old)]
    warnings = [finding for finding in unread if not is_overridden(finding[0])]
    remaining: Any = copy.deepcopy(document)
    # an element of a list before those that come earlier in it
    for (*way, last), _ in reversed(warnings):
        del reduce(getitem, way, remaining)[last]
    return remaining, [*warnings, *(of_kind.doubts_in_dataset(remaining) if of_kind else ())]


def _unknown_keys(document: Document, schema: Document) -> Iterator[Finding]:
    """The keys of objects that are misspellings neither of a known nor of a missing key."""
    for error in Draft202012Validator(schema).iter_errors(document):
        rules: Any = error.schema
        if error.validator != "additionalProperties" or rules.get("x-noun") == "parameter":
            continue
        instance: Any = error.instance
        properties = rules.get("properties", {})
        missing = [key for key in rules.get("required", []) if key not in instance]
        for key in instance:
            misspelt = any(nearest(required, [key]) for required in missing)
            if not misspelt and not nearest(key, properties):
                where = (*error.absolute_path, key)
                yield where, f"nothing reads the key '{key}'; it changes nothing"


def _untrained(document: Document) -> Iterator[Finding]:
    """Outputs without a loss in an experience that has some, and what else it says of them."""
    outputs = document.get("outputs")
    losses = document.get("losses")
    if not isinstance(outputs, list) or not isinstance(losses, dict):
        return
    if not any(isinstance(name, str) and name in losses for name in outputs):
        return
    misspelt = [name for name in losses if name not in outputs]
    for index, name in enumerate(outputs):
        if isinstance(name, str) and name not in losses and nearest(name, misspelt) is None:
            yield (
                ("outputs", index),
                f"'{name}' has no loss, so that nothing would train it: it is left out",
            )
            for key in ("metrics", "transforms"):
                if isinstance(document.get(key), dict) and name in document[key]:
                    yield (key, name), f"the output '{name}', which has no loss, is left out"


# Problems of a document, in words: against its schema, and those that a schema cannot express.


def findings(
    kind: str, document: Document, tables: Tables, dataset_type: str | None = None
) -> list[Finding]:
    """All problems of one document that can be found without the other documents.

    dataset_type  type of an experience's dataset; if it is missing or unknown, which the dataset's
                  own findings report, keys that depend on it are not checked
    """
    dataset_type = dataset_type if isinstance(dataset_type, str) and dataset_type in KINDS else None
    schema = whole_schema(kind, tables)
    old = _old_forms(kind, document, tables)
    in_document = in_schema(document, schema)
    by_schema = [finding for finding in in_document if not _is_within(finding[0], old)]
    if kind == "experience" and dataset_type is not None:
        of_type = schema["$defs"][type_name(document)]
        by_schema += _in_keys_of_dataset_types(document, of_type, dataset_type)
    if old or by_schema:
        return sorted(old + by_schema, key=lambda finding: [str(step) for step in finding[0]])
    if kind == "experience":
        its_type = type_of(document)
        complete = {**its_type.defaults(dataset_type), **document}
        return list(its_type.in_document(complete, dataset_type))
    if kind == "model":
        return [] if follows(document) else list(_in_model(document))
    return list(documents_of(document).in_dataset(filled_in(document), tables["quantities"]))


def in_schema(document: Document, schema: Document) -> list[Finding]:
    """The problems of a document against a JSON Schema."""
    errors = Draft202012Validator(schema).iter_errors(document)
    return list(itertools.chain.from_iterable(map(_in_words, errors)))


def _in_words(error: ValidationError) -> Iterator[Finding]:
    path: Where = tuple(error.absolute_path)
    value: Any = error.instance
    rule = str(error.validator)
    limit = cast(Any, error.validator_value)
    schema = error.schema
    if not isinstance(schema, dict):
        yield path, error.message
    elif rule == "additionalProperties":
        properties = schema.get("properties", {})
        for key in value:
            if key not in properties:
                yield (*path, key), f"unknown key '{key}'; {suggestion(key, properties)}"
    elif rule == "required":
        for key in limit:
            if key not in value and f"'{key}' is a required property" == error.message:
                yield path, _missing(key, value, schema.get("properties", {}))
    elif rule == "enum" and "x-message" in schema:
        yield path, f"{schema['x-message']}, not {describe(value)}"
    elif rule == "not" and "x-message" in schema:
        yield path, schema["x-message"]
    elif rule == "enum":
        noun = schema.get("x-noun")
        others = schema.get("x-others", {})
        if isinstance(value, str) and value in others:
            yield path, f"'{value}' {others[value]}"
        elif isinstance(value, str):
            similar = suggestion(value, [str(choice) for choice in limit])
            yield path, f"no {noun or 'choice'} '{value}'; {similar}"
        else:
            yield path, f"must be the name of a {noun or 'choice'}, but is {describe(value)}"
    elif rule == "type":
        kinds = limit if isinstance(limit, list) else [limit]
        words = " or ".join(_KINDS[kind] for kind in kinds)
        hint = _hint(path, value, kinds, schema)
        yield path, f"must be {words}, but is {describe(value)}{hint}"
    elif rule == "pattern":
        usual = "is not a name; use letters, digits, - and _, beginning with a letter"
        rules = schema.get("x-message", usual)
        yield path, f"'{value}' {rules}"
    elif rule in _LIMITS:
        if isinstance(limit, dict):
            limit = limit.get("const", limit)
        plural = "" if limit == 1 else "s"
        rules = _LIMITS[rule].format(limit=limit, s=plural)
        meaning = ""
        if rule == "minItems" and limit > 1 and "description" in schema:
            meaning = f"; they are {schema['description']}"
        yield path, f"{rules}, but is {describe(value)}{meaning}"
    else:
        yield path, error.message


def _missing(key: str, document: Iterable[str], properties: Mapping[str, Any]) -> str:
    meant = nearest(key, [other for other in document if other not in properties])
    question = f"; is {meant!r} meant to be it?" if meant else ""
    description = properties.get(key, {}).get("description")
    about = f" ({description})" if description else ""
    return f"the key '{key}' is missing{about}{question}"


def _hint(path: Where, value: Any, kinds: list[str], schema: Mapping[str, Any]) -> str:
    """The list or the object that a value of another type was probably meant to be."""
    if kinds == ["array"]:
        return _as_list(path, value, schema)
    required = schema.get("required", [])
    if kinds == ["object"] and isinstance(value, str) and len(required) == 1:
        return f"; write {json.dumps({required[0]: value})}"
    return ""


def _as_list(path: Where, value: Any, schema: Mapping[str, Any]) -> str:
    """The list that was probably meant, as a command takes it."""
    key = ".".join(map(str, path))
    if isinstance(value, str):
        with suppress(ValueError):
            json.loads(f"[{value}]")
            return f"; write [{value}], or in a shell --set '{key}=[{value}]'"
    if is_number(value):
        whole = "" if schema.get("minItems", 0) > 1 else f"write [{value}], or "
        return f"; {whole}for one of its numbers `overrides={ {f'{key}.0': value} }`"
    return ""


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
    "minItems": "must have at least {limit} item{s}",
    "maxItems": "must have at most {limit} item{s}",
    "minProperties": "must have at least {limit} key{s}",
    "maxProperties": "must have at most {limit} key{s}",
    "minLength": "must have at least {limit} character{s}",
    "uniqueItems": "must not repeat an item",
    "not": "must not be {limit}",
}


def _in_keys_of_dataset_types(
    document: Document, schema: Document, dataset_type: str
) -> Iterator[Finding]:
    """Keys that an experience lacks for its type of dataset, or has for other types only."""
    split = document.get("split")
    for key, of_key in schema["properties"].items():
        belongs = belongs_to(of_key, dataset_type)
        if key in document and not belongs:
            types = " and ".join(listed(of_key["x-dataset"]))
            yield (
                (key,),
                f"'{key}' is for {types} datasets, but this one is of the type '{dataset_type}'",
            )
        if key not in document and belongs and "x-dataset" in of_key and "default" not in of_key:
            yield (), _missing(key, document, schema["properties"])
    of_kind = documents_named(dataset_type)
    if isinstance(split, str | dict | list) and isinstance(split, list) != of_kind.split_by_shares:
        yield ("split",), of_kind.split_words


def _in_model(document: Document) -> Iterator[Finding]:
    operations = document["operations"]
    of_branches: set[str] = set()
    for index, branch in enumerate(document["branches"]):
        where: Where = ("branches", index)
        sources = listed(branch["x_name"])
        names = {*document["inputs"], *of_branches}
        for name in sources:
            if name not in names:
                yield (
                    (*where, "x_name"),
                    f"no input or earlier branch is called '{name}'; {suggestion(name, names)}",
                )
        for position, name in enumerate(branch["operations"]):
            if name not in operations:
                yield (
                    (*where, "operations", position),
                    f"no operation '{name}'; {suggestion(name, operations)}",
                )
        if not branch["operations"] and len(sources) > 1:
            yield (
                (*where, "operations"),
                "several inputs, but no operation that joins them; add a 'concatenate'",
            )
        of_branches.update(listed(branch["y_name"]))
    for index, name in enumerate(document["outputs"]):
        if name not in of_branches:
            yield ("outputs", index), f"no branch ends in '{name}'; {suggestion(name, of_branches)}"
