"""The likelihood of simulated images: their unknown variables, and images whose noise is white."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.interpolate import make_interp_spline
from scipy.ndimage import distance_transform_edt
from scipy.special import ndtr
from torch import Tensor

from qexp.base.quantities import NOISE, base_name, quantity
from qexp.base.seeds import Seeds
from qexp.errors import QexpError
from qexp.simulation.dataset import GeneratedDataset
from qexp.simulation.noise import MOST_TO_FACTOR, WhiteNoise
from qexp.simulation.views import GNSS, SIZED

Array = NDArray[np.float64]

BLOCK = 256
"""Images that are simulated at a time."""

TINY = 1e-300


@dataclass(frozen=True)
class Nodes:
    """The likelihood of one sample at the nodes of a grid, as far as it does not depend on the amplitude a.

    axes      coordinates of the nodes along each axis, at least four of equal distances
    length    norm of the whitened image of amplitude 1
    score     product of the whitened data with the whitened image, divided by its length
    possible  whether the source is possible

    The logarithm of the likelihood is score · length · a - (length · a)² / 2, but for a constant. Score and the
    logarithm of length are smooth, and so are interpolated by cubic splines.
    """

    axes: tuple[Array, ...]
    length: Array
    score: Array
    possible: NDArray[np.bool_]

    def part(self, slices: Sequence[slice]) -> Nodes:
        """The nodes in a part of the grid, or every second one."""
        where = tuple(slices)
        axes = tuple(axis[one] for axis, one in zip(self.axes, slices, strict=True))
        return Nodes(axes, self.length[where], self.score[where], self.possible[where])

    def between(self, axes: Sequence[Array]) -> tuple[Array, Array]:
        """Length and score at the points of a finer grid."""
        log_length, score = np.log(np.maximum(self._filled(self.length), TINY)), self._filled(self.score)
        for index, (nodes, points) in enumerate(zip(self.axes, axes, strict=True)):
            degree = min(3, len(nodes) - 1)
            log_length = make_interp_spline(nodes, log_length, degree, axis=index)(points)
            score = make_interp_spline(nodes, score, degree, axis=index)(points)
        return np.exp(log_length), score

    def _filled(self, values: Array) -> Array:
        """Values with those of the nearest possible node where a node is impossible."""
        if self.possible.all() or not self.possible.any():
            return values
        nearest = distance_transform_edt(~self.possible, return_distances=False, return_indices=True)
        return np.asarray(values[tuple(nearest)])


class Signals:
    """Whitened images of amplitude 1."""

    def __init__(self, unknowns: Unknowns, whitening: Whitening) -> None:
        self.unknowns = unknowns
        self.whitening = whitening

    def nodes(self, axes: Sequence[Array], data: Array) -> list[Nodes]:
        """The likelihood of whitened samples, (sample, value), at the nodes of a grid."""
        shape = tuple(len(axis) for axis in axes)
        possible = self.possible(axes).ravel()
        length, score = np.zeros(len(possible)), np.zeros((len(data), len(possible)))
        for where, images in self._images(axes, possible):
            length[where] = np.sqrt(np.einsum("ij,ij->i", images, images))
            score[:, where] = data @ images.T / np.maximum(length[where], TINY)
        of_all = length.reshape(shape), possible.reshape(shape)
        return [Nodes(tuple(axes), of_all[0], one.reshape(shape), of_all[1]) for one in score]

    def possible(self, axes: Sequence[Array]) -> NDArray[np.bool_]:
        """Whether there can be such sources, at the points of a grid."""
        return self.possible_at(_points(axes)).reshape([len(axis) for axis in axes])

    def possible_at(self, points: Array) -> NDArray[np.bool_]:
        """Whether there can be such sources, at points, (point, coordinate)."""
        return self.unknowns.dataset.possible(self._values(points), len(points))

    def _images(self, axes: Sequence[Array], possible: NDArray[np.bool_]) -> Iterator[tuple[NDArray[np.intp], Array]]:
        values, places = self._values(_points(axes)), np.flatnonzero(possible)
        for start in range(0, len(places), BLOCK):
            where = places[start : start + BLOCK]
            made = self.unknowns.dataset.signals({name: of[where] for name, of in values.items()})
            yield where, self.whitening(made)

    def _values(self, points: Array) -> dict[str, Array]:
        """Values of all unknowns at points, (point,) each; 1 for the amplitude."""
        pairs = zip(self.unknowns.shape, points.T, strict=True)
        values = {name: self.unknowns.value(name, of) for name, of in pairs}
        if self.unknowns.amplitude is not None:
            values[self.unknowns.amplitude] = np.ones(len(points))
        return values


def _points(axes: Sequence[Array]) -> Array:
    """The points of a grid, (point, coordinate)."""
    meshes = np.meshgrid(*axes, indexing="ij")
    return np.stack([mesh.ravel() for mesh in meshes], axis=1) if meshes else np.zeros((1, 0))


# The variables whose posterior is integrated, as standard normal coordinates.

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
        return replace(self, dataset=self.dataset.with_fixed(known)) if known else self

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


# Images as vectors whose noise is independent from value to value and has variance 1.


class Factors:
    """Cholesky factors of the covariance of noise. The last one of each image is kept, as samples often share it."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[list[float], Tensor, float, Tensor]] = {}

    def __call__(self, dataset: GeneratedDataset, image: str, seen: Tensor) -> tuple[Tensor, float]:
        """The lower factor, or its diagonal if it is diagonal, and the number with which it is to be multiplied.

        dataset  in which nothing varies that the covariance depends on
        seen     (value,), whether a value is seen
        Raises QexpError if there is no factor.
        """
        level, suffix = dataset.fixed.get(NOISE, 0.0), image.removeprefix(base_name(image))
        sizes = [dataset.fixed[side + suffix] for side in SIZED if side + suffix in dataset.fixed]
        if image in self._kept:
            of_sizes, of_seen, of_level, factor = self._kept[image]
            scale = 1.0 if level == of_level else level / of_level if _proportional(dataset, image) else None
            if scale is not None and sizes == of_sizes and torch.equal(seen, of_seen):
                return factor, scale
        factor = _factor(dataset, image, seen, level)
        self._kept[image] = sizes, seen, level, factor
        return factor, 1.0


