"""What is to be run: experiences, seeds, a grid of changes, where, and from which pretraining."""

from __future__ import annotations

import itertools
import math
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

from qexp.base.options import (
    Displaying,
    InWorkspace,
    OnDevice,
    Report,
    Trusting,
    argument,
    default_of,
    ignore,
    option,
    part_of,
    print_width,
    python_only,
)
from qexp.base.shell_values import pairs, text_of
from qexp.errors import QexpError, shortened
from qexp.jobs.launchers import LaunchOptions
from qexp.spec.reading import is_json, parse_value

MOST_DIGITS = 30
"""Digits of a number that is read at all; a seed has at most 19, apart from zeros before them."""

LARGEST_COUNT = 1_000_000
"""Seeds of one command; a range of more is not written out as a list."""

GRID = (
    "write key.path=value,value, for example --grid learning_rate=1e-3,3e-3; a.b+c.d=1,2 gives two"
    " keys the same value, a.b,c.d=1:2,3:4 a value each"
)

LARGEST_RANGE = 10_000
"""Values of `lin:` and `log:`."""

RANGE = re.compile(
    r"([A-Za-z]\w*:)?[-+]?[\d.]+(e[-+]?\d+)?(:[-+]?[\d.]+(e[-+]?\d+)?)+", re.IGNORECASE
)
"""Numbers with colons between them, perhaps behind a word."""

DIGITS = 6
"""Significant digits of the values of `lin:` and `log:`."""


def read_seed(option: str, text: str) -> int:
    """`3` → 3, and `3.0`, as programs write it that count in floating point."""
    match = re.fullmatch(r"(\d+)(?:\.0*)?", text.strip())
    if match is None or len(match[1]) > MOST_DIGITS:
        several = (
            f"; for several: --seeds {text}" if re.fullmatch("[0-9]+([:,][0-9]+)+", text) else ""
        )
        raise QexpError(f"{option} {shortened(text)}: a seed is a whole number from 0 on{several}")
    return int(match[1])


def read_seeds(option: str, text: str) -> list[int]:
    """`0:10` → 0 to 9, `3` → 3, `0,2,5:8` → 0, 2, 5, 6, 7, `0:6:2` → 0, 2, 4."""
    where = f"{option} {shortened(text)}"
    ranges = [_range(part.strip(), where) for part in text.split(",")]
    count = sum(map(len, ranges))
    if count > LARGEST_COUNT:
        raise QexpError(f"{where}: {count:,} seeds are too many; the limit is {LARGEST_COUNT:,}")
    return list(itertools.chain(*ranges))


def _range(part: str, where: str) -> range:
    """where  the option as an error repeats it"""
    numbers = part.split(":")
    if len(numbers) > 3 or not all(number.isdecimal() for number in numbers):
        raise QexpError(
            f"{where}: write 0:10 for 0 to 9, 0:10:2 for every second of them, or a list such as"
            " 0,2,5"
        )
    if max(map(len, numbers)) > MOST_DIGITS:
        raise QexpError(f"{where}: a seed must be less than 2^63")
    low, high, step = (*map(int, numbers), *((int(numbers[0]) + 1, 1)[len(numbers) - 1 :]))
    if high <= low or step < 1:
        raise QexpError(
            f"{where}: the range {part} is empty; A:B goes from A to B - 1, so B must be larger"
            " than A"
        )
    if (high - low) // step > LARGEST_COUNT:
        raise QexpError(
            f"{where}: {(high - low) // step:,} seeds are too many; the limit is {LARGEST_COUNT:,}"
        )
    return range(low, high, step)


def read_overrides(option: str, texts: Sequence[str]) -> dict[str, Any]:
    """`["epochs=20"]` → `{"epochs": 20}`. Raises QexpError for a key that is given twice."""
    read: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        quoted = shortened(text)
        if not equals or not key or any(not step for step in key.split(".")):
            raise QexpError(
                f"{option} {quoted}: write key.path=value, for example {option} epochs=20"
            )
        if not text.isprintable():
            raise QexpError(f"{option} {quoted!r}: has characters that cannot be printed")
        if key in read:
            raise QexpError(
                f"{option} {shortened(key)} is given twice, but takes one value; keep one of them"
            )
        read[key] = _value(value, f"{option} {shortened(key)}")
    return read


