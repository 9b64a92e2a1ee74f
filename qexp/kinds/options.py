"""What matrix, predict, evaluate, intervals, calibrate, limit, figures and data show take."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from qexp.base.options import (
    Computing,
    Counted,
    Displaying,
    InWorkspace,
    Opening,
    Report,
    argument,
    as_warning,
    figure_formats,
    ignore,
    option,
    print_width,
    python_only,
    uncounted,
    words_of,
)
from qexp.base.seeds import require_seed
from qexp.base.shell_values import column_words, pairs, read_columns, read_values, text_of
from qexp.errors import QexpError, suggestion
from qexp.examples.options import Watch, unwatched
from qexp.jobs.launchers import LaunchOptions

if TYPE_CHECKING:
    from qexp.rows.formats import Columns

OnProgress = Callable[[int, float], None]
"""Receives how many images, rows or frames are estimated, and the share of the file."""

Watched = Callable[[str, Path], AbstractContextManager[OnProgress]]
"""From what is counted, such as "rows", and a file, what is shown the file's progress."""


def read_axes(option: str, texts: Sequence[str]) -> dict[str, tuple[float, float, int]]:
    """`["depth=0:4:128"]` → `{"depth": (0.0, 4.0, 128)}`."""

    def axis(text: str) -> tuple[float, float, int]:
        low, high, cells = text.split(":")
        return float(low), float(high), int(cells)

    return pairs(option, texts, "write variable=low:high:cells, for example depth=0:4:128", axis)


def read_units(option: str, texts: Sequence[str]) -> str | dict[str, str]:
    """`["mm"]` → "mm"; `["a=mm,b=m"]` → {a: mm, b: m}."""
    parts = [part.strip() for text in texts for part in text.split(",")]
    if len(parts) == 1 and parts[0] and "=" not in parts[0]:
        return parts[0]
    return pairs(
        option,
        parts,
        "write one unit, such as mm, or NAME=UNIT for each input",
        lambda unit: text_of(unit.strip()),
    )


def unit_words(unit: str | Mapping[str, str]) -> list[str]:
    """Units as the shell takes them."""
    return [unit] if isinstance(unit, str) else [f"{name}={other}" for name, other in unit.items()]


@dataclass(frozen=True)
class NewOptions(InWorkspace):
    """Options of `qexp new`."""

    kind: str | None = argument(
        None,
        "What is written: a dataset, or an experience with its model and, for a file, its dataset;"
        " an experience if left out beside `source`.",
        "[dataset|experience]",
    )
    name: str | None = argument(None, "Name of the new specs; that of `source` if left out.")
    file: str | Path | None = argument(
        None,
        "A table (CSV, Parquet); a folder with train/ and test/, each with folders of NetCDF or npy"
        " files; arrays of simulations (NetCDF, HDF5, npz, Zarr), and a table of that name if they"
        " lack the parameters; a folder of images, and the table that names them; or an observation"
        " of qexp observe. Without it the experience is for the dataset of its name.",
        "[FILE|FOLDER]",
        shell=str,
    )
    _: KW_ONLY
    source: str | Path | None = option(
        None, "The file or folder, for an experience of its name.", "--from FILE|FOLDER", shell=str
    )
    outputs: Sequence[str] = option(
        (),
        "Column or field that is estimated; the last one of numbers, or all of simulations, if left"
        " out.",
        "--output COLUMN ...",
        example='("moisture",)',
    )
    groups: Sequence[str] = option(
        (),
        "Column whose rows of one value are held out together, such as a site.",
        "--group COLUMN ...",
        example='("field",)',
    )

    def divided(self, names: Sequence[str], where: str, what: str) -> tuple[list[str], list[str]]:
        """Inputs and outputs: those that are named, else the last; the others are inputs.

        where, what  how errors call the file, and the names
        Raises QexpError if an output is none of the names, or all of them are.
        """
        for name in self.outputs:
            if name not in names:
                known = suggestion(name, names)
                raise QexpError(
                    f"`outputs={[name]}`: '{name}' is none of the {what} of {where}; {known}"
                )
        outputs = list(self.outputs) or list(names[-1:])
        inputs = [name for name in names if name not in outputs]
        if not inputs:
            raise QexpError(f"{where} has too few {what}: one at least as input, and one as output")
        return inputs, outputs


