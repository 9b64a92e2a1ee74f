"""Simulations in memory: their parameters, and what is observed or the simulator that shows it."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from qexp.base import files, machine
from qexp.base.arrays import NAMES_LISTED, by_name, columns_of
from qexp.base.options import Counted, as_warning, uncounted
from qexp.base.quantities import DIMENSIONLESS, Quantities, quantity
from qexp.base.seeds import Seeds
from qexp.errors import QexpError, shortened, some, suggestion
from qexp.kinds.images.files import require_numbers
from qexp.kinds.simulations.new import DISCRETE, NAMES_OBSERVED, OBSERVED, Values
from qexp.networks.shapes import AXES
from qexp.simulation.distributions import described
from qexp.spec.reading import Document

GROUP, SIMULATOR = "group", "simulator"
"""Names of the groups of simulations and of the text of the simulator in files."""

NOT_PARAMETERS = OBSERVED, GROUP, SIMULATOR, NAMES_OBSERVED
"""Further names in files."""

TRIES = 20
"""Simulations that may fail before a simulator is taken for one that cannot be called."""

MOST_REPEATED = 0.1
"""Share of the draws of a prior that may repeat others: more are of no density."""


Simulator = Callable[..., Any]

Arrays = dict[str, Values]
"""By the names that they have in files."""


class GivenSimulations:
    """Simulations in memory as a dataset of one file.

    theta    (simulation, parameter), or how many are drawn from the prior
    x        (simulation, ...), or the simulator that makes it of theta
    names    of the parameters; those of the prior or of theta if there are none
    units    parameter → its unit
    groups   (simulation,)
    axes     of x; those of an array of xarray if left out
    counted, at_once  as of `simulated`
    """

    document: Document
    """The dataset."""

    def __init__(
        self,
        file: str,
        quantities: Quantities,
        theta: Any,
        x: Any,
        names: Sequence[str],
        prior: Any,
        *,
        units: Mapping[str, str] | None = None,
        groups: Any = None,
        axes: Iterable[str] | None = None,
        counted: Counted = uncounted,
        at_once: int | None = None,
    ) -> None:
        """Raises QexpError for what does not belong together."""
        theta = drawn(prior, theta) if isinstance(theta, int) else theta
        self._theta = theta
        self._x = x
        self._counted = counted
        self._at_once = at_once
        self.simulates = callable(x)
        self._arrays = parameters(theta, names, prior)
        of_prior = names_of(prior) if self.simulates else []
        if of_prior and [*self._arrays] != of_prior:
            raise QexpError(
                f"`names`: the simulator is given the parameters of the prior, {of_prior}; leave"
                " `names` out"
            )
        count = len(next(iter(self._arrays.values())))
        self.document = dataset_of_arrays(
            file,
            [*self._arrays],
            prior,
            units or {},
            quantities,
        )
        own_axes = [*map(str, x.dims)] if hasattr(x, "to_dataset") else []  # of xarray
        axes = [*map(str, axes or ())] or (own_axes if {*own_axes} <= {*AXES} else [])
        if axes:
            self.document["axes"] = {OBSERVED: axes}
        if groups is not None:
            self.document["groups"] = GROUP
            self._arrays[GROUP] = array(groups, "groups", [2], count).ravel()
        require_same_rows(theta, x)
        self._arrays |= {SIMULATOR: text_of(x)} if self.simulates else observations(x, count)

    def are_in(self, path: Path) -> bool:
        """Whether a file has these, and nothing else but what was simulated of them."""
        known = {*self._arrays, *((OBSERVED, NAMES_OBSERVED) if self.simulates else ())}
        with np.load(path) as there:
            if not {*self._arrays} <= {*there} <= known:
                return False
            return all(np.array_equal(there[name], own) for name, own in self._arrays.items())

    def write(self, path: Path) -> None:
        """Write a file of them, after the simulator was called, where there is one."""
        arrays = self._arrays
        if self.simulates:
            content = b"".join(values.tobytes() for values in arrays.values())
            digest = hashlib.sha256(content + str(self._at_once or "").encode()).hexdigest()
            unfinished = path.with_suffix(f".unfinished-{digest[:12]}.npy")
            how = self._counted, self._at_once
            arrays = arrays | simulated(self._x, self._theta, unfinished, *how)
        files.make_folder(path.parent)
        with files.writing(path), files.replacing(path) as written:
            np.savez(written, allow_pickle=False, **arrays)
        for unfinished in path.parent.glob(f"{path.stem}.unfinished-*.npy"):
            unfinished.unlink()


def parameters(theta: Any, names: Sequence[str], prior: Any) -> Arrays:
    """Parameter → (simulation,): columns are taken by name where theta has names; where it has
    none, they are those of `names` or of the prior, in this order. Raises QexpError, also where two
    of these have different names.
    """
    if isinstance(names, str | set | frozenset):
        raise QexpError(f"`names={names!r}`: write a list, in the order of the columns of theta")
    theta = theta.to_frame() if hasattr(theta, "to_frame") else theta  # a column of a data frame
    columns = [*columns_of(theta)]
    of_prior = names_of(prior)
    called = [str(name) for name in [*names] or of_prior or columns]
    for there, others in (
        ("theta has the columns", columns),
        ("the prior has the parameters", of_prior),
    ):
        if others and {*others} != {*called}:
            wanted = f"{'`names` are' if names else 'the prior has'} {some(called, NAMES_LISTED)}"
            raise QexpError(
                f"{there} {some(others, NAMES_LISTED)}, but {wanted}; rename or leave out what"
                " differs"
            )
    values = array(by_name(theta, "theta", called), "theta", [2])
    called = called or [f"theta{index + 1}" for index in range(values.shape[1])]
    if len(called) != values.shape[1] or len({*called} - {*NOT_PARAMETERS}) != len(called):
        different = f"all different, and none of {', '.join(NOT_PARAMETERS)}"
        raise QexpError(
            f"`names={called}`: theta has {values.shape[1]} columns, which need a name each,"
            f" {different}"
        )
    return dict(zip(called, np.array(values.T), strict=True))  # which no simulator changes


def names_of(prior: Any) -> list[str]:
    """The parameters of a prior that is a dictionary with a distribution for each."""
    named = isinstance(prior, Mapping) and drawn(prior, 1).shape[1] == len(prior)
    return [*map(str, prior)] if named else []


def require_same_rows(theta: Any, x: Any) -> None:
    """Raise QexpError for data frames whose rows have other labels, or another order of them."""
    if not (hasattr(theta, "iloc") and hasattr(x, "iloc")):
        return
    if theta.index.equals(x.index) or len(theta) != len(x):
        return
    numbered = any([*frame.index] == [*range(len(frame))] for frame in (theta, x))
    if not numbered or {*theta.index} == {*x.index}:
        way_out = (
            "x.loc[theta.index] has the order of theta; without meaning: reset_index(drop=True)"
        )
        raise QexpError(f"the rows of theta and x have other labels in their index; {way_out}")


def observations(x: Any, count: int) -> Arrays:
    """What was observed, (simulation, ...), and the names of its values. Raises QexpError.

    count  of the simulations
    """
    x = x.to_frame() if hasattr(x, "to_frame") else x
    names = [*columns_of(x)]
    observed = array(by_name(x, "x"), "x", [2, 3, 4], count)
    return {OBSERVED: observed, **({NAMES_OBSERVED: np.array(names)} if names else {})}


def array(values: Any, what: str, dimensions: Sequence[int], count: int | None = None) -> Values:
    """Numbers of any library, (simulation, ...), of such dimensions or one. Raises QexpError.

    count  of the simulations, if it is known
    """
    try:
        numbers: Values = np.asarray(_plain(values))
    except (ValueError, TypeError, RuntimeError) as error:
        raise QexpError(
            f"`{what}` is no array of numbers: all simulations need the same shape ({error})"
        ) from None
    numbers = numbers[:, None] if numbers.ndim == 1 else numbers
    if numbers.ndim not in dimensions or not numbers.size or numbers.dtype.kind in "OUSmM":
        raise QexpError(
            f"`{what}` has the shape {numbers.shape} of {numbers.dtype}; give numbers, (simulation,"
            " ...)"
        )
    require_numbers(numbers.dtype, f"`{what}`")
    if count not in (None, len(numbers)):
        raise QexpError(
            f"`{what}` has {len(numbers):,} of {count:,} simulations; the first axis is theirs"
        )
    return numbers


def _plain(values: Any) -> Any:
    """Numbers of any library as numpy takes them, also in lists; what numpy masks is missing."""
    if isinstance(values, list | tuple):
        return [_plain(one) for one in values]
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        return (values if values.dtype != torch.bfloat16 else values.float()).numpy()
    masked = isinstance(values, np.ma.MaskedArray)
    return np.ma.filled(values.astype(float), np.nan) if masked else values


def text_of(simulator: Simulator) -> Values:
    """The text of a function, by which another one is noticed; empty if there is none."""
    try:
        return np.array(inspect.getsource(simulator))
    except (OSError, TypeError):
        return np.array("")


def simulated(
    simulator: Simulator,
    theta: Any,
    unfinished: Path,
    on_simulation: Counted,
    at_once: int | None,
) -> Arrays:
    """What a simulator makes of parameters, as of `observations`, with the same random numbers at
    each call.

    A function of the parameters of all simulations is called once, or for so many `at_once`. One of
    those of a single simulation is called for each, and so is one that raises an error for some:
    these have missing values, and are counted in a warning.

    unfinished     file of what is made piece by piece, with which another call goes on
    on_simulation  receives how many are done, and of how many
    Raises QexpError for a simulator that cannot be called in either way, or returns no numbers.
    """

    def of_one(rows: Any) -> Any:
        made = simulator(rows[0])
        return {name: [value] for name, value in columns_of(made).items()} or [made]

    with contextlib.chdir(Path.cwd()):  # which the simulator may leave
        few = theta[: theta.shape[1] + 1]  # which no function of one takes for its parameters
        made = _attempt(simulator, few)
        if isinstance(made, dict) and at_once is not None:
            one = {**made, OBSERVED: made[OBSERVED][:1]}
            return _in_pieces(
                partial(_attempt, simulator), theta, one, unfinished, on_simulation, at_once
            )
        made = _attempt(simulator, theta) if isinstance(made, dict) else made
        if isinstance(made, dict):
            return made
        for way in [of_one] if isinstance(made, QexpError) else [simulator, of_one]:
            for row in range(min(TRIES, len(theta))):
                first = _attempt(way, theta[row : row + 1], row)
                if isinstance(first, dict):
                    return _in_pieces(
                        partial(_attempt, way), theta, first, unfinished, on_simulation
                    )
    tried = (
        f"{type(theta).__module__}.{type(theta).__name__} of the shape {tuple(few.shape)}:"
        f" {_said(made)}"
    )
    of_one_alone = f"with those of one, {tuple(few.shape[1:])}: {_said(first)}"
    raise QexpError(
        f"the simulator with parameters of {len(few)} simulations, {tried}; {of_one_alone}"
    ) from made


def predicted_of(simulator: Simulator, theta: Values) -> Values:
    """What a simulator makes of parameters, (simulation, value), without what fails.

    theta  (simulation, parameter); a simulator that takes no array of numpy is given a tensor
    Raises QexpError.
    """
    with tempfile.TemporaryDirectory() as folder:
        unfinished = Path(folder) / "predicted.npy"
        try:
            made = simulated(simulator, theta, unfinished, uncounted, None)
        except QexpError:
            tensor = torch.from_numpy(theta).float()
            made = simulated(simulator, tensor, unfinished, uncounted, None)
        values = np.array(made[OBSERVED], float).reshape(len(theta), -1)
    whole: Values = values[np.isfinite(values).all(axis=1)]
    if not len(whole):
        raise QexpError("the simulator has no finite values for any of the draws")
    return whole


def _in_pieces(
    attempt: Callable[..., Any],
    theta: Any,
    one: Arrays,
    unfinished: Path,
    on_simulation: Counted,
    size: int = 1,
) -> Arrays:
    """As `simulated`, in pieces; where one fails, each of its simulations is tried alone.

    one   simulation
    size  of a piece
    """
    count = len(theta)
    first = one[OBSERVED]
    reasons = list[str]()
    if not unfinished.exists():
        files.make_folder(unfinished.parent)
        with files.writing(unfinished), files.replacing(unfinished) as file:
            np.save(file, np.zeros((count, 1 + first.size)))
    done, x = np.split(np.load(unfinished, mmap_mode="r+"), [1], axis=1)
    pieces = [slice(row, min(row + size, count)) for row in reversed(range(0, count, size))]
    while pieces:
        rows = pieces.pop()
        if done[rows].all():
            continue
        made = attempt(theta[rows], rows.start)
        if isinstance(made, dict) and made[OBSERVED].shape[1:] != first.shape[1:]:
            shapes = f"{made[OBSERVED].shape[1:]}, and others {first.shape[1:]}"
            raise QexpError(f"`x`: simulation {rows.start} has the shape {shapes}")
        if isinstance(made, dict):
            x[rows], done[rows] = made[OBSERVED].reshape(len(x[rows]), -1), 1
        elif rows.stop - rows.start > 1:
            pieces += [slice(row, row + 1) for row in reversed(range(rows.start, rows.stop))]
        else:
            reasons.append(f"simulation {rows.start}, {_said(made)}")
            x[rows] = np.nan
        on_simulation(rows.stop, count)
    if reasons:
        as_warning(f"{len(reasons):,} of {count:,} simulations failed; the first: {reasons[0]}")
    return {
        **one,
        OBSERVED: x.reshape(count, *first.shape[1:]).astype(np.result_type(first, np.float32)),
    }


def _attempt(
    simulator: Callable[[Any], Any], theta: Any, *purpose: int
) -> Arrays | Exception | SystemExit:
    """What is made of parameters, (simulation, ...), by a purpose's random numbers; or an error."""
    try:
        with Seeds(0).globally(SIMULATOR, *purpose):
            # which it may change
            made = simulator(theta.clone() if isinstance(theta, torch.Tensor) else theta.copy())
        for one in made if isinstance(made, list) else [made]:
            if isinstance(one, tuple) and not columns_of(one) and any(map(np.ndim, one)):
                raise QexpError(
                    f"it returned {len(one)} arrays; return one, with what is observed alone"
                )
        return observations(made, len(theta))
    except (Exception, SystemExit) as error:  # of a user's code, which may even end the process
        if machine.ran_out_of_memory(error):
            raise
        return error


