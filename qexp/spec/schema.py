"""The JSON Schema of each kind of spec, with the parameters of every table entry filled in."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from qexp.base.tables import Entry, Table, Tables
from qexp.spec.experiences import TRAINING, WRITTEN, schema_file
from qexp.spec.kinds import all_documents
from qexp.spec.reading import Document


def whole_schema(kind: str, tables: Tables) -> Document:
    """The schema of a kind: its file in `schemas/`, with each `x-table` replaced by the entries of
    that table.

    A parameter whose schema says `"x-entry-of"` takes an entry of that table, as the transforms of
    a chain do.
    """
    schema = {"dataset": _dataset_schema, "experience": _experience_schema}.get(
        kind, partial(schema_file, kind)
    )()
    forms = {"named": _named, "named_or_bare": _named_or_bare, "pair": _pair, "bare": _bare}
    definitions = schema.setdefault("$defs", {})
    of_tables = {
        name: definition for name, definition in definitions.items() if "x-table" in definition
    }
    references = {
        definition["x-table"]: f"#/$defs/{name}" for name, definition in of_tables.items()
    }
    for name, definition in of_tables.items():
        entries = forms[definition["form"]](definition, tables[definition["x-table"]])
        definitions[name] = _with_references(entries, references)
    return schema


EXTENDING = (
    "name or path of the spec of the same kind from which this one differs: objects are merged key"
    " by key, everything else is replaced, null removes a key; an object with another 'type' or"
    " 'module' is replaced as a whole; the description is not taken over"
)


def editor_schema(kind: str, tables: Tables) -> Document:
    """The schema of a kind for editors: a spec that extends another one needs no key."""
    schema = whole_schema(kind, tables)
    head = {key: schema.pop(key) for key in ("$schema", "$id", "title", "description", "$defs")}
    properties = dict(schema["properties"])
    for name in properties.get("type", {}).get("enum", ()):
        properties |= head["$defs"][name]["properties"]
    described: Document = {key: {} for key in properties}
    for key, declared in properties.items():
        if "description" in declared:
            described[key] = {"description": declared["description"]}
    extending = {
        "properties": {"extends": {"description": EXTENDING, "type": "string"}, **described}
    }
    then = {"type": "object", **extending, "additionalProperties": False}
    return {**head, "if": {"required": ["extends"]}, "then": then, "else": schema}


def _dataset_schema() -> Document:
    """The schema of datasets with that of each kind, which applies if `type` names it."""
    schema = schema_file("dataset")
    documents = all_documents()
    definitions = {name: kind.schemas["dataset"] for name, kind in documents.items()}
    definitions |= schema["$defs"]
    for kind in documents.values():
        definitions |= kind.schemas.get("$defs", {})
    types = {**schema["properties"]["type"], "enum": list(documents)}
    return {**schema, "properties": {"type": types}, **_by_type(documents), "$defs": definitions}


def _experience_schema() -> Document:
    """The schema of experiences with that of each type; without `type` the default applies."""
    types = {name: of_type.schema() for name, of_type in WRITTEN.items()}
    head = {key: types[TRAINING].pop(key) for key in ("$schema", "$id", "title")}
    definitions: Document = {}
    for schema in types.values():
        definitions |= schema.pop("$defs", {})
    return {
        **head,
        "description": "How a model is trained on a dataset, or which program is run.",
        "type": "object",
        "properties": {"type": {"enum": list(types), "x-noun": "experience type"}},
        **_by_type(types, default=TRAINING),
        "$defs": {**types, **definitions},
    }


def _by_type(names: Iterable[str], default: str = "") -> Document:
    """The definition of the document's type, or of the default one, applies."""
    choices = list[Document]()
    for name in names:
        condition: Document = {"properties": {"type": {"const": name}}}
        if name != default:
            condition["required"] = ["type"]
        choices.append({"if": condition, "then": {"$ref": f"#/$defs/{name}"}})
    return {"allOf": choices}


