"""Reference of specs: datasets, models, experiences, the tables of their entries, and the
quantities.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from _generate.markdown import code, json_block, prose, table
from qexp import api
from qexp.base.quantities import in_symbols, in_words
from qexp.base.tables import Entry
from qexp.spec.schema import HEADINGS, rows_of

ENTRIES: dict[str, tuple[str, str]] = {
    "generators": (
        "Sources",
        "Sources of deformation: `sources[].type` or `generation_type` of a generated dataset.",
    ),
    "distributions": (
        "Distributions",
        "Distributions of varying parameters: `distributions` of a generated dataset.",
    ),
    "noises": ("Noise", "Components of noise: `noise_model` of a generated dataset."),
    "modules": ("Modules", "Layers and blocks of layers: `operations` of a model."),
    "transforms": (
        "Transforms",
        "How variables are scaled for the network: `transforms` of an experience.",
    ),
    "splits": (
        "Splits",
        "How data are divided into parts and folds: `split` and `inner` of an experience.",
    ),
    "losses": ("Losses", "What training minimises: `losses` of an experience."),
    "metrics": ("Metrics", "What is reported: `metrics` of an experience."),
    "optimizers": ("Optimisers", "`optimizer` of an experience."),
    "schedules": (
        "Schedules",
        "How the learning rate changes during training: `schedule` of an experience.",
    ),
    "callbacks": (
        "Callbacks",
        "What is done after each epoch: `additional_callbacks` of an experience.",
    ),
    "baselines": (
        "Baselines",
        "Simple estimators on the same folds: `baselines` of an experience.",
    ),
}
"""Table → title of its page, and what its entries are for."""

TABLES = {name.removesuffix("s"): f"{name}.md" for name in ENTRIES} | {
    "source": "generators.md",
    "loss": "losses.md",
}
"""What a key expects → the page of the table that has it."""

KEYS = ("key", *HEADINGS[1:])
"""Headings where a table has the keys of a spec, and not the parameters of an entry."""

SHORT = 60
"""Characters of an example that needs no block of its own."""

DATASETS = """# Dataset specs

A dataset spec is a JSON file in `specs/datasets/`. Its `type` says which keys it has; without it `qexp validate` says
"the key 'type' is missing". Every dataset may have a `description`. `qexp schema dataset` prints all of this as a JSON
Schema, for editors."""

EXPERIENCES = """# Experience specs