def _said(error: Any) -> str:
    return f"{error}" if isinstance(error, QexpError) else f"{type(error).__name__}: {error}"


def dataset_of_arrays(
    path: str, names: Sequence[str], prior: Any, units: Mapping[str, str], quantities: Quantities
) -> Document:
    """The keys of a dataset of arrays in a file. prior: as of `parts`, or None."""
    unknown = {*units} - {*names}
    if unknown:
        raise QexpError(
            f"`units`: no parameter '{min(unknown)}'; {suggestion(min(unknown), names)}"
        )
    known = {name for name in units if quantity(name, quantities) is not DIMENSIONLESS}
    keys = {
        "distributions": {} if prior is None else distributions(prior, names),
        "units": {name: unit for name, unit in units.items() if name not in known},
        "file_units": {name: unit for name, unit in units.items() if name in known},
    }
    varyings: Document = {name: [] for name in names}
    needed = {"type": "simulated", "path": path, "observations": [OBSERVED], "varyings": varyings}
    return {**needed, **{key: value for key, value in keys.items() if value}}


# Priors: frozen distributions of scipy.stats, and distributions of torch.


def parts(prior: Any) -> list[Any]:
    """A list of distributions, each of one parameter or several. Raises QexpError for others."""
    if isinstance(prior, Mapping):
        prior = prior.values()
    elif not isinstance(prior, Sequence):
        prior = [prior]
    distributions = list(prior)
    for part in distributions or [None]:
        unfrozen = isinstance(part, type) or (hasattr(part, "rvs") and callable(part))
        if unfrozen or not (hasattr(part, "rvs") or hasattr(part, "sample")):
            such = (
                "such as scipy.stats.uniform(0, 5), or one of torch.distributions, with its"
                " parameters"
            )
            raise QexpError(
                f"`prior`: {shortened(repr(part))} is no frozen distribution of scipy.stats, {such}"
            )
    return distributions


