"""A look at data before anything is trained on them: one part of a dataset is opened, summarised
and drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qexp.base import files
from qexp.base.text import Table
from qexp.base.workspace import Workspace
from qexp.errors import QexpError, suggestion
from qexp.figures.canvas import use_style
from qexp.figures.writing import require_formats, save
from qexp.kinds import experiments
from qexp.kinds.experiments import open_dataset, spec_cache
from qexp.kinds.objects import data_kind
from qexp.kinds.options import SampleOptions, ShowOptions
from qexp.kinds.preview import Preview
from qexp.spec.kinds import caution_of_data, load_stage
from qexp.spec.resolution import FOLDERS

if TYPE_CHECKING:
    import xarray

MOST_SHOWN = 100


@dataclass(frozen=True)
class Look:
    """What there is to see of one part of a dataset."""

    name: str
    """Of the dataset, or of the experience that divides it."""
    part: str
    parts: Sequence[str]
    """Names of all parts."""
    caution: str
    """Such as "made with stand-in data"; empty if there is none."""
    samples: xarray.Dataset
    summary: Sequence[dict[str, Any]]
    """Number, minimum, percentiles, maximum, missing values of each variable, or column of one; of
    a class the number of each name.
    """
    proposal: dict[str, Any] | None
    """Typical values for the network's transforms, as keys of a spec."""
    remarks: Sequence[str]
    figures: Sequence[Path]

    def tables(self) -> Iterator[Table]:
        """The summary of numbers, and that of each class."""
        numbers = [variable for variable in self.summary if "classes" not in variable]
        keys = list(numbers[0])
        rows = [list(map(_cell, map(variable.get, keys))) for variable in numbers]
        yield Table("", keys, rows, frozenset(keys) - {"variable", "unit"})
        for variable in self.summary:
            if "classes" in variable:
                keys = [variable["variable"], "n", "share"]
                counts = variable["classes"].items()
                total = max(variable["n"], 1)
                rows = [[name, f"{one:,}", f"{100 * one / total:.1f} %"] for name, one in counts]
                if variable["missing"]:
                    rows.append(["missing", f"{variable['missing']:,}", ""])
                yield Table("", keys, rows, frozenset(keys[1:]))


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def look(workspace: Workspace, options: ShowOptions, folder: Path | None) -> Look:
    """Summarise a part of a dataset and draw its figures, `PART_NAME.FORMAT`, into any folder.

    Raises QexpError and SpecError before anything is written.
    """
    require_formats(options.formats)
    if options.count > MOST_SHOWN:
        raise QexpError(
            f"`count={options.count}`: at most {MOST_SHOWN} can be shown; `qexp.samples` gives any"
            " number"
        )
    name, view = open_view(workspace, options)
    samples = samples_of(view, options.count)
    variables = view.variables(samples)
    paths: list[Path] = []
    if folder is not None:
        with use_style(*options.drawn_with):
            caution = f" ({view.caution})" if view.caution else ""
            title = f"{name}, {view.part}{caution}"
            for figure, picture in view.pictures(samples, variables, title):
                files.make_folder(folder)
                for ending in options.formats:
                    paths.append(folder / f"{view.part}_{figure}.{ending}")
                    save(picture, paths[-1])
    summary = [variable.summary() for variable in variables]
    remarks = [*view.dataset.warnings, *view.remarks()]
    proposal = view.proposal(variables)
    return Look(
        name, view.part, list(view.parts), view.caution, samples, summary, proposal, remarks, paths
    )


def samples_of(view: Preview[Any, Any], count: int) -> xarray.Dataset:
    """Samples of a part. Raises QexpError if none are asked for."""
    if count < 1:
        raise QexpError(f"`count={count}`: at least one sample")
    return view.samples(count)


def open_view(workspace: Workspace, chosen: SampleOptions) -> tuple[str, Preview[Any, Any]]:
    """Name of the dataset or experience, and the view of a part: `train`, or else the first, if
    none is named.

    Raises QexpError and SpecError.
    """
    dataset = chosen.dataset
    experience = chosen.experience
    if dataset is None and experience is None:
        raise QexpError("name a dataset, or an experience with `experience`")
    if experience is not None:
        plan = experiments.experience(experience, {}, workspace)
        name = plan.name
        data = plan.dataset
        own_dataset = plan.dataset_name
        if data is None:
            raise QexpError(
                f"'{name}' has no dataset that qexp could open: its program reads its own data"
            )
        if dataset is not None and Path(dataset).stem != own_dataset:
            raise QexpError(
                f"the dataset of '{name}' is '{own_dataset}', not '{dataset}'; leave"
                f" '{dataset}' out"
            )
        document = plan.document["dataset"]
        spec = plan.document
        tables = plan.tables
    else:
        assert dataset is not None
        folders = [workspace.specs / FOLDERS[kind] for kind in ("experience", "dataset")]
        if [(folder / f"{dataset}.json").is_file() for folder in folders] == [True, False]:
            raise QexpError(
                f"'{dataset}' is an experience; show its data with `experience={dataset}`"
            )
        cache = spec_cache(workspace)
        name, document, data = open_dataset(dataset, cache)
        spec, tables = None, cache.tables
    try:
        view: type[Preview[Any, Any]] = load_stage(document, "look")
    except QexpError as error:
        raise QexpError(f"'{name}' cannot be shown: {error}") from None
    parts = data_kind(document).parts(data, spec, tables, chosen.seed)
    caution = caution_of_data({"dataset": data_kind(document).pinned(document, data, workspace)})
    usual = "train" if "train" in parts else next(iter(parts))
    part = usual if chosen.part is None else chosen.part
    if part not in parts:
        hint = " (an experience divides it further: `experience=NAME`)" if spec is None else ""
        raise QexpError(
            f"`part={part}`: '{name}' has no such part; {suggestion(part, parts)}{hint}"
        )
    return name, view(data, parts, part, chosen.seed, tables["quantities"], caution)
