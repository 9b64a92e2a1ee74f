"""What a run estimates: outputs with their limits, columns and metrics, and estimates of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar

from qexp.base.quantities import nearest, number_with_unit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor


@dataclass(frozen=True)
class Limits:
    """Lowest and highest value of an output's estimates, in its unit; None: no limit there."""

    low: float | None = None
    high: float | None = None

    def __call__(self, values: Tensor) -> Tensor:
        """The values, those beyond a limit moved to it; NaN stays NaN."""
        return values if self == NO_LIMITS else values.clamp(self.low, self.high)

    def __str__(self) -> str:
        """`0 to 100`, `at least 0`, `at most 100`; empty without limits."""
        if self.low is None:
            return "" if self.high is None else f"at most {self.high:g}"
        return f"at least {self.low:g}" if self.high is None else f"{self.low:g} to {self.high:g}"

    def reached(self, estimates: NDArray[np.floating]) -> int:
        """The number of estimates (of single precision) at a limit: all that were moved to it."""
        import numpy as np  # `qexp show` does not need it

        count = 0
        if self.low is not None:
            count += int((estimates <= float(np.float32(self.low))).sum())
        if self.high is not None:
            count += int((estimates >= float(np.float32(self.high))).sum())
        return count


NO_LIMITS = Limits()


def limits_of(spec: Mapping[str, Any]) -> dict[str, Limits]:
    """Output → its limits, by a resolved experience; outputs without limits are left out."""
    return {name: Limits(*ends) for name, ends in spec.get("limits", {}).items()}


@dataclass(frozen=True)
class TrainedRange:
    """Where the training data of an output lie, in its unit.

    period  after which its values repeat; None if they do not
    """

    low: float
    high: float
    period: float | None = None

    def moved(self, values: Any) -> NDArray[Any]:
        """Values; those that repeat are moved to within half a period of the range's middle."""
        return nearest(values, (self.low + self.high) / 2, self.period)

    def beyond(self, values: Any) -> NDArray[np.bool_]:
        """Whether values lie beyond the range; NaN does not."""
        import numpy as np

        moved = self.moved(values)
        return np.asarray((moved < self.low) | (moved > self.high))


@dataclass(frozen=True)
class Estimated:
    """What one or several networks estimate of an output, in its unit: arrays or tensors.

    middle     (sample, ...): the mean over the networks, or the median of a posterior
    spread     (sample, ...): standard deviation over the networks; None if it is not wanted
    own_spread (sample,): standard deviation within the posteriors of several networks, if known
    quantiles  probability → (sample, ...): of a posterior head
    ends       lower and upper end of an interval, (sample,) each; of classes which belong to a set,
               (sample, class) alone; None without intervals
    folds      what the networks of each fold estimate, if that is wanted
    """

    middle: Any
    spread: Any = None
    own_spread: Any = None
    quantiles: Mapping[float, Any] = field(default_factory=dict)
    ends: tuple[Any, ...] | None = None
    folds: tuple[Estimated, ...] = ()

    def each(self, change: Callable[[Any], Any]) -> Estimated:
        """The estimates with a change made to every array."""
        return joined([self], lambda arrays: change(arrays[0]))


def joined(parts: Sequence[Estimated], join: Callable[[list[Any]], Any]) -> Estimated:
    """One of several parts: every array is made from theirs, for example by `torch.cat`."""
    first = parts[0]
    quantiles = {}
    ends = spread = own_spread = None
    for probability in first.quantiles:
        quantiles[probability] = join([part.quantiles[probability] for part in parts])
    if first.ends is not None:
        ends = tuple(map(join, map(list, zip(*(part.ends or () for part in parts), strict=True))))
    if first.spread is not None:
        spread = join([part.spread for part in parts])
    if first.own_spread is not None:
        own_spread = join([part.own_spread for part in parts])
    folds = zip(*(part.folds for part in parts), strict=True)
    return Estimated(
        middle=join([part.middle for part in parts]),
        spread=spread,
        own_spread=own_spread,
        quantiles=quantiles,
        ends=ends,
        folds=tuple(joined(fold, join) for fold in folds),
    )


Column = tuple[Any, dict[str, Any]]
"""Values, (sample,), or of quantiles probability → (sample,); and attributes."""


@dataclass(frozen=True)
class Words:
    """What the columns of an output say that they hold; besides the estimate, a table has those
    with a text.
    """

    estimate: str
    truth: str = ""
    ends: tuple[str, str] = ("", "")
    sets: str = ""
    spread: str = ""
    own_spread: str = ""
    quantiles: str = ""


def with_intervals(words: Words, interval: str) -> Words:
    """The words of columns beside which are the ends of an interval, and of classes a set."""
    ends = f"lower end of {interval}", f"upper end of {interval}"
    return replace(words, ends=ends, sets=f"set of classes: {interval}")


