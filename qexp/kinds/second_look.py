"""What is still found in an experience in which something is wrong already.

Experience, dataset and model can only be checked together if each is right by itself: otherwise the check fails, or
repeats in other words what is wrong already. But who corrects a spec wants to hear everything at once, not one more
thing after each correction. So whatever is wrong is made right first where nothing else depends on it: a misspelt
input or output gets the name that the dataset has, and a key such as `epochs`, if it is wrong, missing or misspelt, a
value that is right in every experience. If the experience is right then, all of it is checked, and what is found about
the keys that were made right is left out. If it is not, inputs and outputs alone are looked for in dataset and model.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from qexp.base.tables import Tables
from qexp.errors import nearest
from qexp.spec import validation
from qexp.spec.experiences import type_of
from qexp.spec.reading import Document, Finding
from qexp.spec.resolution import REFERENCES

STAND_INS: Document = {
    "epochs": 1, "batch_size": 32, "learning_rate": 0.001, "optimizer": "adam", "schedule": "constant",
    "additional_callbacks": [], "metrics": {}, "gradient_clip": None, "precision": "float32", "keep": "best",
    "pretrain": None, "limits": {}, "description": "",
}  # fmt: skip
"""Key of an experience, on which no other depends → a right value of it, with which the others are checked."""


def rightly_named(document: Document, known: Collection[str]) -> Document:
    """The experience with the dataset's names in place of misspelt inputs and outputs, so that these are told once."""
    right = {}
    for key in ("inputs", "outputs"):
        meant = [name if name in known else nearest(name, known) or name for name in document[key]]
        right[key] = meant if len(set(meant)) == len(meant) else document[key]
    return {**document, **right}


def others(
    document: Document, wrong: set[str | int], tables: Tables, check: Callable[[Document], Iterable[Finding]]
) -> list[Finding] | None:
    """What `check` finds besides what is wrong; None if the experience cannot be made right.

    document  with dataset and model inserted, which are right by themselves
    wrong     its keys that are wrong
    check     finds the problems of an experience that is right by itself
    """
    schema = type_of(document).schema()
    keys = schema["properties"]
    given = {key: value for key, value in document.items() if key in keys or nearest(key, keys) not in STAND_INS}
    doubted = wrong | {key for key in schema["required"] if key not in given}
    right = given | {key: value for key, value in STAND_INS.items() if key in doubted}
    as_written = {**right, **dict.fromkeys(REFERENCES, "")}
    if validation.findings("experience", as_written, tables, document["dataset"]["type"]):
        return None
    return [(path, text) for path, text in check(right) if path and path[0] not in doubted]
