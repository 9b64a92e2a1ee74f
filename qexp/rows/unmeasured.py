"""Samples that may never have been measured: constant ones, copies, and copies of targets."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qexp.base.arrays import Mask
from qexp.rows import array_cache
from qexp.rows.array_cache import CachedArray

NATURAL_SHARE = 0.1
"""Nearly constant samples per constant one from which these are natural, as counts; or half."""

BY_CHANCE = 1e-6
"""Probability of a stretch of constant samples from which on chance does not explain it."""

EXPLAINED = 1e-3
"""p-value of two samples' parameters being alike below which these explain which ones are
constant.
"""

FEW_VALUES, FINE_STEPS, SINGLE = 16, 1e4, 1e-7
"""Samples of fewer different values that are whole multiples of a step, of which their largest is
at most so many, are equal by chance; the last is the rounding in single precision.
"""

ALIKE = 0.05
"""Difference of the ranks of a parameter, of the number of samples, below which rounded samples are
equal naturally.
"""

NUMBERS_TOGETHER = 2**22

VERSION = 1
"""Of what is kept in the cache."""

Found = dict[str, Any]
Values = NDArray[np.floating]
Numbers = NDArray[np.int64]
Read = Callable[[Numbers], NDArray[Any]]


def found_in(
    array: CachedArray, which: Sequence[Any], read: Read, visible: Mask | None = None
) -> Found:
    """What `unmeasured` finds in an array of the cache, kept there.

    which  of its values are read
    """
    hidden = None if visible is None else hashlib.sha256(visible.tobytes()).hexdigest()
    key = ["unmeasured", VERSION, array.path.name, *which, hidden]
    found = array_cache.note(key)
    if found is None:
        found = unmeasured(read, array.shape[0], visible)
        array_cache.keep_note(key, found)
    return found


def unmeasured(read: Read, count: int, visible: Mask | None = None) -> Found:
    """What samples tell of themselves.

    `constant` are numbers of samples, `value` is theirs if it is the same, `natural` whether they
    are among the others; `copies`: a sample, an earlier one that it equals, and whether both have
    rounded values.

    read     from numbers of samples to their values, (sample, ...)
    visible  which values of a sample count; all if left out
    """

    def values_of(rows: Numbers) -> Values:
        values = read(rows)
        if visible is not None:
            values = values[..., visible]
        return values.reshape(len(rows), -1)

    low, high, share = np.zeros((3, count))
    mark = np.zeros(count, np.int64)
    size = values_of(np.arange(1)).shape[1]
    step = max(1, NUMBERS_TOGETHER // size)
    for start in range(0, count, step):
        some = np.arange(start, min(start + step, count))
        values = values_of(some)
        low[some], high[some] = values.min(axis=1), values.max(axis=1)
        shares = [(values == 0).mean(axis=1)]
        for end in (low, high):
            like_it = (values == end[some, None]).sum(axis=1) - 1
            shares.append(like_it / max(size - 1, 1))
        share[some] = np.max(shares, axis=0)
        mark[some] = [hash(sample.tobytes()) for sample in values]
    constant = (low == high) & ((size > 1) | (low == 0))
    others = (low < high) if size > 1 else (low != 0)
    different = len(np.unique(low[constant]))
    natural = size == 1 or (different > 1 and size < FEW_VALUES)
    if others.any() and constant.any():
        half = min((1 + share[others].min()) / 2, 1 - 1.5 / size)
        nearly = (others & (share >= half)).sum()
        natural |= bool(nearly > min(NATURAL_SHARE * constant.sum(), others.sum() / 2))
    numbers = np.flatnonzero(constant & (others.any() | (different == 1)))
    numbers = _stretch(numbers, count) if natural and len(numbers) else numbers
    value = float(low[numbers[0]]) if len(numbers) and not np.ptp(low[numbers]) else None
    _, firsts, inverse = np.unique(mark, return_index=True, return_inverse=True)
    first = firsts[inverse]  # sample of the same mark
    repeated = np.flatnonzero((first != np.arange(count)) & (low < high) & np.isfinite(high - low))
    originals = {*first[repeated].tolist()}
    coarse = {row: _coarse(values_of(np.array([row]))[0]) for row in originals}
    copies = [[row, int(first[row]), coarse[first[row]]] for row in repeated.tolist()]
    copies = [copy for copy in copies if copy[2] is not None]
    return {"constant": numbers.tolist(), "value": value, "natural": natural, "copies": copies}


def in_words(
    found: Found, what: str, samples: str, usable: Mask, parameters: Values
) -> Iterator[str]:
    """What is said of what `unmeasured` found.

    what        the name of what is constant, or the same
    samples     what they are called
    usable      (sample,), which are not left out for another reason
    parameters  (sample, parameter), on which samples depend
    """
    numbers = np.array(found["constant"], np.int64)
    numbers = numbers[usable[numbers]]
    of_all = f"of {int(usable.sum()):,} {samples}"
    if len(numbers) and not (found["natural"] and _explained(numbers, usable, parameters)):
        constant = "constant" if found["value"] is None else f"{found['value']:g} throughout"
        together = len(numbers) > 1 and np.ptp(numbers) == len(numbers) - 1
        which = f"{numbers[0]} to {numbers[-1]}" if together else f"the first: {numbers[0]}"
        yield f"{what} is {constant} in {len(numbers):,} {of_all} ({which}): {WAY_OUT}"
    rows, originals, coarse = np.array(found["copies"], np.int64).reshape(-1, 3).T
    ranks = parameters.argsort(axis=0).argsort(axis=0) / len(parameters)
    rounded = (coarse > 0) & (np.abs(ranks[rows] - ranks[originals]) < ALIKE).any(axis=1)
    differ = usable[rows] & usable[originals] & ~rounded
    if parameters.shape[1]:
        differ &= (parameters[rows] != parameters[originals]).any(axis=1)
    if differ.any():
        row = int(rows[differ][0])
        original = int(originals[differ][0])
        which = f"the first: that of {row} is that of {original}"
        although = ", although their parameters differ" if parameters.shape[1] else ""
        yield (
            f"{what} is exactly that of another one in {int(differ.sum()):,} {of_all}"
            f" ({which}){although}: {WAY_OUT}"
        )


WAY_OUT = "were they measured or computed, and written?"


def targets_among(inputs: Mapping[str, Values], outputs: Mapping[str, Values]) -> Iterator[str]:
    """What is said of inputs that are linear in an output, (sample,) each, as copies are."""
    for target, all_wanted in outputs.items():
        for name, column in inputs.items():
            known = column[~np.isnan(column)]
            wanted = all_wanted[~np.isnan(column)]
            if len(known) <= FEWEST or not np.ptp(known) or not np.ptp(wanted):
                continue
            if 1 - np.corrcoef(known, wanted)[0, 1] ** 2 < LINEAR:
                is_copy = np.allclose(known, wanted, 1e-3)
                what = "the output" if is_copy else "a linear function of the output"
                yield (
                    f"'{name}' is {what} '{target}', which a network learns to copy: leave it"
                    " out, unless it is known where the output is not"
                )


FEWEST, LINEAR = 4, 1e-6
"""Samples that a line always fits; share of variance that it leaves if only rounding does."""


def _explained(numbers: Numbers, usable: Mask, parameters: Values) -> bool:
    """Whether samples have other parameters than the rest."""
    from scipy.stats import ks_2samp  # takes a while to load

    rest = usable.copy()
    rest[numbers] = False
    if not rest.any():
        return False
    tests = [ks_2samp(parameter[numbers], parameter[rest]) for parameter in parameters.T]
    return any(test.pvalue < EXPLAINED for test in tests)


def _stretch(numbers: Numbers, count: int) -> Numbers:
    """The longest stretch of successive numbers, if it is longer than chance explains."""
    stretches = np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1)
    longest = max(stretches, key=len)
    by_chance = count * (len(numbers) / count) ** len(longest) > BY_CHANCE
    return numbers[:0] if by_chance else longest


def _coarse(values: Values) -> bool | None:
    """Whether values are multiples of a step; None if few of them, so that chance repeats them."""
    largest = np.abs(values).max()
    scale = 10.0 ** math.floor(math.log10(FINE_STEPS / largest))
    steps = values * scale
    away = np.abs(steps - np.round(steps))
    coarse = bool((away < FINE_STEPS * SINGLE).all())
    return None if coarse and len(np.unique(values)) < FEW_VALUES else coarse