@dataclass(frozen=True)
class About:
    """What a column of a table of estimates says of its values, and their type."""

    type: str
    unit: str
    description: str
    limits: str = ""


@dataclass(frozen=True)
class Output(ABC):
    """What a run estimates."""

    name: str
    unit: str = ""

    main: ClassVar[str]
    """The metric that shows an output at a glance: every run reports it."""
    always: ClassVar[tuple[str, ...]]
    """Metrics that are reported of every output."""
    figure: ClassVar[str]
    """Which figure shows its estimates against true values, such as "scatter"."""
    scored: ClassVar[bool] = False
    """Whether a posterior head learns normal scores of its prior where no transform is given."""

    @property
    def limited(self) -> str:
        """The limits of its estimates in words; empty without any."""
        return ""

    @property
    def ranged(self) -> bool:
        """Whether it is known which estimates lie beyond what it was trained on."""
        return False

    def reached(self, estimates: NDArray[np.floating]) -> int:
        """The number of estimates at a limit."""
        return 0

    def beyond(self, estimates: Any) -> NDArray[np.bool_]:
        """Whether estimates lie beyond what it was trained on; none does where that is unknown."""
        import numpy as np

        return np.zeros(np.shape(estimates), dtype=bool)

    def written(self, values: Any) -> Any:
        """True values, or estimates, as files hold them."""
        return values

    @abstractmethod
    def columns(self, truth: Any, estimated: Estimated, words: Words) -> dict[str, Column]:
        """The columns of a file with true values and estimates, (sample,) each."""

    @abstractmethod
    def described(self, name: str, words: Words) -> dict[str, About]:
        """The columns of a table with estimates, in order, which are in the column `name`."""

    @abstractmethod
    def cells(self, name: str, estimated: Estimated) -> dict[str, Any]:
        """The values of these columns."""

    @abstractmethod
    def averaged(self, columns: Collection[str]) -> dict[str, float | None]:
        """Which columns of a table with estimates of one fold each are averaged over folds → the
        period after which their values repeat, if they do.
        """

    @abstractmethod
    def read(self, columns: Mapping[Any, Any]) -> Estimated:
        """What `cells` made of estimates in the column `<output>_estimate`."""


@dataclass(frozen=True)
class Number(Output):
    """A number, or an array of numbers.

    period   after which its values repeat, as those of a strike do; None if they do not
    trained  where its training data lie; None if that is unknown
    """

    limits: Limits = NO_LIMITS
    period: float | None = None
    trained: TrainedRange | None = None

    main = "mae"
    always = ("mae", "rmse", "bias", "r2", "mre")
    figure = "scatter"
    scored = True

    @property
    def limited(self) -> str:
        return str(self.limits)

    @property
    def ranged(self) -> bool:
        return self.trained is not None

    def reached(self, estimates: NDArray[np.floating]) -> int:
        return self.limits.reached(estimates)

    def beyond(self, estimates: Any) -> NDArray[np.bool_]:
        return super().beyond(estimates) if self.trained is None else self.trained.beyond(estimates)

    def columns(self, truth: Any, estimated: Estimated, words: Words) -> dict[str, Column]:
        columns: dict[str, Column] = {
            self.name: (truth, self._attributes(words.truth)),
            estimate_of(self.name): (estimated.middle, self._attributes(words.estimate)),
        }
        about = columns[estimate_of(self.name)][1]
        if self.limited:
            about |= {"limits": self.limited, "at_limits": self.reached(estimated.middle)}
        if self.period is not None:
            about[PERIOD] = self.period
        if estimated.spread is not None:
            columns[spread_of(self.name)] = estimated.spread, self._attributes(words.spread)
        if estimated.quantiles:
            about = self._attributes(words.quantiles)
            columns[quantile_of(self.name)] = estimated.quantiles, about
        return columns

    def described(self, name: str, words: Words) -> dict[str, About]:
        low, high = words.ends
        texts = {
            low_of(self.name): low,
            high_of(self.name): high,
            spread_of(self.name): words.spread,
            within_of(self.name): words.own_spread,
        }
        columns = {name: About("float32", self.unit, words.estimate, self.limited)}
        for column, text in texts.items():
            if text:
                columns[column] = About("float32", self.unit, text)
        return columns

    def cells(self, name: str, estimated: Estimated) -> dict[str, Any]:
        columns = {name: estimated.middle}
        if estimated.ends is not None:
            columns[low_of(self.name)], columns[high_of(self.name)] = estimated.ends
        if estimated.spread is not None:
            columns[spread_of(self.name)] = estimated.spread
        if estimated.own_spread is not None:
            columns[within_of(self.name)] = estimated.own_spread
        for probability, values in estimated.quantiles.items():
            columns[column_of_quantile(self.name, probability)] = values
        return columns

    def averaged(self, columns: Collection[str]) -> dict[str, float | None]:
        names = [spread_of(self.name), *self._quantiles(columns).values()]
        others = [name for name in names if name in columns]
        return {estimate_of(self.name): self.period, **dict.fromkeys(others)}

    def read(self, columns: Mapping[Any, Any]) -> Estimated:
        quantiles = {each: columns[name] for each, name in self._quantiles(columns).items()}
        middle = columns[estimate_of(self.name)]
        return Estimated(middle, columns.get(spread_of(self.name)), quantiles=quantiles)

    def _quantiles(self, columns: Collection[Any]) -> dict[float, str]:
        """Probability → its column, of those that are there."""
        names = {each: column_of_quantile(self.name, each) for each in HELD_OUT_QUANTILES}
        return {each: name for each, name in names.items() if name in columns}

    def _attributes(self, words: str) -> dict[str, Any]:
        return {"units": self.unit, "long_name": words}


