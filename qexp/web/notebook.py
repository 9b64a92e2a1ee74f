"""What functions return, showing itself: matrices, estimates, studies, evaluations, data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray
from numpy.typing import NDArray

from qexp.base import formats
from qexp.base.files import in_bytes
from qexp.base.outputs import estimate_of, outputs_among
from qexp.base.quantities import in_words
from qexp.base.text import Table
from qexp.comparison.study import VALUES, Study
from qexp.errors import QexpError
from qexp.export.network import Exported
from qexp.kinds.layouts import NetworkLayout
from qexp.kinds.matrix_figures import absolute_errors, matrix_of
from qexp.kinds.prediction import Prediction
from qexp.metrics.meaning import number
from qexp.results.errors import independence_in_words
from qexp.runs.evaluate import Evaluation
from qexp.runs.look import Look
from qexp.store.directory import MATRIX, MATRIX_RECORD
from qexp.tuning.results import Tuned
from qexp.web.html import Piece, Shown, Titled, View, drawn, html, picture, pictures
from qexp.web.run_page import drawings_of_all

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure


class Matrix(xarray.Dataset):  # type: ignore[no-untyped-call]
    """The estimates of a network over a grid of true values, the content of `matrix.nc`. Notebooks
    show its picture.

    They show a part of a matrix as any other dataset.
    """

    __slots__ = ()

    @property
    def folder(self) -> Path:
        """The folder of `matrix.nc`, with its record and its picture."""
        return Path(self.encoding["source"]).parent

    def _repr_html_(self) -> str:
        whole = False
        with suppress(KeyError, OSError):
            axes = formats.read_json(self.folder / MATRIX_RECORD)["axes"]
            whole = all(self.sizes.get(name) == ends[2] for name, ends in axes.items())
        return (html(self.view()) if whole else "") + super()._repr_html_()

    def view(self) -> View:
        """The picture and the errors of a whole matrix."""
        record = formats.read_json(self.folder / MATRIX_RECORD)
        outputs = outputs_among(self.data_vars)
        cells = " x ".join(f"{in_words(axis)} {self.sizes[axis]}" for axis in record["axes"])
        file = (self.folder / MATRIX).with_suffix(".png")
        title = "estimates and errors"
        image = drawn(title, lambda: matrix_of(self.folder))
        if file.is_file():
            image = picture(title, file)
        means_of = ["mean |error|", "median |error|"]
        of_one = record.get("mean_absolute_error_of_one", {})
        if "runs" in record:
            noise = ", over the noise too" if record.get("repeats", 1) > 1 else ""
            means_of = [f"{words} of the mean of their estimates{noise}" for words in means_of]
            if of_one:
                means_of = ["mean |error| of one network (mean over seeds)", *means_of]
        columns = ["output", *means_of, "unit"]
        rows = []
        for output in outputs:
            errors = absolute_errors(self, output)
            finite = errors[np.isfinite(errors)]
            means = _in_words(finite, np.mean, np.median)
            if output in of_one:
                means = [number(of_one[output]), *means]
            unit = str(self[estimate_of(output)].attrs.get("units", ""))
            rows.append([in_words(output), *means, unit])
        table = Table("", columns, rows, frozenset(columns[1:-1]))
        caution = str(self.attrs.get("caution", ""))
        words = f"Matrix of {record['run']} on {record['dataset']}: {cells} cells"
        return View(words, cautions=[caution], parts=[image, table])


def matrix_at(folder: Path) -> Matrix:
    """The matrix in a folder of a run."""
    table = formats.read_netcdf(folder / MATRIX)
    matrix = Matrix(table.data_vars, table.coords, table.attrs)
    matrix.encoding = table.encoding
    return matrix


UNLIKE = 0.05
"""Share of predictions as far from the others as the observation that make it unlike them."""


class Posterior(xarray.Dataset):  # type: ignore[no-untyped-call]
    """Draws from the posterior of parameters given observations: parameter → (chain, draw), of
    several observations (chain, draw, sample).
    """

    __slots__ = ()

    def summary(self, level: float = 0.9) -> pandas.DataFrame:
        """Mean, standard deviation, median and central interval of each parameter, in its unit; a
        row for each parameter, or for each parameter and sample.

        level  share of the draws in the interval
        Raises QexpError for a level that is no share.
        """
        import pandas

        if not 0 < level < 1:
            raise QexpError(f"`level={level}`: a share of the draws, between 0 and 1")
        ends = {
            f"{50 * (1 - level):g} %": (1 - level) / 2,
            "median": 0.5,
            f"{50 * (1 + level):g} %": (1 + level) / 2,
        }
        rows = {}
        units = any(values.attrs.get("units") for values in self.values())
        for name, values in self.stacked().items():
            for sample, draws in enumerate(values.T) if values.ndim > 1 else [(None, values)]:
                numbers = {"mean": np.mean(draws), "sd": np.std(draws, ddof=1)}
                numbers |= dict(zip(ends, np.quantile(draws, [*ends.values()]), strict=True))
                unit = {"unit": self[name].attrs.get("units", "")} if units else {}
                rows[name if sample is None else (name, sample)] = {**unit, **numbers}
        return pandas.DataFrame.from_dict(rows, orient="index")

    def stacked(self, sample: int | None = None) -> dict[str, NDArray[np.float64]]:
        """Parameter → (draw,) over all chains, or (draw, sample); of one sample by number."""
        one = self if sample is None or "sample" not in self.dims else self.isel(sample=sample)
        stacked = {}
        for name, draws in one.items():
            values = np.asarray(draws.transpose("chain", "draw", ...).values, float)
            stacked[str(name)] = values.reshape(-1, *draws.shape[2:])
        return stacked

    def corner(self, sample: int = 0, truth: Mapping[str, float] | None = None) -> Figure:
        """The draws of each parameter, and of each two of them, of one sample.

        truth  parameter → its true value, which is marked
        """
        from qexp.figures.distributions import Drawn, corner

        truth = truth or {}
        draws = self.stacked(sample)
        parameters = [
            Drawn(name, self[name].attrs.get("units", ""), {"": values}, truth.get(name))
            for name, values in draws.items()
        ]
        count = len(next(iter(draws.values())))
        return corner(parameters, f"Posterior: {count:,} draws", "true value")

    def check(
        self,
        simulator: Callable[[Any], Any],
        observed: Any,
        *,
        sample: int = 0,
        draws: int = 200,
        level: float = 0.9,
    ) -> xarray.Dataset:
        """Compare an observation with what sources drawn from its posterior would show (Rubin 1984,
        Ann. Statist. 12, 1151-1172).

        simulator  as for `qexp.posterior`, of these parameters in their order
        observed   what was observed, in the shape that the simulator returns
        draws      how many are simulated
        level      share of predictions between `low` and `high`
        returns    `predicted` (draw, value), `observed`, `low`, `median` and `high` (value), and
                   attributes: `inside` (share of observed values between the ends), `p_value`
                   (share of predictions at least as far from the mean of all as the observation, in
                   standard deviations of each value) and `verdict`. The p-value is rather too high
                   than too low: the posterior has seen the observation.
        Raises QexpError for a simulator that fails or shows something of another shape.
        """
        from qexp.spec.kinds import stage_anywhere

        every = np.stack([*self.stacked(sample).values()], axis=1)
        chosen = every[np.linspace(0, len(every) - 1, min(draws, len(every))).round().astype(int)]
        predicted_of = stage_anywhere("arrays").predicted_of
        predicted = predicted_of(simulator, chosen)
        seen = np.asarray(observed, float).ravel()
        if predicted.shape[1] != seen.size:
            raise QexpError(
                f"`observed` has {seen.size:,} values, and the simulator shows"
                f" {predicted.shape[1]:,}; give what one `sample` shows"
            )
        low, median, high = np.quantile(predicted, [(1 - level) / 2, 0.5, (1 + level) / 2], axis=0)
        there = np.isfinite(seen)
        spread = predicted.std(axis=0)
        used = there & (spread > 0)
        centre = predicted.mean(axis=0)[used]
        scale = spread[used]
        far = np.square((predicted[:, used] - centre) / scale).mean(axis=-1)
        seen_far = np.square((seen[used] - centre) / scale).mean()
        p_value = float((1 + (far >= seen_far).sum()) / (1 + len(far)))
        like = "like" if p_value > UNLIKE else "unlike"
        about = {
            "inside": float(((seen >= low) & (seen <= high))[there].mean()),
            "p_value": p_value,
            "verdict": f"the observation is {like} what its posterior predicts",
        }
        values = {"observed": seen, "low": low, "median": median, "high": high}
        variables = {name: ("value", numbers) for name, numbers in values.items()}
        predictions = {"predicted": (("draw", "value"), predicted)}
        return xarray.Dataset(predictions | variables, attrs=about)


def _in_words(values: NDArray[Any], *summaries: Callable[[Any], Any]) -> list[str]:
    """Numbers that sum up some values, each `none` if there are none."""
    return [number(float(each(values))) if values.size else "none" for each in summaries]


class Estimates(Shown, dict[str, NDArray[np.float32]]):
    """Output → its estimates, (sample,) or whole spectra and fields, in the output's unit."""

    def __init__(
        self, estimates: Mapping[str, NDArray[np.float32]], units: Mapping[str, str]
    ) -> None:
        super().__init__(estimates)
        self.units = dict(units)

    def view(self) -> View:
        columns = ["output", "shape", "min", "median", "max", "without an estimate", "unit"]
        rows = []
        for name, values in self.items():
            array = np.asarray(values, dtype=np.float64)
            finite = array[np.isfinite(array)]
            shape = " x ".join(f"{size:,}" for size in array.shape) or "one"
            ends = _in_words(finite, np.min, np.median, np.max)
            missing = array.size - finite.size
            rows.append([name, shape, *ends, f"{missing:,}", self.units.get(name, "")])
        return View("Estimates", parts=[Table("", columns, rows, frozenset(columns[2:6]))])