def _value(text: str, name: str) -> Any:
    """JSON where it can be, else the text itself."""
    return parse_value(text, name) if is_json(text) else text


def read_grid(option: str, texts: Sequence[str]) -> dict[str, list[Any]]:
    """`["learning_rate=1e-3,3e-3"]` → `{"learning_rate": [0.001, 0.003]}`. Commas inside [], {} and
    "" stay.

    `a=log:1e-4:1e-2:3` stands for three values at equal ratios, `lin:` for equal steps. Keys with
    commas between them get a value each: `["a,b=1:2,3:4"]` → `{"a,b": [[1, 2], [3, 4]]}`.
    """
    read: dict[str, list[Any]] = {}
    for text in texts:
        key, equals, value_texts = text.partition("=")
        where = f"{option} {shortened(text)}"
        if not equals or not value_texts or not all(re.split("[+,]", key)):
            raise QexpError(f"{where}: {GRID}")
        values = list(_split(value_texts, ","))
        if not all(values):
            raise QexpError(f"{where}: a value is empty")
        if key in read:
            raise QexpError(
                f"{option} {key} is given twice; list all its values in one: {option} {key}=A,B"
            )
        name = f"{option} {shortened(key)}"
        read[key] = []
        for value in values:
            if "," in key:
                read[key].append([_value(part, name) for part in _split(value, ":")])
            else:
                read[key] += _spaced(value, where) or [_value(value, name)]
    return read


def _spaced(text: str, where: str) -> list[int | float] | None:
    """The values of `lin:LOW:HIGH:N` and `log:LOW:HIGH:N`, with both ends; None for another text.

    Raises QexpError for a range of another form, which would be a text.
    """
    spacing, colon, rest = text.partition(":")
    if spacing not in ("lin", "log") or not colon:
        if RANGE.fullmatch(text):
            raise QexpError(
                f"{where}: {text} is no range that is known; write lin:FIRST:LAST:N for N values at"
                " equal steps, log:FIRST:LAST:N at equal ratios, or a list, A,B; a text has"
                f" quotation marks: '\"{text}\"'"
            )
        return None
    try:
        first, last, count = rest.split(":")
        low = float(first)
        high = float(last)
        number = int(count)
        distinct = math.isfinite(low) and math.isfinite(high) and low != high
        sound = distinct and 2 <= number <= LARGEST_RANGE
        if not sound or (spacing == "log" and min(low, high) <= 0):
            raise ValueError
    except ValueError:
        numbers = "two positive numbers" if spacing == "log" else "two numbers"
        raise QexpError(
            f"{where}: write {spacing}:FIRST:LAST:N, {numbers} and how many values to take, 2 to"
            f" {LARGEST_RANGE:,}, for example {spacing}:1e-4:1e-2:5"
        ) from None
    import numpy  # takes a tenth of a second, which other texts need not wait for

    values = (numpy.geomspace if spacing == "log" else numpy.linspace)(low, high, number).tolist()
    rounded = [low, *(float(f"{value:.{DIGITS}g}") for value in values[1:-1]), high]
    if all(value.is_integer() for value in rounded):
        return [int(value) for value in rounded]
    return list(rounded)


def read_points(path: Path) -> dict[str, list[Any]]:
    """The grid of a file of points: JSON objects or `[[points]]` tables that set the same keys.

    `[{"a": 1, "b": 2}, {"a": 3, "b": 4}]` → `{"a,b": [[1, 2], [3, 4]]}`. Raises QexpError for a
    file of another form.
    """
    if path.suffix.lower() in (".yaml", ".yml"):
        raise QexpError(
            f'`points={path}`: YAML is not read; write JSON, such as [{{"learning_rate": 1e-3,'
            ' "batch_size": 16}], or a .toml file with tables named [[points]]'
        )
    try:
        text = path.read_text(encoding="utf-8")
        is_toml = path.suffix == ".toml"
        where = f"`points={path}`"
        points = tomllib.loads(text).get("points") if is_toml else parse_value(text, where)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise QexpError(f"`points={path}`: cannot be read: {reason}") from None
    form = (
        'a list of objects, as in [{"learning_rate": 1e-3, "batch_size": 16}], or [[points]] in a'
        " .toml file"
    )
    of_objects = isinstance(points, list) and all(isinstance(point, dict) for point in points)
    if not of_objects or not points or not all(points):
        raise QexpError(f"`points={path}`: must be {form}")
    keys = list(points[0])
    for number, point in enumerate(points, start=1):
        if point.keys() != set(keys):
            raise QexpError(
                f"`points={path}`: point {number} sets {', '.join(point)}, the first"
                f" {', '.join(keys)}"
            )
    if any(re.search("[+,]", key) for key in keys):
        raise QexpError(f"`points={path}`: a key holds '+' or ','; give each key its own value")
    if len(keys) == 1:
        return {keys[0]: [point[keys[0]] for point in points]}
    return {",".join(keys): [list(map(point.get, keys)) for point in points]}


