"""What is imported: a file of weights, and the experience whose network gets them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qexp import assemble
from qexp.assemble import Experience
from qexp.errors import QexpError
from qexp.spec import load
from qexp.spec.resolve import FOLDERS
from qexp.workspace import Workspace


@dataclass(frozen=True)
class WeightsOrder:
    """A file of weights, the name of the run that gets them, and what that run is made of."""

    file: Path
    to: str
    model: str | None = None
    """The model spec; together with `experience`, instead of the experience's own."""
    experience: str | None = None
    """The experience, which gives dataset and transforms; the one that has the model, if left out."""
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
    reference, overrides = order.experience, dict(order.overrides)
    if reference is None:
        if order.model is None:
            raise QexpError(
                "give --experience, whose model, dataset and transforms the run gets, or --model for the experience "
                "that has this model"
            )
        reference = _with_model(order.model, workspace)
    elif order.model is not None:
        overrides = {"model": order.model, **overrides}
    return assemble.experience(reference, overrides, workspace)


SHARED = ("dataset", "inputs", "outputs", "transforms")
"""What a network needs of an experience besides its model."""


def _with_model(model: str, workspace: Workspace) -> str:
    """The experience of the workspace that has a model; the first of several that use it in the same way."""
    name = Path(model).stem if model.endswith(".json") else model
    found = {}
    for path in sorted((workspace.specs / FOLDERS["experience"]).glob("*.json")):
        try:
            document = load.read(path)
        except QexpError:
            continue  # `qexp validate` reports it
        if document.get("model") in (model, name, f"{name}.json"):
            found[path.stem] = json.dumps([document.get(key) for key in SHARED], sort_keys=True)
    if not found:
        raise QexpError(
            f"no experience has the model '{name}', so that nothing says what its inputs and outputs are; write one "
            "with this model, a dataset and transforms, and add --experience NAME, or add the name of another "
            "experience whose dataset and transforms are to be used"
        )
    if len(set(found.values())) > 1:
        raise QexpError(
            f"several experiences have the model '{name}', with different datasets or transforms: "
            f"{', '.join(found)}; choose with --experience"
        )
    return next(iter(found))