@dataclass(frozen=True)
class MatrixOptions(Computing, Displaying):
    """Options of `qexp matrix`."""

    dataset: str | None = option(
        None,
        "Name or path of a dataset spec, which generates the observations; the run's own dataset if"
        " left out.",
        complete="datasets",
    )
    _: KW_ONLY
    axes: Mapping[str, tuple[float, float, int]] = option(
        {},
        "Axis of true values: variable, and low, high and number of cells. The axes of the dataset"
        " if left out.",
        "--axis VARIABLE=LOW:HIGH:CELLS ...",
        example='{"depth": (0, 4, 128)}',
        read=read_axes,
        complete="variables",
    )
    fixed: Mapping[str, float] = option(
        {},
        "Value of a variable that is not an axis.",
        "--fix VARIABLE=VALUE ...",
        example='{"x": 0.5}',
        read=read_values,
        complete="variables",
    )
    repeats: int = option(1, "Noise realisations per cell.", "N")
    seed: int = option(0, "Random seed of the noise.")
    name: str | None = option(
        None,
        "Name of the matrix in the run; that of the dataset if left out. The same matrix is not"
        " computed again.",
        "NAME",
    )
    force: bool = option(
        False, "Replace a matrix of the same name that was made with other settings."
    )
    npy: bool = option(False, "Also write the .npy arrays of VDI.")
    refine: bool = option(
        False,
        "Also refine every estimate by least squares that start at it, with the weights of the"
        " dataset's noise.",
    )
    bound: bool = option(
        False,
        "Also compute the Cramér-Rao bound, the least standard deviation of unbiased estimates;"
        " with `repeats`, the ratio of the network's to it.",
    )
    true_class: str | None = option(None, "Class of the true values, if there are several.", "NAME")
    false_alarms: float = option(0.01, "Share of images without a source that may count as of one.")
    exact: bool = option(
        False, "Also what exact probabilities detect, at 0.01 s an image and more."
    )
    on_refined: Counted = python_only(
        uncounted, "Takes the number of cells that are refined, and of all; a bar if left out"
    )
    tell: Report = python_only(ignore, "Receives a line for each matrix that existed already")
    warn: Report = python_only(
        as_warning, "Receives a line on each axis or value that the training data do not have"
    )

    def __post_init__(self) -> None:
        if self.repeats < 1:
            raise QexpError(f"`repeats={self.repeats}`: at least one")
        if not 1e-4 <= self.false_alarms < 1:
            raise QexpError(f"`false_alarms={self.false_alarms}`: from 0.0001 to below 1")
        require_seed(self.seed)


