"""What is imported: a file of weights, and the experience whose network gets them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qexp import assemble
from qexp.assemble import Experience
from qexp.errors import QexpError
from qexp.spec import load, resolve
from qexp.spec.experiences import type_of
from qexp.spec.kinds import KINDS
from qexp.spec.resolve import Unwritten
from qexp.workspace import Workspace


@dataclass(frozen=True)
class WeightsOrder:
    """A file of weights, the name of the run that gets them, and what that run is made of."""

    file: Path
    to: str
    model: str | None = None
    """The model spec; together with `experience`, instead of the experience's own."""
    experience: str | None = None
    """The experience, which gives dataset and transforms; the one that has the model, if left out. Without one, the
    only dataset that fits the model, and no transforms.
    """
    dataset: str | None = None
    """The dataset, without an experience and its transforms; together with `experience`, instead of its own."""
    rules: str | None = None
    """Name of rules, or a file of rules; the only ones that fit, if left out."""
    also: Mapping[str, Path] = field(default_factory=dict)
    """Name → file with a further tensor, or with several, which are then called `name.tensor`."""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    """Of the training samples to which transforms are fitted."""
    storage: Path | None = None
    tags: Sequence[str] = ()
    note: str = ""


def experience_of(order: WeightsOrder, workspace: Workspace) -> Experience:
    """The experience that gives model, dataset and transforms. Raises QexpError that says what to name."""
    found = _found(order, workspace)
    if not type_of(found.document).trains:
        raise QexpError(f"{found.name} runs a program and has no network; name an experience that trains one")
    return found


def _found(order: WeightsOrder, workspace: Workspace) -> Experience:
    overrides = dict(order.overrides)
    if order.experience is not None:
        if order.dataset is not None:
            overrides = {"dataset": order.dataset, **overrides}
        if order.model is not None:
            overrides = {"model": order.model, **overrides}
        return assemble.experience(order.experience, overrides, workspace)
    if order.model is None:
        raise QexpError(
            "give --experience, whose model, dataset and transforms the run gets, or --model for the experience that "
            "has this model"
        )
    if order.dataset is not None:
        return assemble.experience(_untrained(order.model, order.dataset, workspace), overrides, workspace)
    reference = _with_model(order.model, workspace)
    return assemble.experience(reference or _on_fitting_dataset(order.model, workspace), overrides, workspace)


SHARED = ("dataset", "inputs", "outputs", "transforms")
"""What a network needs of an experience besides its model."""


def _with_model(model: str, workspace: Workspace) -> str | None:
    """The experience of the workspace that has a model, the first of several that use it in the same way, or None."""
    name = _name(model)
    found = {}
    for path, document in _specs("experience", workspace):
        if document.get("model") in (model, name, f"{name}.json"):
            found[path.stem] = json.dumps([document.get(key) for key in SHARED], sort_keys=True)
    if len(set(found.values())) > 1:
        raise QexpError(
            f"several experiences have the model '{name}', with different datasets or transforms: "
            f"{', '.join(found)}; choose with --experience"
        )
    return next(iter(found), None)


def _on_fitting_dataset(model: str, workspace: Workspace) -> Unwritten:
    """A model with the only dataset of the workspace that has its inputs and outputs."""
    resolve.locate("model", model, workspace)
    fitting = []
    for path, _ in _specs("dataset", workspace):
        try:
            made = _untrained(model, path.stem, workspace)
            assemble.experience(made, {}, workspace)
        except QexpError:
            continue  # its files are missing, or its variables are others
        fitting.append(made)
    if len(fitting) == 1:
        return fitting[0]
    names = ", ".join(one.document["dataset"] for one in fitting)
    which = f"; these datasets have its inputs and outputs: {names}" if fitting else ", and no dataset fits it"
    raise QexpError(
        f"no experience has the model '{_name(model)}'{which}; name a dataset with --dataset, or with --experience an "
        "experience, which has transforms as well"
    )


def _untrained(model: str, dataset: str, workspace: Workspace) -> Unwritten:
    """An experience of a model and a dataset, without transforms: the network takes and makes values in their units.

    Raises SpecError if there is no such model or dataset, QexpError if they cannot be read.
    """
    described = load.read(resolve.locate("model", model, workspace))
    kind = load.read(resolve.locate("dataset", dataset, workspace)).get("type")
    outputs = described.get("outputs")
    document = {
        "model": model,
        "dataset": dataset,
        "inputs": list(described["inputs"]) if isinstance(described.get("inputs"), dict) else described.get("inputs"),
        "outputs": outputs,
        "epochs": 1,
        "batch_size": 1,
        "optimizer": "adam",
        "learning_rate": 1e-3,
        "keep": "last",
        "losses": dict.fromkeys(outputs, "mse") if isinstance(outputs, list) else {},
        **(KINDS[kind].untrained if isinstance(kind, str) and kind in KINDS else {}),
    }
    shown = f"the model '{_name(model)}' with the dataset '{_name(dataset)}'"
    return Unwritten(_name(model), shown, document)


def _name(reference: str) -> str:
    return Path(reference).stem if reference.endswith(".json") else reference


def _specs(kind: str, workspace: Workspace) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The specs of a kind that can be read; `qexp validate` reports the others."""
    for path in sorted((workspace.specs / resolve.FOLDERS[kind]).glob("*.json")):
        with suppress(QexpError):
            yield path, load.read(path)
