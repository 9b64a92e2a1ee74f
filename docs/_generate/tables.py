"""Reference of specs: datasets, models, experiences, the tables of their entries, and the quantities."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from _generate.markdown import code, json_block, prose, table
from qexp import api
from qexp.base.tables import Entry
from qexp.spec.schema import HEADINGS, rows_of

ENTRIES: dict[str, tuple[str, str]] = {
    "generators": ("Sources", "Sources of deformation: `sources[].type` or `generation_type` of a generated dataset."),
    "distributions": ("Distributions", "Distributions of varying parameters: `distributions` of a generated dataset."),
    "noises": ("Noise", "Components of noise: `noise_model` of a generated dataset."),
    "modules": ("Modules", "Layers and blocks of layers: `operations` of a model."),
    "transforms": ("Transforms", "How variables are scaled for the network: `transforms` of an experience."),
    "splits": ("Splits", "How data are divided into parts and folds: `split` and `inner` of an experience."),
    "losses": ("Losses", "What training minimises: `losses` of an experience."),
    "metrics": ("Metrics", "What is reported: `metrics` of an experience."),
    "optimizers": ("Optimisers", "`optimizer` of an experience."),
    "schedules": ("Schedules", "How the learning rate changes during training: `schedule` of an experience."),
    "callbacks": ("Callbacks", "What is done after each epoch: `additional_callbacks` of an experience."),
    "baselines": ("Baselines", "Simple estimators on the same folds: `baselines` of an experience."),
}
"""Table → title of its page, and what its entries are for."""

SHORT = 60
"""Characters of an example that needs no block of its own."""

DATASETS = """# Dataset specs

A dataset spec is a JSON file in `specs/datasets/`. Its `type` says which keys it has; `generated` is the default. Every
dataset may have a `description`. `qexp schema dataset` prints all of this as a JSON Schema, for editors."""

EXPERIENCES = """# Experience specs

An experience spec is a JSON file in `specs/experiences/`: how a model is trained on a dataset, or which program is run.
`training` is the default `type`. Some keys belong to some types of dataset alone, as their meaning says. `--set
key.path=value` changes any value for one run, also of the dataset (`--set dataset.fixed.noise=0.01`) and of the model.
`qexp schema experience` prints a JSON Schema."""

MODELS = """# Model specs

A model spec is a JSON file in `specs/models/`: a network as a graph of named operations, each one of the
[modules](modules.md). `qexp schema model` prints a JSON Schema."""

QUANTITIES = """# Quantities

Units of variables in specs, results, figures and files. A variable of a second view has a suffix (`incidence_1`), one
of a named source a prefix (`chamber.depth`). `qexp tables quantities` prints this table; a workspace can
[add its own](../how-to/own-physics.md)."""


def page_of(name: str) -> Callable[[], str]:
    return lambda: _of_entries(f"# {ENTRIES[name][0]}\n\n{ENTRIES[name][1]} `qexp tables {name}` lists them.", name)


def datasets() -> str:
    return _of_entries(DATASETS, "datasets")


def experiences() -> str:
    return _of_entries(EXPERIENCES, "experiences")


def models() -> str:
    schema = api.schema("model")
    keys = {key: value for key, value in schema["properties"].items() if key not in ("$schema", "description")}
    rows = [_row(row) for row in rows_of({**schema, "properties": keys})]
    operation = [
        [code("module"), "name of a module", "required", "one of the [modules](modules.md)"],
        [code("parameters"), "object", "{}", "the module's own parameters"],
    ]
    return "\n\n".join([
        MODELS, table(HEADINGS, rows), "## Keys of an operation", table(HEADINGS, operation),
    ]) + "\n"  # fmt: skip


def quantities() -> str:
    rows = [
        [code(name), quantity.unit, f"{quantity.si_factor:g}", _limits(quantity), quantity.description]
        for name, quantity in api.tables()["quantities"].items()
    ]
    return f"{QUANTITIES}\n\n{table(['variable', 'unit', 'in SI', 'limits', 'meaning'], rows)}\n"


def _limits(quantity: Any) -> str:
    limits = {">": quantity.above, "≥": quantity.at_least, "≤": quantity.at_most}
    bounds = [f"{sign} {value:.4g}" for sign, value in limits.items() if value is not None]
    period = [] if quantity.period is None else [f"period {quantity.period:.4g}"]
    plausible = [] if quantity.plausible is None else ["plausible {:g} to {:g}".format(*quantity.plausible)]
    return ", ".join(bounds + period + plausible)


def _of_entries(head: str, name: str) -> str:
    entries: Mapping[str, Entry] = api.tables()[name]
    return "\n\n".join([head, *(_entry(key, entry) for key, entry in entries.items())]) + "\n"


def _entry(name: str, entry: Entry) -> str:
    rows = [_row(row) for row in rows_of(entry.schema())]
    parameters = table(HEADINGS, rows) if rows else "It has no parameters."
    short = json.dumps(entry.example, ensure_ascii=False)
    example = code(short) if len(short) <= SHORT else json_block(dict(entry.example))
    return f"## {name}\n\n{prose(entry.help)}\n\n{parameters}\n\nExample:\n\n{example}"


def _row(row: list[str]) -> list[str]:
    name, values, default, meaning = row
    return [code(name), prose(values), default if default == "required" else code(default), prose(meaning)]