@dataclass(frozen=True)
class Classes(Output):
    """One of several classes. True values are codes: 0, 1, … in the order of the names; NaN where
    the class is unknown. What is estimated are probabilities, (sample, class).
    """

    names: tuple[str, ...] = ()

    main = "accuracy"
    always = ("accuracy", "balanced_accuracy", "log_score", "brier", "calibration_error", "auc")
    figure = "confusion"

    def written(self, values: Any) -> Any:
        """The names of codes, (sample,); empty where the class is unknown."""
        import numpy as np

        codes = np.asarray(values, dtype=np.float64)
        names = np.array([*self.names, ""], dtype=object)
        return names[np.nan_to_num(codes, nan=len(self.names)).astype(np.int64)]

    def codes(self, texts: Any) -> NDArray[np.float64]:
        """The codes of names, (sample,); NaN where a name is missing or none of the classes.

        A whole number stands for itself, however a file writes it: 2 and 2.0 are one name.
        """
        import numpy as np

        numbers = {plain(name): float(code) for code, name in enumerate(self.names)}
        known, position = np.unique(np.asarray(texts, dtype=np.str_), return_inverse=True)
        codes = [numbers.get(plain(text), np.nan) for text in known.tolist()]
        return np.array(codes, dtype=np.float64)[position.reshape(-1)]

    def likeliest(self, probabilities: Any) -> Any:
        """The name of the likeliest class of each sample, (sample,); empty without an estimate."""
        import numpy as np

        known = ~np.isnan(probabilities).any(axis=1)
        return self.written(np.where(known, np.argmax(probabilities, axis=1), np.nan))

    def listed(self, members: Any) -> Any:
        """The names of sets, (sample,), from which classes belong to them, (sample, class); none
        where that is NaN.
        """
        import numpy as np

        sets = (np.flatnonzero(row) for row in np.asarray(members) > 0)
        return np.array([" | ".join(self.names[code] for code in codes) for codes in sets], object)

    def columns(self, truth: Any, estimated: Estimated, words: Words) -> dict[str, Column]:
        about = {"classes": ", ".join(self.names)}
        columns: dict[str, Column] = {}
        for name, description in self.described(estimate_of(self.name), words).items():
            columns[name] = None, {"long_name": description.description}
        for name, values in self.cells(estimate_of(self.name), estimated).items():
            columns[name] = values, columns[name][1]
        return {self.name: (self.written(truth), {"long_name": words.truth, **about}), **columns}

    def described(self, name: str, words: Words) -> dict[str, About]:
        columns = {name: About("string", "", f"{words.estimate}: the likeliest class")}
        for each in self.names:
            text = f"{words.estimate}: probability of {each}"
            columns[probability_of(self.name, each)] = About("float32", "", text)
        if words.sets:
            columns[set_of(self.name)] = About("string", "", words.sets)
        return columns

    def cells(self, name: str, estimated: Estimated) -> dict[str, Any]:
        columns = {name: self.likeliest(estimated.middle)}
        for code, each in enumerate(self.names):
            columns[probability_of(self.name, each)] = estimated.middle[:, code]
        if estimated.ends is not None:
            columns[set_of(self.name)] = self.listed(*estimated.ends)
        return columns

    def averaged(self, columns: Collection[str]) -> dict[str, float | None]:
        return {probability_of(self.name, each): None for each in self.names}

    def read(self, columns: Mapping[Any, Any]) -> Estimated:
        import numpy as np

        of_classes = [columns[probability_of(self.name, each)] for each in self.names]
        return Estimated(np.stack(of_classes, axis=1))


def plain(name: str) -> str:
    """A name without outer spaces, a whole number without `.0`."""
    stripped = name.strip()
    return stripped.removesuffix(".0") if stripped[:-2].lstrip("-").isdigit() else stripped


