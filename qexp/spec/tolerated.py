"""What a document may hold although nothing reads it, as specs of VDI do: it is left out, with a warning."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from qexp.did_you_mean import nearest
from qexp.spec import old_forms
from qexp.spec.finding import Finding, Where
from qexp.spec.kinds import KINDS
from qexp.spec.schema import whole_schema
from qexp.tables import Tables

Document = dict[str, Any]


def as_read(
    kind: str, document: Document, tables: Tables, overridden: Collection[Where] = ()
) -> tuple[Document, list[Finding]]:
    """The document without what nothing reads, and a warning about each thing that is read otherwise than written.

    overridden  places of values that were given on the command line: what nothing reads of these stays, as an error
    Keys that may be misspelt stay, too, and so do unknown parameters, without which an operation would be another.
    """
    of_kind = KINDS.get(str(document.get("type"))) if kind == "dataset" else None
    forms = [path for path, _ in old_forms.findings(kind, document, tables)]
    unread = [*_unknown_keys(document, whole_schema(kind, tables)), *(of_kind.unread(document) if of_kind else ())]
    if kind == "experience":
        unread += _untrained(document)
    warnings = [
        (where, message)
        for where, message in unread
        if not any(where[: len(path)] == path for path in forms) and not _given(where, overridden)
    ]
    read = copy.deepcopy(document)
    for where, _ in reversed(warnings):  # an element of a list before those that come earlier in it
        _remove(read, where)
    return read, [*warnings, *(of_kind.doubts_in_dataset(read) if of_kind else ())]


def _given(where: Where, overridden: Collection[Where]) -> bool:
    def dotted(path: Where) -> str:
        return "".join(f"{step}." for step in path)

    return any(dotted(path).startswith(dotted(where)) for path in overridden)


def _remove(document: Any, where: Where) -> None:
    for step in where[:-1]:
        document = document[step]
    del document[where[-1]]


def _unknown_keys(document: Document, schema: Document) -> Iterator[Finding]:
    for error in Draft202012Validator(schema).iter_errors(document):
        if error.validator == "additionalProperties" and error.schema.get("x-noun") != "parameter":
            for key in _unlike_any(error):
                yield (*error.absolute_path, key), f"nothing reads the key '{key}'; it changes nothing"


def _untrained(document: Document) -> Iterator[Finding]:
    """Outputs for which the experience has no loss, if it has one for others, and what else it says of them."""
    outputs, losses = document.get("outputs"), document.get("losses")
    if not isinstance(outputs, list) or not isinstance(losses, dict):
        return
    if not any(isinstance(name, str) and name in losses for name in outputs):
        return
    misspelt = [name for name in losses if name not in outputs]
    for index, name in enumerate(outputs):
        if isinstance(name, str) and name not in losses and nearest(name, misspelt) is None:
            yield ("outputs", index), f"'{name}' has no loss, so that nothing would train it: it is left out"
            for key in ("metrics", "transforms"):
                if isinstance(document.get(key), dict) and name in document[key]:
                    yield (key, name), f"the output '{name}', which has no loss, is left out"


def _unlike_any(error: ValidationError) -> Iterator[str]:
    """The unknown keys of an object that are misspellings neither of a known key nor of one that is missing."""
    schema: Any = error.schema
    given: Any = error.instance
    known = schema.get("properties", {})
    missing = [key for key in schema.get("required", []) if key not in given]
    for key in given:
        if key not in known and nearest(key, known) is None and not any(nearest(one, [key]) for one in missing):
            yield key
