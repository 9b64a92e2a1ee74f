"""Figures of comparisons, and their folders in `comparisons/` of the workspace."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from qexp.base.files import make_folder
from qexp.base.formats import read_json, read_netcdf
from qexp.base.outputs import MAIN_METRICS
from qexp.base.workspace import Workspace
from qexp.comparison.seeds import SeedComparison
from qexp.store.directory import MATRIX, MATRIX_RECORD, RunDirectory, with_caution


def with_figures(comparison: SeedComparison, workspace: Workspace) -> SeedComparison:
    """The comparison with its figures drawn and saved in `comparisons/` in the workspace."""
    names = [group.name for group in comparison.groups]
    runs = [str(run.directory.path) for group in comparison.groups for run in group.runs]
    place = place_of(names, runs, workspace)
    return replace(comparison, figures=drawn_anew(draw_groups(comparison, place), place))


def place_of(names: Sequence[str], compared: Sequence[str], workspace: Workspace) -> Path:
    """The folder of a comparison, with a hash of all that is compared: none overwrites the figures
    of another.

    names     whose letters, digits, dots, underscores and hyphens alone get into its name
    compared  paths, with what of a file is compared
    """
    safe = [re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") for name in names]
    return workspace.root / "comparisons" / f"{_listed(safe)}--{_hash(compared)}"


LONGEST_FOLDER_NAME = 60
"""Characters of names in the name of a folder, above which they are counted."""


def folder_name(runs: Sequence[str]) -> str:
    """The name of the folder for figures of some runs: their names, or the first and a hash."""
    names = _listed(runs)
    return names if names == "--".join(runs) else f"{names}--{_hash(runs)}"


def _listed(names: Sequence[str]) -> str:
    if len(names) < 2 or len("--".join(names)) <= LONGEST_FOLDER_NAME:
        return "--".join(names)[:LONGEST_FOLDER_NAME]
    return f"{names[0][:LONGEST_FOLDER_NAME]}--and-{len(names) - 1}-more"


def _hash(runs: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(runs).encode()).hexdigest()[:8]


def draw_runs(directories: Sequence[RunDirectory], folder: Path) -> list[Path]:
    from qexp.figures.curves import learning_curves
    from qexp.figures.writing import save

    drawn = []
    records = [directory.record() for directory in directories]
    names = [with_caution(record.name, record.caution) for record in records]
    curves = {name: directory.metrics() for name, directory in zip(names, directories, strict=True)}
    if all(curves.values()):
        make_folder(folder)
        drawn.append(folder / "learning_curves.png")
        units = {output: unit for record in records for output, unit in record.units.items()}
        save(learning_curves(curves, units), drawn[-1])
    runs = {}
    for name, record, directory in zip(names, records, directories, strict=True):
        runs[name] = {record.seed: directory}
    return drawn_anew([*drawn, *draw_matrices(runs, folder)], folder)


ERRORS = "_errors.png"
"""How pictures of errors end, each part's in a file of its own."""


def draw_groups(comparison: SeedComparison, folder: Path) -> Iterator[Path]:
    from qexp.figures.curves import OF_WHAT, learning_bands
    from qexp.figures.seeds import OfSeeds, errors_of_seeds
    from qexp.figures.writing import save

    make_folder(folder)
    curves = {}
    for group in comparison.groups:
        lines = [run.directory.metrics() for run in group.counted.values()]
        if any(lines):
            curves[group.name] = list(filter(None, lines))
    if curves:
        keys = {path.partition(".")[0] for path in comparison.differences}
        kinds = {group.runs[0].summary.get("kind") for group in comparison.groups}
        loss = "as logged" if "program" in kinds else OF_WHAT
        if keys & {"losses", "transforms"}:
            loss = "each group's own"
        save(learning_bands(curves, loss, comparison.units), folder / "learning_bands.png")
        yield folder / "learning_bands.png"
    errors: dict[str, dict[str, OfSeeds]] = {}
    for row in comparison.results:
        if row.metric in MAIN_METRICS and row.estimate is not None:
            of_seeds = OfSeeds(list(row.values.values()), row.estimate.mean, row.estimate.interval)
            errors.setdefault(row.output, {})[row.group] = of_seeds
    if errors:
        picture = folder / f"{'evaluation' if comparison.evaluation else comparison.part}{ERRORS}"
        part = comparison.evaluation or comparison.part
        save(errors_of_seeds(errors, comparison.units, part), picture)
        yield picture
    runs = {}
    for group in comparison.groups:
        runs[group.name] = {seed: run.directory for seed, run in group.counted.items()}
    yield from draw_matrices(runs, folder)