def _with_references(schema: Any, references: Mapping[str, str]) -> Any:
    """The schema with a reference wherever an entry of a table is expected.

    references  table -> that to its entries in the whole schema
    """
    if isinstance(schema, list):
        return [_with_references(item, references) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-entry-of") in references:
        return {"$ref": references[schema["x-entry-of"]]}
    return {key: _with_references(value, references) for key, value in schema.items()}


def tables_of_types(tables: Tables) -> dict[str, Table]:
    """Types of datasets and experiences as tables; entries' parameters are such a spec's keys."""
    return {f"{kind}s": _types_in(whole_schema(kind, tables)) for kind in ("dataset", "experience")}


def _types_in(schema: Mapping[str, Any]) -> Table:
    needed = schema.get("required", [])
    table = dict[str, Entry]()
    for name in schema["properties"]["type"]["enum"]:
        of_type = schema["$defs"][name]
        of_key: Document = {"enum": [name], "description": "says which keys the spec has"}
        if name == TRAINING and "type" not in needed:
            of_key["default"] = TRAINING
        properties = {"type": of_key}
        for key, value in of_type["properties"].items():
            if key not in ("$schema", "description", "type"):
                properties[key] = value
        required = list(dict.fromkeys([*needed, *of_type["required"]]))
        words = of_type["description"]
        table[name] = Entry(
            lambda **keys: keys,
            {"properties": properties, "required": required},
            f"{words[0].upper()}{words[1:]}.",
            of_type["examples"][0],
        )
    return table


def _bare(definition: Document, table: Table) -> Document:
    """`"mae"`."""
    return {"enum": sorted(table), "x-noun": definition["noun"]}


def _named(definition: Document, table: Table) -> Document:
    """`{"type": "adam", "parameters": {…}}`; models say `module`; `also` names more keys."""
    key = definition.get("key", "type")
    choices = []
    for name, entry in table.items():
        then: Document = {"properties": {"parameters": entry.schema()}}
        if entry.required:
            then["required"] = ["parameters"]
        condition = {"properties": {key: {"const": name}}, "required": [key]}
        choices.append({"if": condition, "then": then})
    return {
        "type": "object",
        "required": [key],
        "properties": {
            key: _bare(definition, table),
            "parameters": {"type": "object"},
            **definition.get("also", {}),
        },
        "additionalProperties": False,
        "allOf": choices,
    }


def _named_or_bare(definition: Document, table: Table) -> Document:
    """`"adam"`, or the long form, for entries with parameters."""
    bare = _bare(definition, table)
    refused = list[Document]()
    for name, entry in table.items():
        if entry.required:
            words = f"'{name}' needs parameters: {json.dumps(entry.example)}"
            refused.append({"not": {"const": name}, "x-message": words})
    if refused:
        bare["allOf"] = refused
    return {"if": {"type": "string"}, "then": bare, "else": _named(definition, table)}


def _pair(definition: Document, table: Table) -> Document:
    """`["reduce_on_plateau", {…}]`, the form of VDI, or one of the others."""
    choices = list[Document]()
    for name, entry in table.items():
        then = {"prefixItems": [True, entry.schema()]}
        choices.append({"if": {"prefixItems": [{"const": name}]}, "then": then})
    pair = {
        "type": "array",
        "minItems": 1,
        "maxItems": 2,
        "prefixItems": [_bare(definition, table), {"type": "object"}],
        "allOf": choices,
    }
    return {"if": {"type": "array"}, "then": pair, "else": _named_or_bare(definition, table)}


# The parameters that a schema declares, as rows of a table for people to read.


HEADINGS = ("parameter", "values", "default", "meaning")


def rows_of(schema: Mapping[str, Any], prefix: str = "") -> Iterator[list[str]]:
    """A row per parameter, then one per key of the objects that it holds, as `views[].incidence`.

    prefix  the beginning of the names
    """
    for name, parameter in schema["properties"].items():
        default = ""
        if name in schema.get("required", []):
            default = "required"
        elif "default" in parameter:
            default = json.dumps(parameter["default"], ensure_ascii=False)
        yield [prefix + name, _range(parameter), default, parameter.get("description", "")]
        is_list = parameter.get("type") == "array"
        value = parameter.get("items", {}) if is_list else parameter
        if "properties" in value and value.get("additionalProperties") is False:
            yield from rows_of(value, f"{prefix}{name}{'[]' if is_list else ''}.")


def _range(schema: Mapping[str, Any]) -> str:
    """A parameter's schema in a few words."""
    if "enum" in schema:
        return " | ".join(str(choice) for choice in schema["enum"])
    if "x-entry-of" in schema:
        return str(schema["x-entry-of"]).removesuffix("s")
    if "if" in schema and "type" not in schema:
        first = {**schema["if"], **schema.get("then", {})}
        return _one_of([_range(first), _range(schema["else"])])
    kinds = schema.get("type") or schema.get("$ref", "any").rpartition("/")[2]
    if not isinstance(kinds, list):
        kinds = [kinds]
    return _one_of([_word(kind, schema) for kind in kinds])


REFERENCES = {
    "followed": '"from dataset"',
    "variables": "object",
    "classes": "object of list of name",
    "scales": "object of number or null",
    "name": "string",
}
"""Definition that is no entry of a table → its words."""


def _word(kind: str, schema: Mapping[str, Any]) -> str:
    """A JSON type with its limits and contents, or the name of a definition."""
    if kind in ("integer", "number"):
        signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
        limits = [f"{sign} {schema[key]:g}" for key, sign in signs.items() if key in schema]
        return " ".join([kind, *limits])
    if kind == "array":
        return f"list of {_range(schema['items'])}" if "items" in schema else "list"
    values = schema.get("additionalProperties")
    if kind == "object" and isinstance(values, dict):
        of_values = _range(values)
        return "object" if of_values in ("any", "object") else f"object of {of_values}"
    if kind == "string" and "$ref" in schema.get("then", {}):
        return _range(schema["then"])
    return REFERENCES.get(kind, kind)


def _one_of(words: Iterable[str]) -> str:
    """The shorter first, and null last."""
    return " or ".join(sorted(words, key=lambda word: (word == "null", " of " in word)))