def of_torch(part: Any) -> bool:
    """Whether a part of a prior is of torch; the newer ones of scipy have `sample`, too."""
    return hasattr(part, "sample") and not type(part).__module__.startswith("scipy.")


def drawn(prior: Any, count: int) -> Any:
    """Parameters, (simulation, parameter), the same at each call; a tensor for torch alone."""
    columns, seeds = [], Seeds(0)
    for index, part in enumerate(parts(prior)):
        with seeds.globally("prior", index):
            random = seeds.numpy("prior", index)
            if of_torch(part):
                values = _plain(part.sample((count,)))
            elif hasattr(part, "rvs"):
                values = part.rvs(size=count, random_state=random)
            else:
                values = part.sample(count, rng=random)
        columns.append(values.reshape(count, -1))
    theta = np.concatenate(columns, axis=1)
    return torch.from_numpy(theta) if all(map(of_torch, parts(prior))) else theta


def distributions(prior: Any, names: Sequence[str]) -> Document:
    """Parameter → distribution of the table. Raises QexpError for others than these names."""
    prior = [prior[name] for name in names] if {*names_of(prior)} == {*names} else prior
    every = [one for part in parts(prior) for one in _each(part)]
    if len(every) != len(names):
        raise QexpError(
            f"`names`: {len(names)} names ({', '.join(names)}), but the prior has {len(every)}"
            " parameters"
        )
    for name, values in zip(names, np.asarray(drawn(prior, 1000)).T, strict=True):
        if len(np.unique(values)) < (1 - MOST_REPEATED) * len(values):
            raise QexpError(f"`prior`: '{name}' {DISCRETE}")
    return {name: one for name, one in zip(names, every, strict=True) if one is not None}


def _each(part: Any) -> list[Document | None]:
    """The distributions of the parameters of a part; None for those that the table lacks."""
    count = drawn(part, 1).shape[1]
    base = part.base_dist if isinstance(part, torch.distributions.Independent) else part

    def quantiles(shares: Values, index: int) -> Values:
        if of_torch(base):
            return np.asarray(base.icdf(torch.tensor(shares)[:, None].expand(-1, count)))[:, index]
        return np.asarray((base.ppf if hasattr(base, "rvs") else base.icdf)(shares))

    try:
        return [described(partial(quantiles, index=index)) for index in range(count)]
    except (NotImplementedError, AttributeError):  # of torch, and of several parameters together
        return [None] * count
