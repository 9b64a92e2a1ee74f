"""The variables whose posterior is integrated, as standard normal coordinates."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from qexp.datasets.generated import GeneratedDataset
from qexp.datasets.views import SIZED
from qexp.errors import QexpError
from qexp.quantities import base_name, quantity
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
    """The varying variables of a dataset; every one of them has a standard normal coordinate under its prior.

    amplitude  the variable to which the images are proportional, which takes no images to integrate over; may be None
    shape      the other variables
    """

    dataset: GeneratedDataset
    amplitude: str | None
    shape: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """The shape, and then the amplitude."""
        return [*self.shape, *([] if self.amplitude is None else [self.amplitude])]

    def value(self, name: str, coordinate: Array) -> Array:
        """The value of a variable, in its unit."""
        return self.dataset.distributions[name].quantile(ndtr(coordinate))


def unknowns_of(dataset: GeneratedDataset, images: Sequence[str], known: Collection[str] = ()) -> Unknowns:
    """The unknown variables of a dataset that makes these images.

    known  variables that are given beside the images
    Raises QexpError if their posterior cannot be integrated.
    """
    names = require_known(dataset, images, known)
    if len(names) > MOST:
        raise QexpError(
            f"{len(names)} variables vary ({', '.join(names)}), but posteriors are integrated over {MOST} at most; put "
            "the others into 'fixed' in a copy of the dataset"
        )
    amplitude = next((name for name in names if proportional(dataset, images, name)), None)
    return Unknowns(dataset, amplitude, tuple(name for name in names if name != amplitude))


def require_known(dataset: GeneratedDataset, images: Sequence[str], known: Collection[str] = ()) -> list[str]:
    """The unknown variables; raises QexpError if the likelihood of the images is not known, or medians make no sense.

    known  variables that are given beside the images
    """
    names = list(dataset.test)
    if trouble := next(_troubles(dataset, images, names, known), None):
        raise QexpError(trouble)
    return names


def _troubles(
    dataset: GeneratedDataset, images: Sequence[str], names: Sequence[str], known: Collection[str]
) -> Iterator[str]:
    """Why the posterior cannot be integrated, and what would work."""
    if not names:
        yield "no variable of the dataset varies, so that nothing is to be estimated; put one into 'varyings'"
    if given := [name for name in names if name in known]:
        yield (
            f"'{given[0]}' varies from sample to sample and is an input of the network; limits are computed only where "
            f"all that varies is unknown; {FIX_IT}"
        )
    if "noise" in names:
        yield f"'noise' varies, and with it the covariance of the noise; {FIX_IT}"
    if varying := [name for name in names if base_name(name) in SIZED]:
        yield f"'{varying[0]}' varies, and with it the covariance of the noise; {FIX_IT}"
    if turning := [name for name in names if quantity(name, dataset.quantities).period is not None]:
        yield f"'{turning[0]}' is an angle on a circle, on which there is no median; {FIX_IT}"
    if silent := [name for name in images if not _has_noise(dataset, name)]:
        yield f"'{silent[0]}' has no noise, so that estimates could be exact; declare noise in the dataset"


def _has_noise(dataset: GeneratedDataset, image: str) -> bool:
    view = dataset.view(image)
    if view.errors is not None:
        return bool((view.errors > 0).all())
    return any(not one.of_unit_variance or dataset.fixed.get("noise", 0.0) > 0 for one in dataset.noise.added(image))


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
