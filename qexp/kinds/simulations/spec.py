"""Documents of datasets of simulations that exist, and of experiences on them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from qexp.base.quantities import NOISE, Quantities
from qexp.errors import suggestion
from qexp.kinds.images.spec import DOCUMENTS as GENERATED, GeneratedSpecs, in_shares
from qexp.spec.reading import Document, Findings


class SimulatedSpecs(GeneratedSpecs):
    simulates = False
    file = Path(__file__).with_suffix(".json")
    untrained: ClassVar[Mapping[str, Any]] = {"split": [0.8, 0.1]}
    split_words = (
        "simulations are divided by the shares of training and validation, for example [0.8, 0.1]"
    )

    @cached_property
    def schemas(self) -> Document:
        """Keys that mean the same for generated images are written there."""
        schemas = super().schemas
        generated = GENERATED.schemas["dataset"]["properties"]
        shared = {key: generated[key] for key in schemas["of_generated"]}
        properties = {**schemas["dataset"]["properties"], **shared}
        return {**schemas, "dataset": {**schemas["dataset"], "properties": properties}}

    def in_dataset(self, dataset: Document, quantities: Quantities) -> Findings:
        yield from super().in_dataset(dataset, quantities)
        varyings = dataset["varyings"]
        observations = dataset["observations"]
        parameters = [name for name in varyings if name != NOISE]
        if not parameters:
            lack = "no parameter of the simulations varies, which a network could estimate; add one"
            yield ("varyings",), lack
        if varyings.get(NOISE):
            drawn = "the noise is drawn for each sample, so that none of it is held out; write []"
            yield ("varyings", NOISE), drawn
        if NOISE in varyings and NOISE not in dataset["distributions"]:
            lack = "'noise' varies but has no distribution; add $.distributions.noise"
            yield ("varyings", NOISE), lack
        held_out = [name for name in parameters if varyings[name]]
        if held_out and dataset["groups"] is not None:
            cut = f"'{held_out[0]}' has held-out intervals, which cut through groups"
            yield ("groups",), f"{cut}; keep one of the two"
        if dataset["files"] is not None and dataset["parameters"] is None:
            lack = "names a column of the table of parameters, which is missing; add 'parameters'"
            yield ("files",), lack
        for name in dataset.get("classes", {}):
            if name not in parameters:
                yield ("classes", name), f"no parameter '{name}' varies; add it: \"{name}\": []"
            elif varyings[name]:
                whole = f"'{name}' is a class, of which no interval can be held out; write []"
                yield ("varyings", name), whole
            for key in ("distributions", "units", "file_units"):
                if name in dataset[key]:
                    yield (key, name), f"'{name}' is a class, which has none; leave it out"
        for name in dataset.get("axes", {}).keys() - {*observations}:
            yield ("axes", name), f"no observation '{name}'; {suggestion(name, observations)}"
        for name in observations:
            if name in parameters:
                both = f"'{name}' is an observation, too; a variable is one or the other"
                yield ("varyings", name), both

    def in_experience(self, experience: Document) -> Findings:
        yield from in_shares(experience["split"])

    def doubts_in_experience(self, experience: Document) -> Findings:
        return iter(())  # what the shares leave is the test part

    def has_limit(self, dataset: Document) -> bool:
        return False

    def summary(self, spec: Document) -> dict[str, str]:
        dataset = spec["dataset"]
        return {
            "simulations": f"{dataset['path']}, SHA-256 {dataset['fingerprint'][:16]}…",
            "observations": ", ".join(dataset["observations"]),
            "varying": ", ".join(dataset["varyings"]),
        }


DOCUMENTS = SimulatedSpecs()