@dataclass(frozen=True)
class PredictOptions(Computing, Displaying):
    """Options of `qexp predict`; those that a kind of data does not take are None or False."""

    panels: ClassVar = {
        "Files": "run source columns unit target overwrite",
        "Uncertainty": "interval draws refined recalibrated misfit",
        "Where": "device chunk launcher options profile",
    }

    source: str | Path | Sequence[str | Path] = option(
        ...,
        "Images: a NetCDF, HDF5, Matlab 7.3, npz, npy or GeoTIFF file or Zarr store with samples"
        " first, a folder with a npy or GeoTIFF file per input, or a folder of NetCDF, npz, npy and"
        " GeoTIFF files and such folders. Rows: a CSV, Parquet or"
        " NetCDF file, or a folder of them. Fields: a NetCDF file, a folder with ex.nc or npy"
        " files, or a folder of such folders. Spectra: a folder with spe/, a folder of files, or a"
        " table with one per row.",
        "--input FILE|FOLDER",
        shell=str,
        optional=True,
    )
    target: str | Path = option(
        ...,
        "Output: a folder for a folder of files or of folders, a NetCDF file for fields, a table"
        " (NetCDF, CSV or Parquet) for images and spectra. Files that the same run has estimated"
        " already are left as they are.",
        "--output FILE|FOLDER",
    )
    _: KW_ONLY
    chunk: int | None = option(None, "Images, rows, frames or spectra in memory at a time.", "N")
    columns: Columns | None = option(
        None,
        "Columns of rows, or variables of images, with other names than in the training data: the"
        " run's name and the file's; of rows also the positions of the run's columns in the file,"
        " in order, counted from 1.",
        "NAME=OTHER,...|N,N,...",
        also="Repeat for more; write JSON where a name has a comma or a '='.",
        shell=list[str],
        read=read_columns,
        write=column_words,
    )
    unit: str | Mapping[str, str] | None = option(
        None,
        "Unit of images whose file gives none or another: of all, or of one input.",
        "UNIT|NAME=UNIT ...",
        example='{"displacement": "mm"}',
        read=read_units,
        write=unit_words,
    )
    interval: float | None = option(
        None,
        "Coverage of the intervals of rows, spectra and posteriors of images, and of sets of classes"
        " of rows and spectra; 0.9 if left out, or less where there are too few held-out errors to"
        " promise that.",
        "SHARE",
    )
    draws: int | None = option(
        None,
        "Images, rows and spectra, with a posterior head or `refined`: also write this number of"
        " draws from the posterior of each, for ArviZ, into a file beside the estimates, and a"
        " corner plot of the first.",
        "N",
    )
    refined: bool = option(
        False,
        "Images of a simulated dataset: intervals and draws are of the posteriors by the known"
        " likelihood, which the network's estimates only start; estimates are their medians. For"
        " runs with or without a posterior head.",
    )
    recalibrated: str | None = option(
        None,
        "Images, with a posterior head: intervals and draws are as wide as the observations of a"
        " calibration demand, by where the estimates lie. PART is that of `qexp calibrate --part`."
        " Right for images that are like these.",
        "PART",
        complete="parts",
    )
    misfit: bool = option(
        False,
        "Images: also compare each with what the simulator of the training data makes, by p-values"
        " of the residuals of the best source, found by least squares, and of the network's"
        " features.",
    )
    overwrite: bool = option(False, "Replace existing estimates.")
    watched: Watched | None = python_only(
        None, "Makes the object that is shown the progress of a file; a bar if left out"
    )
    each: Callable[[Any], None] | None = python_only(
        None,
        "Receives each prediction, or the error, as soon as a file is done; if left out, the"
        " warnings of each are issued, such as of images unlike the training data",
    )

    @property
    def sources(self) -> list[Path]:
        """The files and folders of `source`."""
        return (
            [Path(self.source)]
            if isinstance(self.source, str | Path)
            else [*map(Path, self.source)]
        )

    def __post_init__(self) -> None:
        if isinstance(self.columns, str):  # as the shell takes it
            object.__setattr__(self, "columns", read_columns("`columns`", [self.columns]))
        require_one_of(self)
        if self.chunk is not None and self.chunk < 1:
            raise QexpError(f"`chunk={self.chunk}`: at least 1")


def require_one_of(options: PredictOptions | CalibrateOptions) -> None:
    """Raise QexpError where posteriors are asked for that are of the likelihood and of the head."""
    if options.refined and options.recalibrated is not None:
        raise QexpError(
            "`recalibrated` is for the network's own posteriors, not for `refined` ones; leave"
            " one out"
        )


@dataclass(frozen=True)
class SubmitOptions(PredictOptions, LaunchOptions):
    """Options of `qexp predict` on a cluster: a job for each file."""

    @property
    def words(self) -> list[str]:
        """What a job for one of the files is given besides that file."""
        return words_of(self, ("source", "target", "launcher", "options", "profile", "workspace"))


def read_maps(option: str, texts: Sequence[str]) -> dict[str, str]:
    """`["FeO=feo.nc:feo"]` → `{"FeO": "feo.nc:feo"}`."""
    return pairs(option, texts, "write NAME=FILE:OUTPUT, such as FeO=feo.nc:feo", text_of)


@dataclass(frozen=True)
class CombineOptions:
    """Options of `qexp combine`."""

    expression: str = argument(
        ..., "Numbers and names of maps, with + - * / ** and brackets, such as 'MgO/(MgO+FeO)'."
    )
    maps: Mapping[str, str] = argument(
        ...,
        "Names of maps over the same cells: an output in a NetCDF file of `predict`, or a band of a"
        " GeoTIFF in degrees.",
        "NAME=FILE:OUTPUT...",
        example='{"MgO": "mgo.nc:mgo", "FeO": "feo.nc:feo"}',
        shell=list[str],
        read=read_maps,
    )
    target: str | Path = option(..., "The new map: NetCDF, CSV or Parquet.", "--output FILE")
    _: KW_ONLY
    molar: bool = option(
        False, "Names are formulas, maps their wt%; the expression is of their moles."
    )
    correlation: Mapping[str, float] = option(
        {},
        "Correlation between the errors of two maps, 0 if left out.",
        "NAME,NAME=NUMBER ...",
        example='{"MgO,FeO": 0.5}',
        read=read_values,
    )
    interval: float = option(0.9, "Coverage of the intervals.", "SHARE")
    overwrite: bool = option(False, "Replace an existing map.")