OUTPUTS: tuple[type[Output], ...] = (Number, Classes)
"""All that runs may estimate."""

REPORTED = frozenset(chain.from_iterable(output.always for output in OUTPUTS))
"""Metrics that are reported whether or not an experience asks for them."""


MAIN_METRICS = tuple(output.main for output in OUTPUTS)
"""By which listings, curves and comparisons show outputs at a glance."""


def main_metric(metrics: Iterable[str]) -> str | None:
    """The metric of an output that is shown at a glance: its main one, or the first of others."""
    names = list(metrics)
    return next((main for main in MAIN_METRICS if main in names), next(iter(names), None))


def output_in(spec: Mapping[str, Any], name: str) -> Output:
    """What an output of an experience is, without what its data tell: here alone it is decided."""
    classes = spec.get("dataset", {}).get("classes", {}).get(name)
    return Number(name) if classes is None else Classes(name, names=tuple(classes))


def declared_classes(dataset: Mapping[str, Any], outputs: Iterable[str]) -> dict[str, Classes]:
    """Output → its classes, of those outputs that a dataset declares as such."""
    declared = dataset.get("classes", {})
    return {
        name: Classes(name, names=tuple(declared[name])) for name in outputs if name in declared
    }


def classes_of(spec: Mapping[str, Any]) -> dict[str, Classes]:
    """Output → its classes, of the outputs of an experience that are classes."""
    outputs = spec.get("outputs", ())  # without any, as of a program, a dataset is but a name
    return declared_classes(spec.get("dataset", {}), outputs) if outputs else {}


def numbers_in(outputs: Mapping[str, Output]) -> dict[str, Number]:
    """The outputs that are numbers."""
    return {name: output for name, output in outputs.items() if isinstance(output, Number)}


def classes_in(outputs: Mapping[str, Output]) -> dict[str, Classes]:
    """The outputs that are classes."""
    return {name: output for name, output in outputs.items() if isinstance(output, Classes)}


def periods_in(outputs: Mapping[str, Output]) -> dict[str, float]:
    """Output → the period after which its values repeat, where they do."""
    numbers = numbers_in(outputs).items()
    return {name: number.period for name, number in numbers if number.period is not None}


def at_limits(output: str, limits: object, unit: str, count: int, total: int) -> str:
    """`3 of 300 estimates of toc are at its limits, 0 to 100 %`."""
    estimates = f"{count:,} of {total:,} estimates of {output}"
    return f"{estimates} are at its limits, {number_with_unit(str(limits), unit)}"


# Names of the variables that hold estimates of an output, beside the output's own, which holds its
# true values.

ESTIMATE = "_estimate"

SPREAD = "_spread"
"""Standard deviation over the networks of an ensemble."""

QUANTILES = (0.05, 0.16, 0.5, 0.84, 0.95)
"""Probabilities of the kept quantiles: the median, and the intervals of 68 and 90 %."""

HELD_OUT_QUANTILES = (0.025, 0.05, 0.16, 0.25, 0.5, 0.75, 0.84, 0.95, 0.975)
"""Those of held-out rows and spectra: the ends of all intervals whose coverage is counted."""

PERIOD = "period"
"""Attribute of estimates of a quantity that repeats, such as a strike: its period, in its unit."""


def estimate_of(output: str) -> str:
    return f"{output}{ESTIMATE}"


def spread_of(output: str) -> str:
    return f"{output}{SPREAD}"


def within_of(output: str) -> str:
    """The standard deviation within the posteriors of an ensemble's networks."""
    return f"{output}_within"


def low_of(output: str) -> str:
    """The lower end of the interval of an estimate."""
    return f"{output}_low"


def high_of(output: str) -> str:
    return f"{output}_high"


def correlation_of(first: str, second: str) -> str:
    return f"{first}_{second}_correlation"


def quantile_of(output: str) -> str:
    """Quantiles of the posterior, by the coordinate `quantile`."""
    return f"{output}_quantile"


def column_of_quantile(output: str, probability: float) -> str:
    """The column of a table that holds it."""
    return f"{quantile_of(output)}_{probability:g}"


def probability_of(output: str, name: str) -> str:
    """The column with the probability of a class."""
    return f"{output}_probability_{name}"


def set_of(output: str) -> str:
    """The column with the classes that a sample may be of."""
    return f"{output}_set"


def saliency_of(output: str) -> str:
    """The mean over test samples of input times gradient."""
    return f"{output}_saliency"


def saliency_magnitude_of(output: str) -> str:
    """Likewise of its absolute value."""
    return f"{saliency_of(output)}_magnitude"


def outputs_among(names: Iterable[Hashable]) -> list[str]:
    """The outputs whose estimates are among the variables of these names."""
    return [str(name).removesuffix(ESTIMATE) for name in names if str(name).endswith(ESTIMATE)]
