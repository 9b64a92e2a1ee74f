"""Classes in the files of datasets: names as codes, and what may be wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qexp.base.arrays import Array, Texts
from qexp.base.outputs import Classes, classes_of, plain
from qexp.base.tables import Tables, built
from qexp.errors import some, suggestion
from qexp.kinds.networks import outputs_of_heads
from qexp.metrics.baselines import (
    Baseline,
    names,
    trouble,
)
from qexp.metrics.meaning import CLASSES, NUMBERS
from qexp.metrics.metric import Metric
from qexp.networks.heads import CLASSES as HEAD
from qexp.rows.table import MISSING, SHOWN, is_number
from qexp.spec.reading import Document, Finding

FEW_SAMPLES = 10
"""Samples of a class below which hardly anything can be said of it."""


def unknown_names(
    classes: Classes, texts: Texts, shown: Callable[[NDArray[np.integer]], str]
) -> Iterator[Finding]:
    """Names that are no classes.

    texts  (sample,), as they stand in a file
    shown  numbers of samples → where they are, in words
    """
    codes = classes.codes(texts)
    where = "classes", classes.name
    unknown = np.unique(texts[np.isnan(codes)]).tolist()
    names = [name for name in unknown if plain(name) not in MISSING]
    for name in names[:SHOWN]:
        text = f"'{name}' in {shown(np.flatnonzero(texts == name))} is none of the classes"
        meant = _alike(name, classes.names)
        advice = f"did you mean '{meant}'?" if meant else suggestion(name, classes.names)
        yield where, f"{text}; {advice}"
    if names[SHOWN:]:
        yield where, f"{len(names) - SHOWN:,} more names are none of the classes either"


def without_samples(classes: Classes, codes: Array) -> Iterator[str]:
    """Classes that no sample of data for training has."""
    for code, name in enumerate(classes.names):
        if not (codes == code).any():
            yield f"no sample is '{name}', so that it cannot be learned; leave the class out"


def _alike(name: str, names: Sequence[str]) -> str | None:
    """The class with the same name in other upper and lower case, or with other spaces."""
    spelled = {"".join(each.casefold().split()): each for each in names}
    return spelled.get("".join(name.casefold().split()))


def are_names(texts: Texts) -> bool:
    """Whether none of the texts is a number, those apart that are missing."""
    known = [text for text in np.unique(texts).tolist() if text not in MISSING]
    return bool(known) and not any(map(is_number, known))


def undeclared(name: str, texts: Texts) -> str:
    """What would declare the names of a column as classes, in words."""
    names = sorted({text for text in map(plain, np.unique(texts).tolist()) if text not in MISSING})
    listed = ", ".join(f'"{each}"' for each in names[:SHOWN]) + (", …" if names[SHOWN:] else "")
    return f'of names, declare them: "classes": {{"{name}": [{listed}]}}'


def few_samples(classes: Classes, codes: Array) -> Iterator[str]:
    """What is said of classes with few samples."""
    counts = {name: int((codes == code).sum()) for code, name in enumerate(classes.names)}
    rare = [f"'{name}' {count}" for name, count in counts.items() if count < FEW_SAMPLES]
    if rare:
        yield (
            f"'{classes.name}' has few samples of {some(rare, SHOWN)}: how well such classes are"
            " recognised will hardly be known"
        )


def lacking(classes: Classes, codes: Array, parts: Mapping[str, NDArray[np.integer]]) -> str:
    """Which training parts have no sample of a class, in words; empty if none lacks one.

    parts  name → its samples
    """
    short = {}
    for part, rows in parts.items():
        there = set(np.unique(codes[rows]).tolist())
        names = [f"'{name}'" for code, name in enumerate(classes.names) if code not in there]
        if names:
            short[part] = some(names, SHOWN)
    if not short:
        return ""
    part, names_there = next(iter(short.items()))
    more = f", and {len(short) - 1} more parts lack some" if len(short) > 1 else ""
    return f"the training part of {part} has no sample of {names_there}{more}"


# Class outputs of experiences: what they need, and what only numbers can have.


def in_classes(document: Document, tables: Tables) -> Iterator[Finding]:
    """Problems of class outputs, and of heads of classes for other outputs."""
    classes = classes_of(document)
    heads = outputs_of_heads(document, tables["modules"])
    operations = document["model"]["operations"]
    for index, name in enumerate(document["outputs"]):
        operation = operations.get(heads.get(name, ""), {})
        is_head = operation.get("module") == HEAD
        if name not in classes:
            if is_head:
                words = f"'{name}' is a number, and ends in a head of classes"
                yield ("outputs", index), f'{words}; declare its "classes" in the dataset'
            continue
        count = len(classes[name].names)
        if not is_head:
            entry = f'{{"module": "{HEAD}", "parameters": {{"classes": {count}}}}}'
            yield ("outputs", index), f"'{name}' is a class; end its branch with {entry}"
        elif operation["parameters"]["classes"] != count:
            yield (
                ("model", "operations", heads[name], "parameters", "classes"),
                f"the dataset declares {count} classes of '{name}': {some(classes[name].names)}",
            )
        for key in ("transforms", "limits"):
            if name in document.get(key, {}):
                yield (key, name), f"'{name}' is a class, which has no {key}; leave it out"


def baselines_of(spec: Document, tables: Tables, outputs: str) -> dict[str, Baseline]:
    """Name → baseline, of those of an experience that are for `NUMBERS` or `CLASSES`."""
    table = tables["baselines"]
    named = zip(names(spec["baselines"], table), spec["baselines"], strict=True)
    every = {name: built(table, description) for name, description in named}
    return {name: baseline for name, baseline in every.items() if outputs in baseline.outputs}


def in_metrics_and_baselines(document: Document, tables: Tables) -> Iterator[Finding]:
    """Metrics of numbers for classes, and the other way round; baselines of neither output."""
    classes = classes_of(document)
    for name, wanted in document["metrics"].items():
        fitting = CLASSES if name in classes else NUMBERS
        fit = [key for key, entry in tables["metrics"].items() if _outputs_of(entry) == fitting]
        for metric in wanted:
            if metric not in fit:
                yield (
                    ("metrics", name),
                    f"'{metric}' is no metric of {fitting}; use {some(fit, 16)}",
                )
    kinds = {CLASSES if name in classes else NUMBERS for name in document["outputs"]}
    for index, baseline in enumerate(document.get("baselines", ())):
        found = [trouble(baseline["type"], kind, tables["baselines"]) for kind in sorted(kinds)]
        if found and all(found):
            yield ("baselines", index), str(found[0])


def _outputs_of(entry: Any) -> str:
    metric = entry.build()
    return metric.outputs if isinstance(metric, Metric) else NUMBERS