@dataclass(frozen=True)
class DistilOptions(Computing):
    """Options of `qexp distil`."""

    rows: str | Path | None = option(
        None,
        "Rows that need no true values, such as a part of the map to estimate: a file as for"
        " `predict`. If left out, the run's own rows and rows between each and its nearest ones.",
        "FILE",
    )
    columns: Columns | None = option(
        None,
        "Columns of the file with other names than in the training data, as for `predict`.",
        "NAME=OTHER,...|N,N,...",
        shell=list[str],
        read=read_columns,
        write=column_words,
    )
    _: KW_ONLY
    name: str | None = option(
        None, "Name of the new experience; RUN_distilled if left out.", "NAME"
    )
    seed: int = option(
        0, "Random seed of the run: which rows are drawn and held out, and its initial weights."
    )
    display: Any = python_only(
        None, "Shows the progress of training: a bar on a terminal and in a notebook."
    )

    def __post_init__(self) -> None:
        require_seed(self.seed)


@dataclass(frozen=True)
class EvaluateOptions(Computing):
    """Options of `qexp evaluate`."""

    dataset: str | None = option(
        None,
        "Name or path of a dataset spec of the kind that the run was trained on; the run's own if"
        " left out.",
        complete="datasets",
    )
    _: KW_ONLY
    input: str | Path | None = option(
        None,
        "Data in the form of the run's own: a table or a folder of tables; a folder of fields, or"
        " of folders of fields; spectra.",
        "FILE|FOLDER",
    )
    part: str | None = option(
        None,
        "Part of the data; if left out, test where the data have such a part, else all.",
        "train|validation|test|all",
        complete="parts",
    )
    seed: int = option(
        0,
        "Random seed of simulated samples, masks and intervals; with the run's own dataset and its"
        " own seed they are those of the run.",
    )
    name: str | None = option(None, "Name of the evaluation; that of the data if left out.", "NAME")
    force: bool = option(
        False, "Replace an evaluation of the same name that was made with other settings."
    )
    warn: Report = python_only(as_warning, "Receives a line for each figure that cannot be drawn")

    def __post_init__(self) -> None:
        if self.dataset is not None and self.input is not None:
            raise QexpError("name the data with either `dataset` or `input`, not with both")
        require_seed(self.seed)


@dataclass(frozen=True)
class IntervalsOptions(Opening):
    """Options of `qexp intervals`."""


LEAST_OBSERVATIONS, LEAST_DRAWS = 20, 20
MOST_DRAWS, MOST_NUMBERS = 10_000_000, 1_000_000_000