An experience spec is a JSON file in `specs/experiences/`: how a model is trained on a dataset, or which program is
run. Its `type` says which keys it has, and is `training` if left out. Keys that belong to some types of dataset alone
name them. How a dataset is divided is explained [below](#how-split-and-sizes-divide-a-dataset). `--set
key.path=value` changes any value for one run, also of the dataset (`--set dataset.fixed.noise=0.01`) and of the
model. `qexp schema experience` prints a JSON Schema."""

SPLITS_HEADINGS = ["dataset", "`split`", "what it divides", "how many samples"]

SPLITS = [
    [
        "`generated`",
        "two shares, `[0.7, 0.3]`",
        (
            "values outside the [held-out intervals](../explanation/held-out-intervals.md), for"
            " training and validation; the intervals, `varyings` of the dataset, are the test part"
        ),
        "`sizes`",
    ],
    [
        "`tabular`",
        "a [split](splits.md)",
        (
            "which rows are held out, fold by fold; `inner` divides the other rows of a fold again,"
            " for choices"
        ),
        "all rows",
    ],
    [
        "`gridded`",
        "a [split](splits.md)",
        "which training frames are for validation; the folder `test/` is the test part",
        "`patches`",
    ],
    [
        "`spectra`",
        "a [split](splits.md)",
        "which spectra are for the test; `inner` says which are for validation",
        "`labelled`",
    ],
]

SIZES = """`split` divides the values, `sizes` counts the samples that are drawn from each part. With `"split": [0.7,
0.3]` and `"sizes": [1000, 500, 200]` every epoch draws 1,000 training samples from 70 % of the values
outside the held-out intervals; 500 validation samples come from the other 30 %, and 200 test samples from
the intervals. One does not follow from the other: the shares say how much of the range each part has, the
sizes how long an epoch takes and how certain the errors are. Shares that add up to less than 1 leave values
unused. A variable whose `varyings` are an empty list holds nothing out: all parts have its whole
distribution."""

METRICS = """# Metrics

What is reported: `metrics` of an experience, per output one name or a list. `mae`, `rmse`, `bias`, `r2` and `mre` are
always there. `qexp tables metrics` lists them."""

READING = """## R² under held-out intervals

`r2` is 1 minus the mean squared error over the variance of the true values *of the same part*: 1 is perfect, 0 is as
good as an estimator that always says the mean of that part, below 0 is worse than that. A simulated dataset tests on
narrow [intervals](../explanation/held-out-intervals.md#r²-of-a-held-out-interval), where the variance is small: `r2`
of the test part may be near 0 or negative although the errors are small beside the whole range. Look at `mae` first,
and at `r2_training_mean`, which compares with the mean that the training data give.

## Relative errors and positions

`mre` and `median_relative_error` divide by the true value. Where zero means nothing, as for a position or an angle,
they depend on where the axis begins, and one true value near zero decides their mean: look at `mae` there. Maps leave
them out for such quantities; [quantities](quantities.md) says which these are."""

MODELS = """# Model specs

A model spec is a JSON file in `specs/models/`: a network as a graph of named operations, each one of the
[modules](modules.md). `qexp schema model` prints a JSON Schema."""

QUANTITIES = """# Quantities

Units of variables in specs, results, figures and files. A variable of a second view has a suffix (`incidence_1`), one
of a named source a prefix (`chamber.depth`). `qexp tables quantities` prints this table; a workspace can
[add its own](../how-to/own-physics.md)."""


def page_of(name: str) -> Callable[[], str]:
    return lambda: _of_entries(
        f"# {ENTRIES[name][0]}\n\n{ENTRIES[name][1]} `qexp tables {name}` lists them.", name
    )


def datasets() -> str:
    return _of_entries(DATASETS, "datasets")


def experiences() -> str:
    keys = _of_entries(EXPERIENCES, "experiences")
    return (
        "\n\n".join(
            [
                keys.rstrip(),
                "## How split and sizes divide a dataset",
                (
                    "What `split` says depends on the type of the dataset, because the test samples"
                    " of each come from elsewhere."
                ),
                table(SPLITS_HEADINGS, SPLITS),
                SIZES,
            ]
        )
        + "\n"
    )


def metrics() -> str:
    rows = [
        [
            f'<a id="{name.replace("_", "-")}"></a>{code(name)}',
            metric.name,
            metric.unit.replace("{unit}", "that of the output") or "none",
            metric.best,
            prose(entry.help),
        ]
        for name, entry in api.tables()["metrics"].items()
        for metric in [entry.build()]
    ]
    return (
        "\n\n".join(
            [METRICS, table(["metric", "in tables", "unit", "better", "meaning"], rows), READING]
        )
        + "\n"
    )


def models() -> str:
    schema = api.schema("model")["else"]
    keys = {
        key: value
        for key, value in schema["properties"].items()
        if key not in ("$schema", "description")
    }
    rows = [_row(row, keys) for row in rows_of({**schema, "properties": keys})]
    operation = [
        [code("module"), "[module](modules.md)", "required", "name of one of the modules"],
        [code("parameters"), "object", "{}", "the module's own parameters"],
    ]
    return "\n\n".join([
        MODELS, table(KEYS, rows), "## Keys of an operation", table(KEYS, operation),
    ]) + "\n"  # fmt: skip


def quantities() -> str:
    rows = [
        [
            code(name),
            _in_words(name),
            quantity.unit,
            f"{quantity.si_factor:g}",
            _limits(quantity),
            quantity.description,
        ]
        for name, quantity in api.tables()["quantities"].items()
    ]
    columns = ["variable", "in tables and figures", "unit", "in SI", "limits", "meaning"]
    return f"{QUANTITIES}\n\n{table(columns, rows)}\n"


def _in_words(variable: str) -> str:
    words, symbol = in_words(variable), in_symbols(variable)
    return words if symbol == words else f"{words}, {symbol}"


def _limits(quantity: Any) -> str:
    limits = {">": quantity.above, "≥": quantity.at_least, "≤": quantity.at_most}
    bounds = [f"{sign} {value:.4g}" for sign, value in limits.items() if value is not None]
    period = [] if quantity.period is None else [f"period {quantity.period:.4g}"]
    plausible = (
        [] if quantity.plausible is None else ["plausible {:g} to {:g}".format(*quantity.plausible)]
    )
    zero = [] if quantity.natural_zero else ["zero is arbitrary"]
    return ", ".join(bounds + period + plausible + zero)


def _of_entries(head: str, name: str) -> str:
    entries: Mapping[str, Entry] = api.tables()[name]
    headings = HEADINGS if name in ENTRIES else KEYS
    return (
        "\n\n".join([head, *(_entry(key, entry, headings) for key, entry in entries.items())])
        + "\n"
    )


def _entry(name: str, entry: Entry, headings: Sequence[str]) -> str:
    rows = [_row(row, entry.parameters["properties"]) for row in rows_of(entry.schema())]
    parameters = table(headings, rows) if rows else "It has no parameters."
    short = json.dumps(entry.example, ensure_ascii=False)
    example = code(short) if len(short) <= SHORT else json_block(dict(entry.example))
    return f"## {name}\n\n{prose(entry.help)}\n\n{parameters}\n\nExample:\n\n{example}"


def _row(row: list[str], schemas: Mapping[str, Any]) -> list[str]:
    name, values, default, meaning = row
    if not meaning or values == "any":
        raise LookupError(f"the parameter {name} has no description, or no type that has words")
    datasets = schemas.get(name, {}).get("x-dataset", [])
    only = (
        f"({', '.join([datasets] if isinstance(datasets, str) else datasets)}) " if datasets else ""
    )
    more = (
        "; [more](#how-split-and-sizes-divide-a-dataset)"
        if name in {"split", "sizes"} <= schemas.keys()
        else ""
    )
    default = default if default == "required" else code(default)
    return [
        code(name),
        _with_tables(prose(values)),
        default,
        only + _with_pages(prose(meaning)) + more,
    ]


def _with_tables(values: str) -> str:
    """The names of entries in what a key expects lead to their table; a list of choices is left
    alone.
    """
    if "|" in values:
        return values
    return re.sub(
        r"\b[a-z]+\b",
        lambda word: f"[{word[0]}]({TABLES[word[0]]})" if word[0] in TABLES else word[0],
        values,
    )


def _with_pages(meaning: str) -> str:
    meaning = re.sub(r"\b(dataset|model) spec\b", r"[\1 spec](\1s.md)", meaning).replace(
        " -> ", " → "
    )
    return meaning.replace("`qexp tables quantities`", "[`qexp tables quantities`](quantities.md)")
