"""The network of a spec or of a run, laid out without memory: a table, data, a drawing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qexp.base.arrays import Array
from qexp.base.tables import Tables
from qexp.base.text import Table
from qexp.base.workspace import Workspace
from qexp.errors import QexpError, SpecError
from qexp.figures import canvas
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
    from matplotlib.axes import Axes
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
            weights = f"{step.weights:,}"
            multiplications = f"{step.multiplications:,}"
            if step.shared and step.weights:
                weights = "shared"
            if step.end:
                weights = ""
                multiplications = ""
            shape = str(step.shape)
            rows.append([step.name, step.in_words, shape, weights, multiplications])
        totals = [f"{number:,}" for number in self.totals.values()]
        return Table("", columns, [*rows, ["all", "", "", *totals]], frozenset(columns[3:]))

    def document(self) -> dict[str, Any]:
        """What `qexp show RUN --network --json` prints."""
        steps = [asdict(step) for step in self.steps]
        return {"name": self.name, **self.totals, "remark": self.remark, "steps": steps}

    def figure(self) -> Figure:
        """Boxes from inputs to outputs; of a large network its operations without their layers."""
        layers = {number for number, step in enumerate(self.steps) if step.layer}
        hidden = {number - 1 for number in layers} - layers
        if len(self.steps) > MOST_STEPS:
            hidden = layers
        places: list[int] = []
        boxes: list[Step] = []
        for number, step in enumerate(self.steps):
            places.append(len(boxes) - (number in hidden))
            if number not in hidden:
                sources = [places[source] for source in step.sources]
                boxes.append(replace(step, sources=sources))
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
        remark += "; $.select may choose another in a fold"
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
    modules = {key: one["module"] for key, one in spec["model"]["operations"].items()}
    return NetworkLayout(name, steps_of(network, modules), remark)


# The drawing: boxes in rows and columns, and arrows between them.


HEIGHT, GAP, GAP_BESIDE, LANE = 0.58, 0.28, 0.4, 0.12
"""Of a box; gaps below and beside boxes, and between arrows beside them [inch]."""


def diagram(steps: Sequence[Step]) -> Figure:
    """Steps in rows, each below those that lead to it."""
    from matplotlib.patches import Rectangle

    texts = []
    for step in steps:
        weights = "shared weights" if step.shared else f"{step.weights:,} weights"
        text = f"{step.in_words}\n{step.shape}"
        texts.append(f"{text} · {weights}" if step.weights else text)
    names = [step.name for step in steps]
    lines = [line for text in [*names, *texts] for line in text.split("\n")]
    longest = max(map(len, lines))
    width = canvas.sized(canvas.WIDTH_OF_CHARACTER) * (1.08 * longest + 2)
    height = canvas.sized(HEIGHT)
    rows, columns = _grid(steps)
    x = columns * (width + canvas.sized(GAP_BESIDE))
    y = rows * (height + canvas.sized(GAP))
    figure = canvas.blank(1, 1)
    axes = figure.add_axes((0, 0, 1, 1))
    _draw_arrows(axes, steps, rows, x, y, (width, height))
    centred: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": canvas.small()}
    for number, step in enumerate(steps):
        left = x[number] - width / 2
        colour = "#DCEBF5" if step.end else "white"
        box = Rectangle((left, y[number]), width, height, fc=colour, ec="#333333", zorder=2)
        axes.add_patch(box)
        place = y[number] + 0.22 * height
        axes.text(x[number], place, step.name, weight="bold", **centred)
        place = y[number] + 0.64 * height
        axes.text(x[number], place, texts[number], **centred)
    axes.set_axis_off()
    ends = axes.dataLim.padded(canvas.sized(0.15))
    axes.set_xlim(ends.x0, ends.x1)
    axes.set_ylim(ends.y1, ends.y0)
    figure.set_size_inches(ends.width, ends.height)
    return figure


def _grid(steps: Sequence[Step]) -> tuple[Array, Array]:
    """Row and column of each step, from 0 on and to both sides of 0.

    A step is in the row after the last one that it takes, an input just before the first one that
    takes it. Steps of a row are side by side, in the order of what they take, inputs apart.
    """
    rows = np.zeros(len(steps))
    takers: dict[int, list[int]] = {}
    for number, step in enumerate(steps):
        rows[number] = 1 + max(rows[step.sources], default=-1)
        for source in step.sources:
            takers.setdefault(source, []).append(number)
    for number, taken_by in takers.items():
        if not steps[number].sources:
            rows[number] = min(rows[taken_by]) - 1
    columns = np.zeros(len(steps))
    for row in np.unique(rows):
        members = np.flatnonzero(rows == row)
        wanted = list[float]()
        for number in members.tolist():
            sources = steps[number].sources
            inner = [one for one in sources if not steps[one].end] or sources
            beyond_others = max(wanted, default=-1) + 1
            wanted.append(columns[inner].mean() if sources else beyond_others)
        order = members[np.argsort(wanted, kind="stable")]
        columns[order] = np.arange(len(order)) - (len(order) - 1) / 2
    return rows, columns


def _draw_arrows(
    axes: Axes,
    steps: Sequence[Step],
    rows: Array,
    x: Array,
    y: Array,
    size: tuple[float, float],
) -> None:
    """Draw an arrow from each step to those that take its result.

    One that passes rows runs beside their boxes, on the side of the box that it leaves; a short
    arrow is nearer to the boxes than the longer ones that it shares rows with.

    x, y  middle and upper edge of each box [inch]
    size  width and height of a box [inch]
    """
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path as Corners

    width, height = size
    pairs = [(source, number) for number, step in enumerate(steps) for source in step.sources]
    pairs.sort(key=lambda pair: rows[pair[1]] - rows[pair[0]])
    passing: list[tuple[int, float, float]] = []
    for start, end in pairs:
        first = rows[start]
        last = rows[end]
        corners = [(x[start], y[start] + height), (x[end], y[end])]
        if last > first + 1:
            side = 1 if x[start] >= 0 else -1
            nearer = [one for one in passing if one[0] == side and one[1] < last and one[2] > first]
            passing.append((side, first, last))
            passed = x[(rows >= first) & (rows <= last)]
            edge = side * width / 2
            outermost = max(side * passed) * side + edge
            lane = outermost + side * canvas.sized(LANE) * (len(nearer) + 1)
            leaves = y[start] + 0.7 * height
            arrives = y[end] + 0.3 * height
            corners = [(x[start] + edge, leaves), (lane, leaves), (lane, arrives)]
            corners.append((x[end] + edge, arrives))
        look: dict[str, Any] = {"arrowstyle": "-|>", "mutation_scale": 8, "color": "#555555"}
        axes.add_patch(FancyArrowPatch(path=Corners(corners), lw=0.9, **look))
