"""Samples whose posteriors are integrated together: the same pixels are seen of them, and the same values are given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from qexp.datasets.generated import mask_of
from qexp.estimation.exact.unknowns import Unknowns
from qexp.estimation.exact.whitening import Factors, Whitening


@dataclass(frozen=True)
class Alike:
    """Some samples.

    places     their numbers among all samples
    samples    variable → (sample, ...)
    unknowns   where the given variables have the values of these samples
    whitening  of their images
    """

    places: NDArray[np.intp]
    samples: dict[str, Tensor]
    unknowns: Unknowns
    whitening: Whitening


def groups(
    unknowns: Unknowns, images: Sequence[str], given: Sequence[str], samples: Mapping[str, Tensor]
) -> Iterator[Alike]:
    """All samples, in groups of those that are alike.

    given  varying variables that are not unknown
    """
    factors = Factors()
    for places in _places(images, given, samples):
        own = {name: values[places] for name, values in samples.items()}
        seen = {name: own[mask_of(name)][0] > 0 for name in images if mask_of(name) in own}
        here = unknowns.at({name: float(own[name][0, 0]) for name in given})
        yield Alike(places, own, here, Whitening(here.dataset, images, seen, factors))


def _places(images: Sequence[str], given: Sequence[str], samples: Mapping[str, Tensor]) -> list[NDArray[np.intp]]:
    told = [*(mask_of(name) for name in images if mask_of(name) in samples), *given]
    found: dict[bytes, list[int]] = {}
    for place in range(len(samples[images[0]])):
        found.setdefault(b"".join(samples[name][place].numpy().tobytes() for name in told), []).append(place)
    return [np.array(places) for places in found.values()]