def _split(text: str, separator: str) -> Iterator[str]:
    """The parts of a text between separators that are not inside [], {} and ""."""
    depth, quoted, part = 0, False, ""
    for character, previous in zip(text, " " + text, strict=False):
        quoted ^= character == '"' and previous != "\\"
        depth += 0 if quoted else (character in "[{") - (character in "]}")
        if character == separator and not depth and not quoted:
            yield part.strip()
            part = ""
        else:
            part += character
    yield part.strip()


USUAL_SEEDS = (0,)

STUDY_SEEDS = range(5)
"""Seeds of a study, whose intervals need several."""


@dataclass(frozen=True, kw_only=True)
class NewRuns:
    """What new runs have besides what they are made from."""

    overrides: Mapping[str, Any] = option(
        {},
        "Override a value of the spec, by its dotted key; a step `*` is any, where there is the rest.",
        "--set KEY.PATH=VALUE",
        also="For example epochs=20, or model.operations.*.parameters.l2=0.01; repeat for more.",
        example='{"epochs": 20}',
        read=read_overrides,
        complete="keys",
    )
    tags: Sequence[str] = option((), "Tag each new run.", "--tag TAG ...")
    note: str = option("", "Note of each new run.", "TEXT")


@dataclass(frozen=True, kw_only=True)
class StoredRuns(NewRuns):
    """New runs, perhaps on another disk."""

    storage_path: str | Path | None = option(
        None, "Folder for the run directories; runs/ gets links to them.", "DIR"
    )

    @property
    def storage(self) -> Path | None:
        """`storage_path` as a path."""
        return None if self.storage_path is None else Path(self.storage_path)


@dataclass(frozen=True, kw_only=True)
class Training(StoredRuns, Trusting, OnDevice):
    pretrain: str | None = option(
        None,
        "Start from the best weights of this run; {seed} in its name stands for the seed of each"
        " run, as in 'mogi_{seed}'. The experience says which operations take them.",
        "RUN",
        complete="runs",
    )
    allow_leak: bool = option(
        False, "Allow test spectra that were also used for training; every output is marked."
    )
    resume: bool = option(False, "Continue interrupted runs.")


@dataclass(frozen=True, kw_only=True)
class RunOptions(Training, InWorkspace, Displaying):
    """Options of `qexp.run`."""

    seed: int = option(0, "Random seed of the run.")
    name: str | None = option(
        None,
        "Name of a single run; if left out <experience>_<seed>, with a digest between them if"
        " `overrides` or `grid` change the spec, and a run that has the same spec and seed already"
        " is not trained again.",
    )