class Predictions(Shown, list[Prediction]):
    """The predictions of files, one for each."""

    def view(self) -> View:
        rows = []
        for prediction in self:
            texts = ["; ".join(words) for words in (prediction.remarks, prediction.warnings)]
            made = "made" if prediction.made else "was there"
            rows.append([str(prediction.target), made, *texts])
        title = f"{len(self)} file{'s' * (len(self) != 1)} estimated"
        return View(title, parts=[Table("", ["file", "", "what was estimated", "warnings"], rows)])


class ShownStudy(Titled, Study):
    """The results of a study."""

    def to_pandas(self) -> pandas.DataFrame:
        """The means with intervals, and the paired differences: what `table.csv` holds."""
        import pandas

        return pandas.read_csv(self.folder / VALUES)

    def __repr__(self) -> str:
        return f"<study of {self.output} {self.metric} over {', '.join(self.axes)}>"

    def view(self) -> View:
        unfinished = [
            f"{name} is {state.words}, and is not counted"
            for name, state in self.unfinished.items()
        ]
        title = f"Study of {in_words(self.output)} {self.metric} over {', '.join(self.axes)}"
        title += f"; {self.fixed_in_words}" if self.fixed else ""
        differences = self.differences()
        more = {"differences between experiences, two by two": differences} if differences else {}
        parts: list[Piece] = [*pictures(self.files), self.results(), *self.remarks()]
        return View(title, cautions=unfinished, parts=parts, more=more)