@dataclass(frozen=True, kw_only=True)
class CalibrateOptions(Computing, Displaying):
    """Options of `qexp calibrate`. Raises QexpError for numbers that cannot be."""

    observations: int = option(
        2000, "Values drawn from the prior, each for a simulated observation.", "N"
    )
    draws: int = option(1000, "Draws from the posterior of each observation.", "N")
    part: str | None = option(
        None,
        "Part of the distributions: all is the whole prior, as an observer may meet it. If left"
        " out, all, and of simulations in files the test part.",
        "train|validation|test|all",
        complete="parts",
    )
    seed: int = option(0, "Random seed of observations and draws.", "N")
    exact: int = option(
        0,
        "Also compare N of the posteriors with the exact ones, for up to two variables: widths, and"
        " how well a classifier distinguishes the draws (C2ST).",
        "N",
    )
    refined: bool = option(
        False,
        "Test the posteriors by the known likelihood, found from the network's estimates, instead"
        " of those of the network's head.",
    )
    recalibrated: str | None = option(
        None,
        "Test the posteriors that `qexp predict --recalibrated PART` gives, on other observations"
        " than those of that calibration.",
        "PART",
        complete="parts",
    )
    dataset: str | None = option(
        None,
        "Dataset whose simulations test the posteriors, such as fresh ones, in place of the run's"
        " own: name or path of its spec.",
        "NAME",
        complete="datasets",
    )
    ensemble: bool = option(
        False,
        "Test the mixture of runs that differ by their seed alone as one posterior, instead of each"
        " run.",
    )
    theta: Any = python_only(
        None,
        "Parameters of given simulations that test them: by names, or (simulation, parameter) as"
        " the outputs",
    )
    observed: Any = python_only(
        None,
        "What these simulated: (simulation, ...) of the only input, or input → such arrays; see"
        " `Run.predict`",
    )
    on_observation: Counted = python_only(
        uncounted, "Takes the number of observations that are done, and of all; a bar if left out"
    )
    warn: Report = python_only(as_warning, "Receives a line for each figure that cannot be drawn")

    def __post_init__(self) -> None:
        require_one_of(self)
        if (self.theta is None) != (self.observed is None):
            raise QexpError(
                "`theta` and `observed` belong together: parameters, and what they simulated"
            )
        given = [name for name in ("theta", "dataset", "part") if getattr(self, name) is not None]
        if len(given) > 1:
            raise QexpError(
                f"`{given[0]}` and `{given[1]}` both say which observations test the posteriors;"
                " give one"
            )
        if not LEAST_OBSERVATIONS <= self.observations <= MOST_DRAWS:
            raise QexpError(
                f"`observations={self.observations}`: from {LEAST_OBSERVATIONS}, as fewer could"
                f" show no fault at all, to {MOST_DRAWS:,}"
            )
        if not LEAST_DRAWS <= self.draws <= MOST_DRAWS:
            raise QexpError(
                f"`draws={self.draws}`: from {LEAST_DRAWS}, for the ends of 90 % intervals, to"
                f" {MOST_DRAWS:,}"
            )
        if self.observations * self.draws > MOST_NUMBERS:
            raise QexpError(
                f"`observations={self.observations}` with `draws={self.draws}`:"
                f" {self.observations * self.draws:,} numbers of each output are too many; at most"
                f" {MOST_NUMBERS:,}"
            )
        if not 0 <= self.exact <= self.observations:
            raise QexpError(
                f"`exact={self.exact}`: from 0 to the number of observations, {self.observations}"
            )
        require_seed(self.seed)


USUAL_SAMPLES, MOST_SAMPLES = 1000, 1_000_000


@dataclass(frozen=True)
class LimitOptions(Opening, Displaying):
    """Options of `qexp limit`."""

    dataset: str | None = argument(
        None,
        "Name or path of a dataset spec.",
        "RUN|DATASET",
        also="Or a run, as with --run, unless a dataset has that name.",
        complete="runs_and_datasets",
    )
    _: KW_ONLY
    run: Any = option(
        None,
        "In place of a dataset: a run, for its own test samples and the images that it takes. The"
        " limit is kept in the run and shown with it.",
        "RUN",
        shell=str,
        complete="runs",
    )
    part: str | None = option(
        None,
        "Where the samples are drawn from: the test part, as for runs and if left out, or the whole"
        " prior, over which no method has smaller errors on average.",
        "test|all",
    )
    seed: int | None = option(None, "Random seed of the samples, as of a run; 0 if left out.", "N")
    samples: int | None = option(
        None,
        "Number of samples; 1,000 if left out. A run with that seed and as many test samples has"
        " these.",
        "N",
    )
    on_sample: Counted = python_only(
        uncounted, "Takes the number of samples that are done, and of all; a bar if left out"
    )
    warn: Report = python_only(
        as_warning,
        "Receives a line if the figure of the run's test estimates, to which the limit is added,"
        " cannot be drawn",
    )

    def __post_init__(self) -> None:
        if (self.dataset is None) == (self.run is None):
            raise QexpError("name a dataset, or a run by `run=NAME`; not both")
        if self.run is not None and (self.part, self.seed, self.samples) != (None, None, None):
            raise QexpError(
                "`part`, `seed` and `samples` do not go with `run`: the limit is that of the run's"
                " own test samples"
            )
        if self.samples is not None and not 2 <= self.samples <= MOST_SAMPLES:
            raise QexpError(
                f"`samples={self.samples}`: from two, from whose errors standard errors can be"
                f" computed, to {MOST_SAMPLES:,}"
            )
        require_seed(self.seed or 0)


# Samples that are simulated once.


