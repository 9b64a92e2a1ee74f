"""The JSON Schema of each kind of spec, with the parameters of every table entry filled in."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any

from qexp.base.tables import Entry, Table, Tables
from qexp.spec.experiences import TRAINING, TYPES
from qexp.spec.kinds import all_documents

COMMENTARY = ("$schema", "description")
"""Keys of every spec that are for readers and editors."""

DOCUMENTS = ("dataset", "model", "experience")
"""Kinds of spec."""


def whole_schema(kind: str, tables: Tables) -> dict[str, Any]:
    """The schema of a kind: its file in `schemas/`, with each `x-table` replaced by the entries of that table.

    A parameter whose schema says `"x-entry-of"` takes an entry of that table, as the transforms of a chain do.
    """
    schema = _of_experiences() if kind == "experience" else _of_file(kind)
    definitions = schema.get("$defs", {})
    places = {
        definition["x-table"]: f"#/$defs/{name}" for name, definition in definitions.items() if "x-table" in definition
    }
    schema["$defs"] = {
        name: _linked(_of_table(definition, tables[definition["x-table"]]), places)
        if "x-table" in definition
        else definition
        for name, definition in definitions.items()
    }
    return schema


def _of_file(kind: str) -> dict[str, Any]:
    text = (files("qexp.spec") / "schemas" / f"{kind}.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return _with_datasets(schema) if kind == "dataset" else schema


def _with_datasets(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of datasets with that of each kind, which applies if `type` names it."""
    documents = all_documents()
    types = {**schema["properties"]["type"], "enum": list(documents)}
    definitions = {name: kind.schemas["dataset"] for name, kind in documents.items()}
    for kind in documents.values():
        definitions |= kind.schemas.get("$defs", {})
    return {
        **schema,
        "properties": {"type": types},
        "allOf": [
            {
                "if": {"properties": {"type": {"const": name}}, "required": ["type"]},
                "then": {"$ref": f"#/$defs/{name}"},
            }
            for name in documents
        ],
        "$defs": definitions,
    }


def _of_experiences() -> dict[str, Any]:
    """The schema of experiences with that of each type, which applies if `type` names it, or if it is left out."""
    types = {name: of_type.schema() for name, of_type in TYPES.items()}
    head = {key: types[TRAINING].pop(key) for key in ("$schema", "$id", "title")}
    definitions: dict[str, Any] = {}
    for schema in types.values():
        definitions |= schema.pop("$defs", {})
    return {
        **head,
        "description": "How a model is trained on a dataset, or which program is run.",
        "type": "object",
        "properties": {"type": {"enum": list(types), "x-noun": "experience type"}},
        "allOf": [
            {
                "if": {
                    "properties": {"type": {"const": name}},
                    **({} if name == TRAINING else {"required": ["type"]}),
                },
                "then": {"$ref": f"#/$defs/{name}"},
            }
            for name in types
        ],
        "$defs": {**types, **definitions},
    }