class ShownTuned(Titled, Tuned):
    """What a search has found, with the table of the best trials and its figure."""

    __repr__ = Tuned.__repr__

    def view(self) -> View:
        parts: list[Piece] = [*pictures(self.files), self.results(), *self.remarks()]
        return View(f"Search of {self.experience}", parts=parts)


class ShownEvaluation(Titled, Evaluation):
    """An evaluation of a run, with the tables and figures that are kept of it."""

    def view(self) -> View:
        record = self.record
        results = self.results
        doubts = [*record.warnings]
        if not record.independent:
            doubts.append(independence_in_words(record))
        sentences = [part for part in results.tables_of_page() if part not in doubts]
        title = f"Evaluation of {self.directory.whole.name}"
        parts = [*sentences, *drawings_of_all(results.results)]
        return View(title, cautions=[record.caution, *doubts], parts=parts)


class ShownExport(Titled, Exported):
    """A network for use without qexp: its files, its inputs and its outputs."""

    def view(self) -> View:
        sizes = [[name, in_bytes(size)] for name, size in self.files.items()]
        rows = []
        for kind in ("inputs", "outputs"):
            for one in self.about[kind]:
                shape = " x ".join(map(str, one["shape"]))
                rows.append([kind.removesuffix("s"), one["name"], shape, one["unit"]])
        tables = [
            Table("", ["file", "size"], sizes),
            Table("", ["", "name", "shape", "unit"], rows),
        ]
        return View(f"Network of {self.about['run']} in {self.folder}", parts=tables)


class ShownNetwork(Titled, NetworkLayout):
    """A network: its drawing, and the table of its operations."""

    def view(self) -> View:
        return View(self.in_words, parts=[drawn("", self.figure, self.in_words), self.table()])


class ShownLook(Titled, Look):
    """A part of a dataset: the table of its variables, and its pictures."""

    def view(self) -> View:
        parts: list[Piece] = [*pictures(self.figures), *self.tables(), *self.remarks]
        return View(f"{self.name}, {self.part}", cautions=[self.caution], parts=parts)
