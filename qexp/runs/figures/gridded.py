"""Figures of runs on gridded fields: test frames, and errors by the thickness of the ice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from qexp import files
from qexp.estimates import estimate_of
from qexp.figures.fields import Extent, Moment, draw_moments
from qexp.figures.thickness import errors_by_thickness as by_thickness
from qexp.runs.evaluation.field_errors import in_words
from qexp.runs.figures.sources import FIGURES_FOLDER, FigureOfRun, Pictures, learning_curve_of, outputs, table, unit
from qexp.runs.record.directory import FRAMES, RunDirectory
from qexp.spec.kinds.gridded import FIELD_ERRORS

if TYPE_CHECKING:
    import xarray

LEARNING_CURVE_PDF = "Learning-curve.pdf"
"""The name that 2Dto2D-DLE uses; always a PDF."""


def learning_curve(directory: RunDirectory) -> Pictures:
    """Losses and validation errors over epochs."""
    made = learning_curve_of(directory)
    yield FIGURES_FOLDER / "learning_curve", made
    yield FIGURES_FOLDER / LEARNING_CURVE_PDF, made


def frames(directory: RunDirectory) -> Pictures:
    """Truth, estimate and difference of some test frames: a picture per frame, in a folder per data folder."""
    errors = files.read_json(directory.results / FIELD_ERRORS)
    vectors = [_components(name) for name in errors["overall"]["vectors"]]
    caution = directory.record().caution
    for folder in errors["folders"]:
        kept = table(directory.results / FRAMES / f"{folder}.nc")
        yield from _frames_of(kept, folder, vectors, caution)


def _frames_of(kept: xarray.Dataset, folder: str, vectors: list[tuple[str, str]], caution: str) -> Pictures:
    known = outputs(kept)
    moments = [
        Moment(
            _title(kept, folder, index, caution),
            {name: kept[name].values[index] for name in known},
            {name: kept[estimate_of(name)].values[index] for name in known},
        )
        for index in range(kept.sizes["frame"])
    ]
    left, right, bottom, top = map(float, kept.attrs["extent"])
    where = Extent(left, right, bottom, top, str(kept.attrs["extent_unit"]))
    digits = max(3, len(str(int(kept.attrs["frames"]) - 1)))
    made = draw_moments(moments, {name: unit(kept, name) for name in known}, vectors, where)
    for number, figure in zip(kept["frame"].values, made, strict=True):
        yield FIGURES_FOLDER / folder / f"frame_{number:0{digits}d}", figure


def _components(vector: str) -> tuple[str, str]:
    x, y = vector.split(", ")
    return x, y


def _title(kept: xarray.Dataset, folder: str, index: int, caution: str) -> str:
    when = f"frame {kept['frame'].values[index]} of {kept.attrs['frames']} (counted from 0)"
    if "time" in kept.coords:
        when = f"time {kept['time'].values[index]:.4g} {unit(kept, 'time')}".rstrip()
    return f"{folder}, {when}" + (f" ({caution})" if caution else "")


def errors_by_thickness(directory: RunDirectory) -> Pictures:
    """Errors of the outputs and vectors by the thickness of the ice; no figure if that is not known."""
    errors = files.read_json(directory.results / FIELD_ERRORS)
    classes: list[dict[str, Any]] = errors["thickness"]
    if not classes:
        return
    made = by_thickness(
        [in_words(one["above"], one["up_to"]) for one in classes],
        [one["cells"] for one in classes],
        {
            output: {metric: _numbers(one["outputs"][output][metric] for one in classes) for metric in of_output}
            for output, of_output in errors["overall"]["outputs"].items()
        },
        {name: _numbers(one["vectors"][name]["percent"] for one in classes) for name in errors["overall"]["vectors"]},
        errors["units"],
    )
    yield FIGURES_FOLDER / "errors_by_thickness", made


def _numbers(values: Iterable[float | None]) -> list[float]:
    """Numbers of a JSON file, with NaN for null."""
    return [float("nan") if value is None else value for value in values]


FIGURES: Mapping[str, FigureOfRun] = {
    "learning_curve": learning_curve,
    "frames": frames,
    "errors_by_thickness": errors_by_thickness,
}