def _linked(schema: Any, places: Mapping[str, str]) -> Any:
    """The schema with a reference wherever an entry of a table is expected.

    places  table -> where its entries are in the whole schema
    """
    if isinstance(schema, list):
        return [_linked(one, places) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-entry-of") in places:
        return {"$ref": places[schema["x-entry-of"]]}
    return {key: _linked(value, places) for key, value in schema.items()}


def tables_of_types(tables: Tables) -> dict[str, Table]:
    """The types of datasets and of experiences as tables; their entries' parameters are the keys of such a spec."""
    return {f"{kind}s": _types_in(whole_schema(kind, tables)) for kind in ("dataset", "experience")}


def _types_in(schema: Mapping[str, Any]) -> Table:
    return {
        name: Entry(
            lambda **keys: keys,
            {
                "properties": {
                    key: value for key, value in of_type["properties"].items() if key not in (*COMMENTARY, "type")
                },
                "required": [key for key in of_type["required"] if key != "type"],
            },
            f"{of_type['description'][0].upper()}{of_type['description'][1:]}.",
            of_type["examples"][0],
        )
        for name in schema["properties"]["type"]["enum"]
        if (of_type := schema["$defs"][name])
    }


def _of_table(definition: dict[str, Any], table: Table) -> dict[str, Any]:
    forms = {"named": _named, "named_or_bare": _named_or_bare, "pair": _pair, "bare": _bare}
    return forms[definition["form"]](definition, table)


def _names(definition: dict[str, Any], table: Table) -> dict[str, Any]:
    return {"enum": sorted(table), "x-noun": definition["noun"]}


def _bare(definition: dict[str, Any], table: Table) -> dict[str, Any]:
    """`"mae"`."""
    return _names(definition, table)


def _named(definition: dict[str, Any], table: Table) -> dict[str, Any]:
    """`{"type": "adam", "parameters": {…}}`; models say `module` instead of `type`, and `also` names further keys."""
    key = definition.get("key", "type")
    choices = []
    for name, entry in table.items():
        then: dict[str, Any] = {"properties": {"parameters": entry.schema()}}
        if entry.required:
            then["required"] = ["parameters"]
        choices.append({"if": {"properties": {key: {"const": name}}, "required": [key]}, "then": then})
    return {
        "type": "object",
        "required": [key],
        "properties": {key: _names(definition, table), "parameters": {"type": "object"}, **definition.get("also", {})},
        "additionalProperties": False,
        "allOf": choices,
    }


def _named_or_bare(definition: dict[str, Any], table: Table) -> dict[str, Any]:
    """`"adam"`, or the long form, for entries with parameters."""
    key = definition.get("key", "type")
    bare = {
        **_names(definition, table),
        "allOf": [
            {"not": {"const": name}, "x-message": f"'{name}' needs parameters: {json.dumps(entry.example)}"}
            for name, entry in table.items()
            if entry.required
        ],
    }
    if not bare["allOf"]:
        del bare["allOf"]
    return {"if": {"type": "string"}, "then": bare, "else": _named({**definition, "key": key}, table)}


def _pair(definition: dict[str, Any], table: Table) -> dict[str, Any]:
    """`["reduce_on_plateau", {…}]`, the form of VDI, or one of the others."""
    choices = [
        {"if": {"prefixItems": [{"const": name}]}, "then": {"prefixItems": [True, entry.schema()]}}
        for name, entry in table.items()
    ]
    pair = {
        "type": "array",
        "minItems": 1,
        "maxItems": 2,
        "prefixItems": [_names(definition, table), {"type": "object"}],
        "allOf": choices,
    }
    return {"if": {"type": "array"}, "then": pair, "else": _named_or_bare(definition, table)}


# The parameters that a schema declares, as rows of a table for people to read.


HEADINGS = ("parameter", "values", "default", "meaning")


def rows_of(schema: Mapping[str, Any], before: str = "") -> Iterator[list[str]]:
    """A row per parameter, and below it one per key of the objects that it holds, such as `views[].incidence`.

    before  the beginning of the names
    """
    for name, of_one in schema["properties"].items():
        yield [before + name, _range(of_one), _default(name, schema), of_one.get("description", "")]
        listed = of_one.get("type") == "array"
        held = of_one.get("items", {}) if listed else of_one
        if "properties" in held and held.get("additionalProperties") is False:
            yield from rows_of(held, f"{before}{name}{'[]' if listed else ''}.")


def _default(name: str, schema: Mapping[str, Any]) -> str:
    """Empty for a parameter that may be left out and has no value then."""
    if name in schema.get("required", []):
        return "required"
    of_one = schema["properties"][name]
    return json.dumps(of_one["default"], ensure_ascii=False) if "default" in of_one else ""


def _range(schema: Mapping[str, Any]) -> str:
    """A parameter's schema in a few words."""
    if "enum" in schema:
        return " | ".join(str(choice) for choice in schema["enum"])
    kind = schema.get("type") or schema.get("$ref", "any").rpartition("/")[2]
    words = " or ".join(kind) if isinstance(kind, list) else kind
    if words == "array":
        words = f"list of {_range(schema.get('items', {}))}"
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = [f"{sign} {schema[key]:g}" for key, sign in signs.items() if key in schema]
    return " ".join([words, *limits])