class Whitening:
    """Multiplies images with the inverse of the Cholesky factor of the covariance of their noise.

    images   the names of the images that belong to the data
    seen     image → (value,), whether a value is seen; the others are left out. All are if an image is not listed
    factors  where factors are found again
    Raises QexpError if there is no such factor.
    """

    def __init__(
        self,
        dataset: GeneratedDataset,
        images: Sequence[str],
        seen: Mapping[str, Tensor],
        factors: Factors | None = None,
    ) -> None:
        self.seen = {
            name: seen.get(name, torch.ones(_values_in(dataset, name), dtype=torch.bool)).flatten() for name in images
        }
        found = factors or Factors()
        self._factors = {name: found(dataset, name, self.seen[name]) for name in images}

    def __call__(self, images: Mapping[str, Tensor]) -> Array:
        """(sample, value) of image → (sample, ...): the values of all images, one after the other."""
        return np.concatenate([self._of(name, images[name]) for name in self.seen], axis=1)

    def of_products(self, vectors: Tensor) -> dict[str, Tensor]:
        """Image → (value, vector), with which seen values are multiplied for the products of whitened images and
        vectors, (vector, value of all images).
        """
        parts = torch.split(vectors, [int(seen.sum()) for seen in self.seen.values()], dim=1)
        return {name: self._transposed(name, part.mT) for name, part in zip(self.seen, parts, strict=True)}

    def _transposed(self, name: str, columns: Tensor) -> Tensor:
        factor, scale = self._factors[name]
        if factor.dim() == 1:
            return columns / (scale * factor)[:, None]
        solved: Tensor = torch.linalg.solve_triangular(factor.mT, columns, upper=True)
        return solved / scale

    def _of(self, name: str, images: Tensor) -> Array:
        (factor, scale), values = self._factors[name], images.flatten(1)[:, self.seen[name]].double()
        if factor.dim() == 1:
            return np.asarray((values / (scale * factor)).numpy())
        return np.asarray((torch.linalg.solve_triangular(factor, values.T, upper=False).T / scale).numpy())


def _proportional(dataset: GeneratedDataset, image: str) -> bool:
    """Whether the noise level multiplies all noise of an image."""
    return dataset.view(image).measures != GNSS and all(one.of_unit_variance for one in dataset.noise.added(image))


def _values_in(dataset: GeneratedDataset, image: str) -> int:
    return torch.Size(dataset.view(image).shape((dataset.height, dataset.width))).numel()


def _factor(dataset: GeneratedDataset, image: str, seen: Tensor, level: float) -> Tensor:
    """The lower Cholesky factor of the covariance between the seen values; its diagonal alone if it is diagonal."""
    view = dataset.view(image)
    if view.measures == GNSS:
        assert view.errors is not None
        return view.errors.double().T.flatten()[seen]
    added = dataset.noise.added(image)
    white = [one for one in added if isinstance(one, WhiteNoise)]
    if len(white) == len(added):
        deviation = math.hypot(*(one.deviation_at(level) for one in white))
        return torch.full((int(seen.sum()),), deviation, dtype=torch.float64)
    pixels = len(seen)
    if pixels > MOST_TO_FACTOR:
        raise QexpError(
            f"'{image}' has {pixels:,} pixels with correlated noise, whose covariance matrix can be factored for at "
            f"most {MOST_TO_FACTOR:,}; make the dataset's images smaller, with larger pixels"
        )
    covariance = dataset.noise.covariance(image, dataset.layouts()[image], level)[seen][:, seen]
    lower: Tensor
    lower, trouble = torch.linalg.cholesky_ex(covariance)
    if trouble:
        raise QexpError(
            f"the covariance of the noise of '{image}' is not positive definite in floating-point numbers; add a "
            "component that is independent from pixel to pixel, such as 'white' or a 'nugget'"
        )
    return lower
