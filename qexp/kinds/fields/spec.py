"""Documents of datasets of fields on a grid, and of experiences on them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from qexp.base.formats import read_json
from qexp.base.quantities import Quantities
from qexp.base.tables import Tables
from qexp.errors import DamagedError
from qexp.spec.kinds import KindDocuments, entry_in_words
from qexp.spec.reading import Document, Findings

FIELD_ERRORS = "errors.json"
"""File in `results` with the errors of whole test frames."""

TRAINED_ON = "trained on the test data"
"""Caution of runs that were trained on their own test part."""


class GriddedSpecs(KindDocuments):
    evaluated_by = FIELD_ERRORS
    file = Path(__file__).with_suffix(".json")
    untrained: ClassVar[Mapping[str, Any]] = {"split": {"type": "time_block"}}
    split_words = (
        "frames of the train folders are kept for validation by folder or by time, for example"
        ' {"type": "random_groups", "parameters": {"by": "folder", "share": 0.2}} or {"type":'
        ' "time_block"}'
    )

    def in_dataset(self, dataset: Document, quantities: Quantities) -> Findings:
        for key in ("inputs", "outputs"):
            if key in dataset and dataset["mapping"] is not None:
                yield (
                    (key,),
                    "the mapping already names inputs and outputs; leave out one of the two",
                )
            elif key not in dataset and dataset["mapping"] is None:
                yield (
                    (),
                    (
                        f"the key '{key}' is missing; list its variables, or name a 'mapping', for"
                        ' example "f2"'
                    ),
                )
        for name in dataset.get("outputs", {}):
            if name in dataset.get("inputs", {}):
                yield (
                    ("outputs", name),
                    f"'{name}' is also an input; a variable is one or the other",
                )

    def with_defaults(self, dataset: Document, tables: Tables) -> Document:
        """Keys that came later are written only where they change something, so that digests stay
        as they were.
        """
        return {key: value for key, value in dataset.items() if key != "recompute_slopes" or value}

    def in_experience(self, experience: Document) -> Findings:
        batch = experience["batch_size"]
        patches = experience["patches"]
        if patches is not None and batch > patches[0]:
            yield (
                ("batch_size",),
                f"a batch of {batch} is larger than the {patches[0]} training patches",
            )

    def trouble_with(self, evaluation: Path) -> str | None:
        try:
            errors = read_json(evaluation)
        except DamagedError as error:
            return str(error)
        return None if isinstance(errors, dict) and "overall" in errors else "it holds no errors"

    def summary(self, spec: Document) -> dict[str, str]:
        dataset = spec["dataset"]
        side = dataset["patch_size"]
        threshold = dataset["threshold"]
        counts = (
            "enough to cover the frames"
            if spec["patches"] is None
            else "{} training, {} validation".format(*spec["patches"])
        )
        counted = "" if threshold is None else f", more than {threshold:g} m of ice in the centre"
        cells = " and ".join(f"{y:g} x {x:g} m" for y, x in dataset.get("spacing", []))
        changed = [f"every {dataset['stepping']}th frame"] if dataset["stepping"] > 1 else []
        changed += ["slopes from the surface"] if dataset.get("recompute_slopes") else []
        changed += [f"resampled by {dataset['resample']:g}"] if dataset["resample"] != 1 else []
        return {
            "folder": f"{dataset['path']}, SHA-256 {dataset['fingerprint'][:16]}…",
            "fields": " → ".join(
                ", ".join(f"{name} / {scale:g}" for name, scale in dataset[kind].items())
                for kind in ("inputs", "outputs")
            ),
            "cells": ", ".join([cells or "unknown width", *changed]),
            "patches": f"{side} x {side} cells{counted}; {counts}",
            "turned": "yes" if dataset["augment"] else "no",
            "validation": entry_in_words(spec["split"]),
            **(
                {"trained on": "the test folders as well"}
                if dataset["include_test_in_train"]
                else {}
            ),
        }

    def cautions_of_data(self, spec: Document) -> list[str]:
        return [TRAINED_ON] if spec["dataset"].get("include_test_in_train") else []


DOCUMENTS = GriddedSpecs()