RunsBySeed = Mapping[str, Mapping[int, RunDirectory]]
"""Title → seed → run."""

MOST_PANELS = 12
"""Matrices in one figure."""

Panel = dict[int, tuple[Path, dict[str, Any]]]
"""Seed → the file of a matrix, and its record."""


def draw_matrices(runs: RunsBySeed, folder: Path) -> Iterator[Path]:
    """Figures of matrices of the same data set side by side, one for those over the same cells; of
    a single none.

    runs  matrices of several seeds are drawn as the mean of their absolute errors
    """
    from qexp.figures.writing import save
    from qexp.kinds.matrix_figures import side_by_side

    data_sets: dict[str, dict[str, dict[str, Panel]]] = {}
    for title, group in runs.items():
        for seed, directory in group.items():
            for name in directory.matrix_names():
                record = read_json(directory.matrices / name / MATRIX_RECORD)
                outputs = list(record["mean_absolute_error"])
                cells = json.dumps([record["axes"], record["fixed"], outputs])
                alike = data_sets.setdefault(record["dataset"], {}).setdefault(cells, {})
                panel = title if seed not in alike.get(title, {}) else f"{title}: {name}"
                alike.setdefault(panel, {})[seed] = directory.matrices / name / MATRIX, record
    for data, figures in data_sets.items():
        parts = []
        for alike in figures.values():
            for first in range(0, len(alike), MOST_PANELS):
                parts.append(list(alike.items())[first : first + MOST_PANELS])
        if sum(map(len, parts)) < 2:
            continue
        for number, part in enumerate(parts, 1):
            title = data
            file = f"matrix_{data}.png"
            if len(parts) > 1:
                title += f" ({number} of {len(parts)}: over other cells, or of further runs)"
            if number > 1:
                file = f"matrix_{data}_{number}.png"
            tables = {}
            records = {}
            for name, seeds in part:
                words = _title_of_panel(name, list(seeds), runs)
                tables[words] = [read_netcdf(path) for path, _ in seeds.values()]
                records[words] = next(iter(seeds.values()))[1]
            views = next(iter(records.values())).get("views", ())
            make_folder(folder)
            save(side_by_side(tables, title, views, records), folder / file)
            yield folder / file


def _title_of_panel(panel: str, seeds: Sequence[int], runs: RunsBySeed) -> str:
    """Title of a panel, with the seeds that it stands for if its group has several."""
    count = max(
        len(group)
        for title, group in runs.items()
        if panel == title or panel.startswith(f"{title}: ")
    )
    if len(seeds) == 1:
        return panel if count == 1 else f"{panel}, seed {seeds[0]} alone, of {count}"
    return f"{panel}, mean over {len(seeds)}{f' of {count}' * (len(seeds) < count)} seeds"


PICTURES = re.compile(
    r"(learning_(bands|curves)|(test|validation|training|evaluation)_errors|matrix_.+)\.png"
)
"""Names of the pictures of comparisons."""


def drawn_anew(pictures: Iterable[Path], folder: Path) -> list[Path]:
    """The pictures, once drawn; those that only an earlier comparison drew there are gone."""
    drawn = list(pictures)
    for path in folder.glob("*.png"):
        if PICTURES.fullmatch(path.name) and path not in drawn and not path.name.endswith(ERRORS):
            path.unlink(missing_ok=True)
    return drawn