@dataclass(frozen=True)
class Order(Training, LaunchOptions):
    """Runs to be trained: each experience with each combination of grid values, and each seed."""

    panels: ClassVar = {
        "What is trained": "seed seeds overrides grid points pretrain allow_leak",
        "Names and notes": "name tags note storage_path",
        "Where": "device jobs stack launcher options profile detach",
        "Which of the runs": "resume only_failed dry_run yes",
    }

    experiences: str | Path | Sequence[str | Path] = argument(
        ..., "Names or paths of experience specs.", "EXPERIENCE...", complete="experiences"
    )
    seeds: Sequence[int] = option(
        USUAL_SEEDS,
        "Train one run per seed.",
        "A:B",
        also="0:10 for 0 to 9, or 0,2,5.",
        example="range(10)",
        read=read_seeds,
    )
    grid: Mapping[str, Sequence[Any]] = option(
        {},
        "Train one run per value of a dotted key, such as learning_rate; several keys give all"
        " combinations. Keys with + between them get the same value, keys with commas between them"
        " a value each.",
        "KEY.PATH=A,B",
        also="Write A,B or log:1e-4:1e-2:5 or lin:0:1:5, and a.b,c.d=1:2,3:4 for keys that change"
        " together; repeat for more.",
        example='{"learning_rate": [1e-3, 3e-3], "a,b": [(1, 3), (2, 4)]}',
        read=read_grid,
        complete="keys",
    )
    _: KW_ONLY
    only_failed: bool = option(
        False, "Repeat the runs that ended without a result, and start no others."
    )
    jobs: int | None = option(
        None,
        "Maximum number of runs at a time; if left out 1 on this machine, and no limit on a"
        " cluster.",
        "-j --jobs N",
    )

    stack: int | None = option(
        None,
        "Number of runs that one process trains side by side, of those that differ in seed or in"
        " numbers that change no shape; 1: each by itself. If left out as many as are faster so on"
        " this machine.",
        "N",
    )

    def __post_init__(self) -> None:
        if isinstance(self.seeds, str):
            raise QexpError(
                f"`seeds={self.seeds}`: give whole numbers, such as seeds=range(5) or seeds=[0, 2]"
            )
        if isinstance(self.seeds, int):
            some = (
                f"seeds=[{self.seeds}] for seed {self.seeds}, seeds=range({self.seeds}) for as many"
                " seeds"
            )
            raise QexpError(f"`seeds={self.seeds}`: give a list, {some}")
        for key in self.grid:
            if key in self.overrides:
                raise QexpError(
                    f"`overrides[{key}]`: `grid` has values of '{key}', too; keep one of them"
                )

    @property
    def references(self) -> list[str]:
        """The experiences as a list of strings. Raises QexpError for what cannot be one."""
        if not isinstance(self.experiences, str | Path | Iterable):
            raise QexpError(
                f"`experiences={self.experiences}`: give the name of an experience, or a list of"
                " several"
            )
        if isinstance(self.experiences, str | Path):
            return [str(self.experiences)]
        return [str(experience) for experience in self.experiences]


@dataclass(frozen=True, kw_only=True)
class Watched(InWorkspace, Displaying):
    """How the progress of a pool is shown."""

    watched: Callable[[], Any] | bool | None = python_only(
        None,
        "Makes the object that is shown the progress of a local pool; if left out, a table on a"
        " terminal and in a notebook; False: nothing",
    )


@dataclass(frozen=True)
class SweepOptions(Order, Watched):
    """Options of `qexp.sweep`: those of an order, or an order instead of the experiences."""

    experiences: str | Path | Sequence[str | Path] | Order = argument(  # type: ignore[assignment]  # wider
        ..., "Names or paths of experience specs, or an `Order`."
    )

    @property
    def order(self) -> Order:
        """What is ordered. Raises QexpError for an order with options besides."""
        whole = self.experiences
        if not isinstance(whole, Order):
            return Order(**part_of(self, Order))
        of_order = {field.name for field in fields(Order)} - {"experiences"}
        for one in fields(self):
            if one.name in of_order and getattr(self, one.name) != default_of(one):
                raise QexpError(
                    f"`{one.name}`: the Order has its own; name experiences instead of it, or"
                    " leave this out"
                )
        return whole


SAME = "same"
"""As the seed of pretraining: each run starts from one with its own seed."""


@dataclass(frozen=True)
class Pretraining:
    """An experience that is trained first, for other runs to start from."""

    experience: str
    """Name or path of its spec."""
    grid: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """Dotted key → values, as in `Order`."""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """Dotted key → value, as in `Order`."""
    seed: int | str = 0
    """The seed of the run that all start from, or "same": each from a run with its own seed."""

    def seeds(self, of_others: Sequence[int]) -> Sequence[int]:
        """The seeds that it is trained with.

        of_others  those of the runs that start from it
        Raises QexpError if its own is neither a seed nor "same".
        """
        if isinstance(self.seed, str):
            if self.seed != SAME:
                raise QexpError(
                    f"`pretrain_seed={self.seed}`: give a seed, or '{SAME}' for the seed of"
                    " each run"
                )
            return of_others
        return [self.seed]


