"""Simulated images as a network of another program saw them, if that program counts azimuths from
elsewhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from qexp.base.quantities import base_name
from qexp.base.workspace import Workspace
from qexp.foreign.fitting import Rules, shipped
from qexp.kinds.experiments import Experience
from qexp.kinds.objects import data_kind
from qexp.spec import resolution
from qexp.spec.reading import Document
from qexp.store.record import Record


@dataclass(frozen=True)
class Turned:
    """An experience whose dataset makes the images that another program trained on.

    azimuth  by which the azimuths are larger than in its spec [rad]
    remarks  what of those images it cannot make
    """

    experience: Experience
    azimuth: float = 0.0
    remarks: tuple[str, ...] = ()


def turned(experience: Experience, rules: Rules, workspace: Workspace) -> Turned:
    """The experience with the images that a program trained on, by its rules.

    It is left as it is where an azimuth is an input or output of the network, which then takes or
    makes the azimuths of that program. Raises QexpError if an azimuth varies by a distribution that
    cannot be moved.
    """
    spec = experience.document
    dataset = experience.document["dataset"]
    if not rules.azimuth or not (changes := data_kind(dataset).turned(dataset, rules.azimuth)):
        return Turned(experience)
    angle = f"{math.degrees(rules.azimuth):+g}°"
    if numbers := [
        name
        for name in (*spec["inputs"], *spec["outputs"])
        if base_name(name) in ("azimuth", "heading")
    ]:
        remark = (
            f"the network was trained on images at azimuths {angle}, but '{numbers[0]}' is an input"
            f" or output of it; the images of {experience.dataset_name} stay as they are, others"
            " than it was trained on"
        )
        return Turned(experience, remarks=(remark,))
    document = {**spec, "dataset": _changed(dataset, changes)}
    moved = data_kind(dataset).checked_dataset(document["dataset"], experience.tables, workspace)
    texts = tuple(
        resolution.override(f"dataset.{key}", value).text for key, value in changes.items()
    )
    fixed = dataset.get("fixed", {})
    remarks = tuple(
        "the images that the network was trained on are those of another azimuth only where"
        f" {variable} is {value:g}; in {experience.dataset_name} it is not, and there the network"
        " sees other images than it was trained on"
        for variable, value in rules.azimuth_holds_at.items()
        if variable in dataset["varyings"] or fixed.get(variable, value) != value
    )
    changed = replace(
        experience, document=document, dataset=moved, overrides=(*experience.overrides, *texts)
    )
    return Turned(changed, rules.azimuth, remarks)


def as_trained(dataset: Document, record: Record) -> tuple[Document, str]:
    """A dataset that a run is given, as it makes images for the run's network, and what has
    changed, in words.
    """
    origin = record.foreign_weights
    if origin is None:
        return dataset, ""
    if not origin.azimuth:
        # Whether a run that was imported before azimuths were changed makes other images than its
        # network saw.
        rules = shipped().get(origin.rules)
        if (
            not rules
            or not rules.azimuth
            or origin.remarks
            or not data_kind(dataset).turned(dataset, rules.azimuth)
        ):
            return dataset, ""
        return (
            dataset,
            (
                f"{record.name} was imported by an earlier qexp: its network was trained on images"
                f" at azimuths {math.degrees(rules.azimuth):+g}°, and sees others here; import"
                f" {origin.file.name} again"
            ),
        )
    changes = data_kind(dataset).turned(dataset, origin.azimuth)
    texts = ", ".join(f"{key} = {resolution.value_text(value)}" for key, value in changes.items())
    remark = (
        f"{record.name} has weights that were trained on images at azimuths"
        f" {math.degrees(origin.azimuth):+g}°: {texts}"
    )
    return _changed(dataset, changes), remark if changes else ""


def _changed(dataset: Document, changes: dict[str, Any]) -> Document:
    for key, value in changes.items():
        dataset = resolution.replaced(dataset, key, value)
    return dataset
