"""The network of a spec or of a run, laid out without memory: a table, data, a drawing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qexp.base.tables import Tables
from qexp.base.text import Table
from qexp.base.workspace import Workspace
from qexp.errors import QexpError, SpecError
from qexp.figures.networks import Box, diagram
from qexp.figures.writing import require_formats, save
from qexp.kinds.experiments import check, examine, spec_cache, spec_kind
from qexp.kinds.networks import network_of
from qexp.kinds.tables import tables_of
from qexp.networks.layout import Step, steps_of
from qexp.spec.experiences import type_of
from qexp.spec.reading import Document, follows
from qexp.spec.resolution import spec_in
from qexp.store.directory import RunDirectory, target_outside_of_runs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_STEPS = 80
"""Steps above which a drawing has operations alone, without their layers."""


@dataclass(frozen=True)
class NetworkLayout:
    """What a network is made of, and what it costs."""

    name: str
    """Of the run or the spec."""
    steps: Sequence[Step]
    remark: str = ""
    """How many networks of this kind there are, if it is not one."""

    @property
    def totals(self) -> dict[str, int]:
        """Its weights, of which shared ones count once, and multiplications for a sample."""
        operations = [step for step in self.steps if not step.layer]
        weights = sum(step.weights for step in operations if not step.shared)
        multiplications = sum(step.multiplications for step in operations)
        return {"weights": weights, "multiplications": multiplications}

    @property
    def in_words(self) -> str:
        weights, multiplications = self.totals.values()
        words = f"{weights:,} weights, {multiplications:,} multiplications a sample"
        return f"{self.name}: {words}{self.remark}"

    def table(self) -> Table:
        """A row for each step; an operation's numbers are those of its layers together, which
        follow it.
        """
        columns = ["operation", "what it is", "output shape", "weights", "multiplications"]
        rows = []
        for step in self.steps:
            weights = "shared" if step.shared and step.weights else f"{step.weights:,}"
            numbers = ["", ""] if step.end else [weights, f"{step.multiplications:,}"]
            rows.append([step.name, step.in_words, str(step.shape), *numbers])
        totals = [f"{number:,}" for number in self.totals.values()]
        return Table("", columns, [*rows, ["all", "", "", *totals]], frozenset(columns[3:]))

    def document(self) -> dict[str, Any]:
        """What `qexp show RUN --network --json` prints."""
        steps = [asdict(step) for step in self.steps]
        return {"name": self.name, **self.totals, "remark": self.remark, "steps": steps}

    def figure(self) -> Figure:
        """Boxes from inputs to outputs, the layers of an operation in a frame."""
        layers = [number for number, step in enumerate(self.steps) if step.layer]
        hidden = {number - 1 for number in layers}.difference(layers)
        if len(self.steps) > MOST_STEPS:
            hidden = {*layers}
        boxes: list[Box] = []
        places = []
        for number, step in enumerate(self.steps):
            places.append(len(boxes) - (number in hidden))
            if number not in hidden:
                weights = "shared weights" if step.shared else f"{step.weights:,} weights"
                shape = f"{step.shape} · {weights}" if step.weights else f"{step.shape}"
                frame = f"{step.operation}\n{step.module}" if step.layer else ""
                sources = [places[source] for source in step.sources]
                boxes.append(Box([step.name, step.in_words, shape], sources, frame, step.end))
        return diagram(boxes)

    def draw(self, to: str | Path) -> Path:
        """Write the drawing to a file, by its ending as PNG, SVG or PDF. Returns its path.

        Raises QexpError for another ending, and for a file in `runs/` or `specs/`.
        """
        target = target_outside_of_runs(to)
        require_formats([target.suffix.removeprefix(".")])
        save(self.figure(), target)
        return target


def layout_of_run(directory: RunDirectory) -> NetworkLayout:
    """The network that a run trains, or trained. Raises QexpError for a run of a program."""
    spec = directory.training_spec()
    folds = directory.record().folds
    counts = {"folds": folds.of if folds else 1, "networks a fold": spec.get("members", 1)}
    counts["runs"] = len(directory.members)
    several = [f"{count} {what}" for what, count in counts.items() if count > 1]
    remark = f"; one of {' × '.join(several)}" if several else ""
    if any(key.startswith("model") for key in spec.get("select", {})):
        remark += "; what `select` chooses in each fold may differ"
    return _laid_out(directory.name, spec, tables_of(directory), remark)


def layout_of_spec(path: Path, workspace: Workspace) -> NetworkLayout:
    """The network of a model, or of an experience with its dataset's shapes, before any training.

    Raises SpecError with the problems of the spec, and QexpError for one without a network.
    """
    cache = spec_cache(workspace)
    name = workspace.shown(path)
    kind = spec_kind(path, workspace)
    if kind == "dataset":
        raise QexpError(f"{name} is a dataset, which has no network; name a model or an experience")
    checked = check(str(path), [], cache) if kind == "experience" else examine(path, cache)
    if checked.problems:
        raise SpecError(checked.problems)
    if kind == "experience":
        assert checked.loaded is not None
        document = checked.loaded.document
        if not type_of(document).trains:
            raise QexpError(f"{name} runs a program and has no network of qexp; name a model")
    else:
        model = spec_in(kind, path, workspace).document
        if follows(model):
            raise QexpError(
                f"{name} has the shapes of a dataset; name an experience that trains it on one"
            )
        document = {"model": model, "inputs": model["inputs"], "outputs": model["outputs"]}
    return _laid_out(path.stem, document, cache.tables)


def _laid_out(name: str, spec: Document, tables: Tables, remark: str = "") -> NetworkLayout:
    network = network_of(spec["model"], spec["inputs"], spec["outputs"], tables)
    operations = spec["model"]["operations"].items()
    modules = {operation: value["module"] for operation, value in operations}
    return NetworkLayout(name, steps_of(network, modules), remark)