@dataclass(frozen=True, kw_only=True)
class RerunOptions(NewRuns, OnDevice, Displaying):
    """Options of `qexp rerun`."""

    name: str | None = option(
        None, "Name of the new run; RUN_rerun if left out, with a number if there is such a run."
    )
    seed: int | None = option(None, "Random seed; that of the run if left out.")
    at_commit: bool = option(
        False,
        "Use qexp's code at the commit that trained the run, from its git repository, unchanged.",
    )
    resume: bool = option(
        False, "Continue the run itself, which was interrupted, instead of a new run."
    )

    @property
    def changes(self) -> bool:
        """Whether the new run differs from the first."""
        return bool(self.name or self.seed is not None or self.overrides or self.tags or self.note)


@dataclass(frozen=True, kw_only=True)
class StudyOptions(Watched):
    """Options of `qexp study` besides its order."""

    pretraining: Pretraining | None = python_only(
        None,
        "An experience that is trained first, for each value of a grid of its own; the experiences"
        " of the order that have `pretrain` in their spec start from its runs",
    )
    metric: str | None = option(
        None,
        "The metric to draw, such as toc.rmse or validation.toc.rmse; mae of the first output if"
        " left out.",
        "OUTPUT.METRIC",
    )
    out: str | Path | None = option(
        None,
        "Folder for study.csv, table.csv and study.png; studies/<experience>_<keys>, with the"
        " metric if it is not the usual one, and a digest if `overrides` change the spec, if left"
        " out.",
        "FOLDER",
    )
    width: str | None = print_width()
    tell: Report = python_only(ignore, "Receives what is trained now and what is done already")
    most: int | None = python_only(
        None, "The largest number of runs that may be started; more are an error"
    )


@dataclass(frozen=True)
class StudiedOptions(SweepOptions, StudyOptions):
    """Options of `qexp.study`."""

    seeds: Sequence[int] = option(STUDY_SEEDS, "Train one run per seed.", example="range(10)")


def read_files(option: str, texts: Sequence[str]) -> dict[str, Path]:
    """`["mean=mean.pth"]` → `{"mean": Path("mean.pth")}`."""
    form = f"write NAME=FILE, for example {option} target_mean=target_mean.pth"
    return pairs(option, texts, form, lambda file: Path(text_of(file)))


@dataclass(frozen=True)
class WeightsOrder(StoredRuns, InWorkspace):
    """A file of weights, the name of the run that gets them, and what that run is made of."""

    file: str | Path = argument(
        ..., "Weights: .pth, .pt, .ckpt, .bin, .safetensors, .h5, .hdf5 or .keras.", "FILE"
    )
    to: str = option(..., "Name of the new run.", "NAME")
    _: KW_ONLY
    model: str | None = option(
        None,
        "The model that the weights are for; alone, the experience that has it gives dataset and"
        " transforms, or the only dataset that fits it, without transforms.",
        "MODEL",
        complete="models",
    )
    experience: str | Path | None = option(
        None,
        "The experience whose model, dataset and transforms the run gets.",
        "EXPERIENCE",
        shell=str,
        complete="experiences",
    )
    dataset: str | Path | None = option(
        None,
        "The dataset, instead of the experience's; without an experience the run has no"
        " transforms.",
        "DATASET",
        shell=str,
        complete="datasets",
    )
    rules: str | None = option(
        None,
        "Rules that rename the tensors: a name, such as dl_im, dle, max or vdi, or a file,"
        " RULES.json; those that fit if left out.",
        "--map RULES",
        complete="weight_rules",
    )
    also: Mapping[str, str | Path] = option(
        {},
        "A further tensor, or a file of several, which are then called `name.tensor`; .npy is read,"
        " too.",
        "NAME=FILE",
        also="For example target_mean=target_mean.pth; repeat for more.",
        example='{"target_mean": "mean.pth"}',
        read=read_files,
    )
    seed: int = option(
        0, "Seed of the training samples to which transforms are fitted that are not in the files."
    )

    @property
    def path(self) -> Path:
        """The file of the weights."""
        return Path(self.file)

    @property
    def others(self) -> dict[str, Path]:
        """Name → file of a further tensor, or of several."""
        return {name: Path(file) for name, file in self.also.items()}
