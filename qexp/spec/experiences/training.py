"""Documents of experiences that train a network of qexp on a dataset."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from qexp.did_you_mean import suggestion
from qexp.limits import limits_of
from qexp.quantities import Quantities
from qexp.spec.defaults import defaults_in, long_form
from qexp.spec.experiences.experience_type import Document, ExperienceType
from qexp.spec.finding import Finding
from qexp.spec.following import follows
from qexp.spec.kinds import KINDS, dataset_with_defaults, entry_in_words, kind_of
from qexp.tables import Tables


class Training(ExperienceType):
    refers_to = ("dataset", "model")
    trains = True

    def schema(self) -> Document:
        """With the keys that only some kinds of dataset take; `x-dataset` lists these kinds."""
        schema: Document = json.loads((files("qexp.spec") / "schemas" / "experience.json").read_text(encoding="utf-8"))
        takers = {
            key: [name for name, kind in KINDS.items() if key in kind.schemas["shared"]] for key in schema["x-shared"]
        }
        keys = {key: {"x-dataset": takers[key], **of_key} for key, of_key in schema.pop("x-shared").items()}
        for name, kind in KINDS.items():
            keys |= {key: {"x-dataset": name, **of_key} for key, of_key in kind.schemas["experience"].items()}
        properties: dict[str, Any] = {}
        for key, of_key in schema["properties"].items():
            properties[key] = of_key
            if key == "split":
                description = "; ".join(f"{name}: {kind.schemas['split']}" for name, kind in KINDS.items())
                properties[key] = {"description": description, **of_key}
                properties |= keys
        return {**schema, "properties": properties}

    def in_document(self, document: Document, dataset_type: str | None) -> Iterator[Finding]:
        outputs = document["outputs"]
        if follows(document) or isinstance(document["losses"], str):
            return  # the dataset is missing, which is reported
        if dataset_type is not None:
            yield from KINDS[dataset_type].in_experience(document)
        yield from _in_pretrain(document)
        yield from _in_limits(document)
        for key in ("losses", "metrics", "limits"):
            for name in document.get(key, {}):
                if name not in outputs:
                    yield (key, name), f"'{name}' is not an output; {suggestion(name, outputs)}"
        for index, name in enumerate(outputs):
            if name not in document["losses"]:
                yield ("outputs", index), f"the output '{name}' has no loss; add $.losses.{name}, for example \"mae\""
        for name in document.get("transforms", {}):
            variables = [*document["inputs"], *outputs]
            if name not in variables:
                yield ("transforms", name), f"'{name}' is neither input nor output; {suggestion(name, variables)}"

    def doubts(self, document: Document) -> Iterator[Finding]:
        return kind_of(document["dataset"]).doubts_in_experience(document)

    def with_defaults(self, document: Document, tables: Tables, schemas: Mapping[str, Document]) -> Document:
        schema = schemas["experience"]["$defs"]["training"]
        whole = {**_defaults(schema, document["dataset"]["type"]), **copy.deepcopy(document)}
        whole.pop("$schema", None)
        whole.pop("type", None)  # which specs without it do not have either
        if not whole.get("limits"):
            whole.pop("limits", None)  # likewise
        model = dict(whole["model"])
        model.pop("$schema", None)
        model["operations"] = {
            name: long_form(value, tables["modules"], "module") for name, value in model["operations"].items()
        }
        whole |= {"dataset": dataset_with_defaults(whole["dataset"], tables, schemas["dataset"]), "model": model}
        for key, table in (("optimizer", "optimizers"), ("schedule", "schedules")):
            whole[key] = long_form(whole[key], tables[table])
        for key, table in (("losses", "losses"), ("transforms", "transforms")):
            whole[key] = {name: long_form(value, tables[table]) for name, value in whole[key].items()}
        metrics = whole["metrics"]
        whole["metrics"] = {name: value if isinstance(value, list) else [value] for name, value in metrics.items()}
        callbacks = whole["additional_callbacks"]
        whole["additional_callbacks"] = [long_form(value, tables["callbacks"]) for value in callbacks]
        if "baselines" in whole:
            whole["baselines"] = [long_form(value, tables["baselines"]) for value in whole["baselines"]]
        if isinstance(whole["pretrain"], str | dict):
            given = {"run": whole["pretrain"]} if isinstance(whole["pretrain"], str) else whole["pretrain"]
            whole["pretrain"] = {**defaults_in(schema["properties"]["pretrain"]["then"]), **given}
        for key in ("split", "inner"):
            if isinstance(whole.get(key), str | dict):
                whole[key] = long_form(whole[key], tables["splits"])
        return whole

    def outputs(self, spec: Document) -> list[str] | None:
        return list(spec["outputs"])

    def epochs(self, spec: Document) -> int:
        epochs: int = max(spec.get("select", {}).get("epochs") or [spec["epochs"]])
        return epochs

    def units(self, spec: Document, quantities: Quantities) -> dict[str, str]:
        return kind_of(spec["dataset"]).units([*spec["inputs"], *spec["outputs"]], spec["dataset"], quantities)

    def cautions(self, spec: Document) -> list[str]:
        return kind_of(spec["dataset"]).cautions(spec)

    def has_limit(self, spec: Document) -> bool:
        return kind_of(spec["dataset"]).has_limit(spec["dataset"])

    def lines(self, spec: Document) -> dict[str, str]:
        brief = {
            "inputs": ", ".join(spec["inputs"]),
            "outputs": ", ".join(spec["outputs"]),
            **kind_of(spec["dataset"]).summary(spec),
            "batch size": str(spec["batch_size"]),
            "learning rate": f"{spec['learning_rate']:g}",
        }
        brief |= {key: entry_in_words(spec[key]) for key in ("optimizer", "schedule")}
        for key in ("losses", "transforms"):
            brief[key] = ", ".join(f"{name} {value['type']}" for name, value in spec[key].items()) or "none"
        if limits := limits_of(spec):
            brief["limits"] = ", ".join(f"{name} {of}" for name, of in limits.items())
        return brief

    def test_part(self, spec: Document) -> Document:
        dataset = {key: value for key, value in spec["dataset"].items() if key not in ("description", "matrix")}
        # A split given as a list of shares divides only the samples outside the test part.
        split = {"split": spec["split"]} if isinstance(spec.get("split"), dict) else {}
        return {"dataset": dataset, "test size": (spec.get("sizes") or [None])[-1], **split}

    def evaluated_by(self, spec: Document) -> str:
        return kind_of(spec["dataset"]).evaluated_by

    def trouble_with(self, spec: Document, evaluation: Path) -> str | None:
        return kind_of(spec["dataset"]).trouble_with(evaluation)


def _defaults(schema: Document, dataset_type: str) -> Document:
    """Key → default, without keys that belong to other types of dataset."""
    own = {key: of_key for key, of_key in schema["properties"].items() if belongs_to(of_key, dataset_type)}
    return defaults_in({"properties": own})


def belongs_to(key: Document, dataset_type: str) -> bool:
    """Whether a key of an experience, by its schema, applies to a type of dataset."""
    types = key.get("x-dataset", dataset_type)
    return dataset_type in (types if isinstance(types, list) else [types])


def _in_pretrain(document: Document) -> Iterator[Finding]:
    pretrain = document.get("pretrain")
    if not isinstance(pretrain, dict):
        return
    if pretrain.get("epochs_frozen") is not None and not pretrain.get("freeze"):
        yield ("pretrain", "epochs_frozen"), "nothing is frozen; list operations in 'freeze', or leave it out"


def _in_limits(document: Document) -> Iterator[Finding]:
    for name, (low, high) in document.get("limits", {}).items():
        if low is None and high is None:
            yield ("limits", name), "null on both sides limits nothing; give a number, or leave it out"
        elif low is not None and high is not None and not low < high:
            yield ("limits", name), f"the lowest value, {low:g}, must be less than the highest, {high:g}"
