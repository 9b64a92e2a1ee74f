"""The variables whose posterior is integrated, as standard normal coordinates."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from qexp.datasets.generated import GeneratedDataset
from qexp.datasets.noises.correlated import WhiteNoise
from qexp.datasets.views import SIZED
from qexp.errors import QexpError
from qexp.quantities import NOISE, base_name, quantity
from qexp.seeds import Seeds

Array = NDArray[np.float64]

SPAN = 5.0
"""Largest absolute coordinate: less than a millionth of the prior lies beyond it."""

MOST = 3
"""Variables over which a posterior can be integrated."""

FIX_IT = "put it into 'fixed' in a copy of the dataset"

TRIED = 8
"""Draws from the prior at which it is tested whether images are proportional to a variable."""

PROPORTIONAL = 1e-5
"""Largest difference from a multiple, relative to the image; images are in single precision."""


@dataclass(frozen=True)
class Unknowns:
    """The unknown variables of a dataset; every one of them has a standard normal coordinate under its prior.

    dataset    in which no other variables vary, or for `at`
    amplitude  the variable to which the images are proportional, which takes no images to integrate over; may be None
    shape      the other variables
    periods    variable → the period after which its values repeat, in its unit, for those whose values do
    """

    dataset: GeneratedDataset
    amplitude: str | None
    shape: tuple[str, ...]
    periods: Mapping[str, float] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """The shape, and then the amplitude."""
        return [*self.shape, *([] if self.amplitude is None else [self.amplitude])]

    def at(self, known: Mapping[str, float]) -> Unknowns:
        """The same where the variables that are given have these values."""
        return replace(self, dataset=self.dataset.given(known)) if known else self

    def value(self, name: str, coordinate: Array) -> Array:
        """The value of a variable, in its unit."""
        return self.dataset.distributions[name].quantile(ndtr(coordinate))


def unknowns_of(
    dataset: GeneratedDataset,
    images: Sequence[str],
    known: Collection[str] = (),
    periods: Mapping[str, float] | None = None,
) -> Unknowns:
    """The unknown variables of a dataset that makes these images.

    known    variables that are given beside the images
    periods  see `Unknowns`; those of the quantities if left out
    Raises QexpError if their posterior cannot be integrated.
    """
    names = require_known(dataset, images, known)
    if NOISE in names:
        raise QexpError(f"'{NOISE}' varies and is not given: posteriors are then sampled, not integrated; {FIX_IT}")
    if len(names) > MOST:
        raise QexpError(
            f"{len(names)} variables vary ({', '.join(names)}), but posteriors are integrated over {MOST} at most; put "
            "the others into 'fixed' in a copy of the dataset"
        )
    amplitude = next((name for name in names if proportional(dataset, images, name)), None)
    shape = tuple(name for name in names if name != amplitude)
    return Unknowns(dataset, amplitude, shape, periods_of(dataset, names) if periods is None else periods)


def periods_of(dataset: GeneratedDataset, names: Sequence[str]) -> dict[str, float]:
    """Variable → the period of its quantity, in its unit, for those that have one."""
    found = {name: quantity(name, dataset.quantities).period for name in names}
    return {name: period for name, period in found.items() if period is not None}


def require_known(dataset: GeneratedDataset, images: Sequence[str], known: Collection[str] = ()) -> list[str]:
    """The unknown variables; raises QexpError if the likelihood of the images is not known.

    known  variables that are given beside the images
    """
    names = [name for name in dataset.test if name not in known]
    if trouble := next(_troubles(dataset, images, names), None):
        raise QexpError(trouble)
    return names


def _troubles(dataset: GeneratedDataset, images: Sequence[str], names: Sequence[str]) -> Iterator[str]:
    """Why the likelihood is not known, and what would work."""
    if not dataset.test:
        yield "no variable of the dataset varies, so that nothing is to be estimated; put one into 'varyings'"
    if not images:
        yield "the network takes no image of the dataset, so that there is no likelihood"
    if not names:
        yield f"all that varies is given ({', '.join(dataset.test)}), so that nothing is to be estimated"
    sized = [name for name in names if base_name(name) in SIZED]
    if sized and any(not isinstance(one, WhiteNoise) for image in images for one in dataset.noise.added(image)):
        yield f"'{sized[0]}' varies and is not given, and with it the covariance of correlated noise; {FIX_IT}"
    if silent := [name for name in images if not _has_noise(dataset, name)]:
        yield f"'{silent[0]}' has no noise, so that estimates could be exact; declare noise in the dataset"


def _has_noise(dataset: GeneratedDataset, image: str) -> bool:
    view = dataset.view(image)
    if view.errors is not None:
        return bool((view.errors > 0).all())
    level = NOISE in dataset.test or dataset.fixed.get(NOISE, 0.0) > 0
    return any(level or not one.of_unit_variance for one in dataset.noise.added(image))


def proportional(dataset: GeneratedDataset, images: Sequence[str], name: str) -> bool:
    """Whether the images are proportional to a variable, tested by simulating multiples of it."""
    drawn = dataset.values({one: [(0.0, 1.0)] for one in dataset.test}, TRIED, Seeds(0), ("proportional",))
    factors = (2.0, 3.0, -1.0) if dataset.distributions[name].support()[0] < 0 else (2.0, 3.0)
    before = dataset.signals(drawn)
    for factor in factors:
        changed = {**drawn, name: factor * drawn[name]}
        if not dataset.possible(changed, TRIED).all():
            return False
        after = dataset.signals(changed)
        for image in images:
            largest = after[image].abs().flatten(1).amax(1)
            difference = (after[image] - factor * before[image]).abs().flatten(1).amax(1)
            if not (difference <= PROPORTIONAL * largest).all():
                return False
    return True