@dataclass(frozen=True)
class SimulateOptions(InWorkspace, Displaying):
    """Options of `qexp data simulate`."""

    dataset: str = argument(
        ..., "Name or path of the spec of a simulated dataset.", complete="datasets"
    )
    count: int = option(..., "Number of simulations.", "N")
    _: KW_ONLY
    seed: int = option(
        0, "Random seed, of the parameters and of a simulator that is random itself."
    )
    name: str | None = option(
        None, "Name of the new dataset and of its file; DATASET_simulated if left out."
    )
    jobs: int = option(
        1, "Number of processes, or on a cluster of jobs, that share the work.", "-j --jobs N"
    )
    watch: Watch = python_only(
        unwatched,
        "Receives how many simulations there are, in words, and their share of all; a bar if"
        " left out",
    )
    tell: Report = python_only(ignore, "Receives a line if the simulations are there already")
    warn: Report = python_only(
        as_warning, "Receives doubts about the dataset, and how many simulations failed"
    )


@dataclass(frozen=True)
class SubmitSimulationsOptions(SimulateOptions, LaunchOptions):
    """Options of `qexp data simulate` on a cluster."""


# Figures, and a look at data.


@dataclass(frozen=True)
class DrawingOptions:
    """How figures are written."""

    _: KW_ONLY
    formats: Sequence[str] = figure_formats()
    style: str | Path | None = option(
        None, "A matplotlib style file: fonts, sizes, lines.", "FILE.mplstyle"
    )
    width: str | None = print_width()

    @property
    def drawn_with(self) -> tuple[Path | None, str | None]:
        """`style` as a path, and the width, as `use_style` takes them."""
        return None if self.style is None else Path(self.style), self.width


@dataclass(frozen=True)
class FiguresOptions(DrawingOptions):
    """Options of `qexp figures`."""

    _: KW_ONLY
    only: Collection[str] = option(
        (),
        "Draw only the figure with this name; of files of draws the sample, the first one if left"
        " out.",
        "NAME ...",
        complete="figures",
    )
    evaluation: str | None = option(
        None,
        "Use the evaluation of this name instead of the runs' own results.",
        "NAME",
        complete="evaluations",
    )
    to: str | Path | None = option(
        None,
        "Folder for the pictures, with one for each run; in the run if left out, in place of"
        " earlier ones.",
        "DIR",
    )
    warn: Report = python_only(as_warning, "Receives why a figure is left out")


@dataclass(frozen=True)
class SampleOptions(InWorkspace):
    """Samples of a dataset."""

    dataset: str | None = argument(
        None,
        "Name or path of a dataset spec; may be left out with `experience`.",
        "[DATASET]",
        complete="datasets",
    )
    part: str | None = option(
        None,
        "Part to show: train, validation, test, all, or a fold; train if left out, or all of"
        " undivided data.",
        "NAME",
    )
    count: int = option(9, "Number of samples.", "N")
    seed: int = option(0, "Random seed: of a run whose split is shown, and of the samples.")
    _: KW_ONLY
    experience: str | None = option(
        None,
        "Show the parts into which this experience divides its dataset.",
        "NAME",
        complete="experiences",
    )


@dataclass(frozen=True)
class ImageOptions(InWorkspace):
    """Images of a simulated dataset at chosen values."""

    dataset: str = argument(..., "Name or path of a dataset spec.")
    at: Mapping[str, float] = option(
        {},
        "Draw the image of a simulated source with these values, without noise.",
        "VARIABLE=VALUE,... ...",
        example='{"depth": 2}',
        read=lambda name, texts: read_values(
            name, [text for several in texts for text in several.split(",")]
        ),
    )
    over: Mapping[str, tuple[float, float, int]] = option(
        {},
        "Draw a grid of images over this variable.",
        "VARIABLE=LOW:HIGH:CELLS",
        also="Repeat for a second one.",
        example='{"depth": (1, 4, 3)}',
        read=read_axes,
    )
    _: KW_ONLY
    noise: bool = option(False, "With `at`, `over`: add the dataset's noise.")
    seed: int = option(0, "Random seed of the noise.")


@dataclass(frozen=True)
class PictureOptions(DrawingOptions):
    """Where figures of data are written."""

    _: KW_ONLY
    out: str | Path | None = option(
        None, "Folder of the figures; figures/DATASET in the workspace if left out.", "FOLDER"
    )


@dataclass(frozen=True)
class ShowOptions(SampleOptions, PictureOptions):
    """Options of `qexp data show`."""


@dataclass(frozen=True)
class ShowImagesOptions(ImageOptions, PictureOptions):
    """Options of `qexp data show` with chosen values."""
