"""A run that maps parameters to images, in place of the simulator of its images: an emulator."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial

import numpy as np
import torch
from torch import Tensor

from qexp.base.outputs import estimate_of
from qexp.base.quantities import NOISE, conversion, number_with_unit, quantity
from qexp.base.tables import Entry, Tables
from qexp.deformation.by_network import views_of
from qexp.errors import QexpError, some
from qexp.inference.parameters import POSITIONS
from qexp.inference.simulated_images import has_noise
from qexp.jobs.states import require_done
from qexp.kinds.figures import table
from qexp.kinds.files import fingerprint
from qexp.kinds.images.experiment import generated_of
from qexp.kinds.networks import load_model
from qexp.kinds.tables import tables_of
from qexp.networks.estimator import Estimator
from qexp.simulation.generators import SAME_PLACE, DeformationImages, Source
from qexp.spec.kinds import TEST_IMAGES
from qexp.store.directory import RunDirectory

MOST_PARAMETERS = 0.001, 0.999
"""Quantiles of a parameter between which it is used: hardly any training samples lie beyond."""

NEIGHBOURS = 50
"""Test samples whose errors tell those of a source, at most: those with the most similar images."""

WEIGHT_OF_SIZE = 0.3
"""How much images differ whose sizes differ by a factor of e; orthogonal ones differ by √2."""

LARGEST_ALIKE, FEWEST_ALIKE = 0.3, 10
"""Difference up to which images are alike; and how many of those make the errors known."""

TINY = torch.finfo(torch.float64).tiny

Images = Mapping[str, Tensor]


class Emulator:
    """The network of a finished run, in double precision: images can be differentiated by numbers.

    Raises QexpError for a run that does not map numbers to images, or whose images have noise or
    hidden pixels.
    """

    def __init__(self, directory: RunDirectory) -> None:
        spec = directory.training_spec()
        require_done(directory)
        document = spec["dataset"]
        name = directory.name
        self.directory = directory
        self.dataset = generated_of(document, tables_of(directory))
        self.presumes_north = document.get("middles") == {} and not (
            document.get("rows") or document.get("made_by")
        )
        """Whether neither its files nor its dataset say which way rows of images run."""
        self.parameters = list(spec["inputs"])
        self.images = list(spec["outputs"])
        of_images = {*self.images} <= {*self.dataset.images}
        if not of_images or not {*self.parameters} <= {*self.dataset.test}:
            raise QexpError(
                f"{name} is no emulator: it estimates {some(self.images)} of"
                f" {some(self.parameters)}, and an emulator images of parameters that vary"
            )
        unknown = [known for known in self.dataset.test if known not in (*self.parameters, NOISE)]
        if unknown:
            raise QexpError(
                f"{name} does not know {some(unknown)}, on which its images depend; add it to its"
                " inputs"
            )
        for image in self.images:
            if has_noise(self.dataset, image) or self.dataset.view(image).visible is not None:
                raise QexpError(
                    f"'{image}' of {name} has noise or hidden pixels, which an emulator would"
                    " learn; train it on the dataset without them"
                )
        view_of = self.dataset.view
        self._stations = [name for name in self.images if not view_of(name).instrument.imaging]

    def __call__(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Image → (batch, 1, height, width), of parameters, (batch,) each, in SI units."""
        samples = {}
        images = {}
        transforms = self.model.transforms
        with torch.no_grad():
            for name in self.parameters:
                samples[name] = values[name].double()[:, None] / self.dataset.si_factor(name)
            outputs = self.model.network(self.model.inputs(samples))
            for image, made in outputs.items():
                images[image] = transforms[image].inverse(made) if image in transforms else made
        return images

    @cached_property
    def model(self) -> Estimator:
        return load_model(self.directory, torch.device("cpu")).double()

    @cached_property
    def weights(self) -> str:
        """SHA-256 of its weights."""
        return fingerprint(self.directory.best_weights)

    @cached_property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """Parameter → the least and the greatest value for which it is used, in SI units."""
        ranges = {}
        for name in self.parameters:
            low, high = self.dataset.distributions[name].quantile(np.array(MOST_PARAMETERS))
            factor = self.dataset.si_factor(name)
            ranges[name] = factor * low, factor * high
        return ranges

    @cached_property
    def tested(self) -> tuple[Images, Images]:
        """Test samples' images, (sample, channel, height, width), and their errors.

        Raises MissingNumbersError.
        """
        kept = table(self.directory.results / TEST_IMAGES)
        made = {}
        errors = {}
        for image in self.images:
            made[image] = torch.from_numpy(kept[estimate_of(image)].values).double()
            errors[image] = made[image] - torch.from_numpy(kept[image].values).double()
        return made, errors

    def errors(self, values: Mapping[str, Tensor]) -> tuple[Images, Images, str]:
        """Errors of its images for parameters like these, (1,) each in SI units.

        returns  mean and deviations, as of `errors_of_similar`, and why errors may be larger
        """
        made, errors = self.tested
        images = {image: torch.cat([asked, made[image]]) for image, asked in self(values).items()}
        mean, deviations, similar = errors_of_similar(images, errors, self._stations)
        if similar >= FEWEST_ALIKE:
            return mean, deviations, ""
        count = len(made[self.images[0]])
        doubt = (
            f"{similar or 'none'} of the {count} test samples of {self.directory.name} are like"
            " this source, so that its errors here are hardly known; simulate more sources like"
            " it, and train again"
        )
        return mean, deviations, doubt

    def source(self, fixed: bool) -> Source:
        """The emulator as a source of deformation.

        fixed  whether its images lie around the origin; else they move with the source, as in a
               medium that is the same everywhere
        Raises QexpError for images of several sizes.
        """
        on_grid = [image for image in self.images if image not in self._stations]
        grid = OnGrid(self, on_grid) if on_grid else None
        stations = AtStations(self, self._stations, grid is None) if self._stations else None
        metres = {image: self._metres(image) for image in self.images}

        def columns(sources: Tensor) -> tuple[dict[str, Tensor], Tensor]:
            """Parameter → (batch,), and where the middles of images are, (batch, 2)."""
            centres, own = sources[:, :2], sources[:, 2:]
            if fixed:
                centres, own = torch.zeros_like(centres), sources
            return dict(zip(self.parameters, own.unbind(-1), strict=True)), centres

        def displacements(images: Images, points: Tensor, centres: Tensor) -> Tensor:
            """(batch, point, 3) [m], of images with these middles."""
            images = {image: metres[image] * values for image, values in images.items()}
            points = points - centres[:, None]
            if grid is not None:
                found = grid(images, points)
            else:
                found = points.new_zeros(len(images[self.images[0]]), points.shape[1], 3)
            return found if stations is None else stations(images, points, found)

        def kernel(sources: Tensor, points: Tensor, less: Images) -> Tensor:
            values, centres = columns(sources)
            images = {image: made - less[image] for image, made in self(values).items()}
            return displacements(images, points, centres)

        def corrected(source: Tensor) -> Source:
            """Without the mean error of similar test samples, and with its deviations."""
            values, centres = columns(source[None])
            mean, deviations, doubt = self.errors(values)
            return replace(
                plain,
                kernel=partial(kernel, less=mean),
                corrected=None,
                errors=partial(displacements, deviations, centres=centres),
                doubt=doubt,
            )

        plain = Source(
            tuple(self.parameters) if fixed else (*POSITIONS, *self.parameters),
            partial(kernel, less=dict.fromkeys(self.images, torch.zeros(()))),
            ranges=self.ranges,
            extent=None if grid is None else grid.extent,
            looks=None if grid is None else grid.directions,
            places=None if stations is None else stations.places,
            corrected=corrected,
        )
        return plain

    def _metres(self, image: str) -> float:
        """By which its numbers are multiplied to be metres. Raises QexpError for no length."""
        unit = quantity(image, self.dataset.quantities).unit
        factor = conversion(unit, "m")
        if factor is None:
            raise QexpError(
                f"'{image}' of {self.directory.name} is in {repr(unit) if unit else 'no unit'}, but"
                ' sources move the ground by lengths; train it on a dataset with "units":'
                f' {{"{image}": "m"}}, or the unit that it has'
            )
        return factor

    def as_generator(self, tables: Tables, name: str, fixed: bool) -> Tables:
        """Tables with the emulator among the generators, and its variables among the quantities."""
        source = self.source(fixed)
        if not fixed and ({*POSITIONS} & {*self.parameters} or source.places is not None):
            raise QexpError(
                f"`source={name}`: positions are parameters of the emulator, or it knows stations,"
                " so that it does not move with the source; give east and north of its place 0, 0"
                " with `centre`"
            )
        west, east, south, north = source.extent or (-1, 1, -1, 1)
        if not fixed and not (west < 0 < east and south < 0 < north):
            raise QexpError(
                f"`source={name}`: the coordinates of its images are those of a place, as they do"
                " not include 0, 0; give `centre=0,0` to leave them there"
            )
        entry = Entry(
            build=lambda: DeformationImages(source), parameters={}, help=self.in_words(), example={}
        )
        generators = {**tables["generators"], name: entry}
        quantities = {**tables["quantities"], **self.dataset.quantities}
        return {**tables, "generators": generators, "quantities": quantities}

    def in_words(self) -> str:
        """What it is, and how large its errors are on test samples."""
        unit = quantity(self.images[0], self.dataset.quantities).unit
        size = number_with_unit(f"{float(_root_mean_square(self.tested[1]).median()):.2g}", unit)
        return (
            f"images by the emulator {self.directory.name}, whose error is {size} (median over test"
            " samples)"
        )


def errors_of_similar(
    images: Images, errors: Images, stations: Collection[str]
) -> tuple[Images, Images, int]:
    """Errors of images as of those test samples whose images are most similar.

    images    image → (1 + sample, channel, height, width): the one asked for, then test samples'
    errors    image → (sample, channel, height, width)
    stations  images that are no images on a grid, but have a number for each station
    returns   image → the mean error, (1, channel, height, width); deviations from it, (sample,
              channel, height, width), whose sum of squares is the variance; and the number of test
              samples that are alike

    The more similar a sample, the more its errors count, in proportion to the size of the signal
    and where that is: on a grid they are moved by the distance between the signals.
    """
    size = _root_mean_square(images)
    # what hardly moves tells nothing in proportion
    size = size.clamp(min=1e-3 * float(size.max()) + TINY)
    numbers = []
    for image, values in images.items():
        flat = values.flatten(1)
        numbers.append(flat if image in stations else flat.sort(dim=1).values)  # wherever they are
    form = torch.cat(numbers, dim=1) / size[:, None]
    size = size.log()
    difference = (form[1:] - form[0]).square().mean(dim=1)
    difference = (difference + (WEIGHT_OF_SIZE * (size[1:] - size[0])).square()).sqrt()
    nearest, order = difference.sort()
    count = min(NEIGHBOURS, len(nearest) // 3 + 5)
    weights = 1 - (nearest[:count] / (1.05 * nearest[: count + 1][-1] + TINY)).square()
    weights = weights / weights.sum()
    order = order[:count]
    few = float(weights.square().sum())  # 1 of a single sample, 0 of many
    on_grid = [values for image, values in images.items() if image not in stations]
    middle = _middle(torch.cat(on_grid, dim=1)) if on_grid else None
    mean, deviations = {}, {}
    for image, kept in errors.items():
        moved = (size[0] - size[1:]).exp()[order, None, None, None] * kept[order]
        if image not in stations and middle is not None:
            moved = _moved(moved, middle[0] - middle[1:][order])
        mean[image] = (1 - few) * torch.einsum("s,schw->chw", weights, moved)[None]
        spread = (weights * (1 + 2 * few)).sqrt()[:, None, None, None]
        deviations[image] = spread * (moved - mean[image])
    return mean, deviations, int((difference < LARGEST_ALIKE).sum())


def _middle(images: Tensor) -> Tensor:
    """Column and row of their signals, (sample, 2), of images (sample, image, row, column)."""
    squares = images.square().sum(dim=1)
    middles = []
    for axis in (1, 2):
        signal = squares.sum(dim=axis).clamp(min=TINY)
        middles.append(signal @ torch.arange(signal.shape[1]).to(signal) / signal.sum(dim=1))
    return torch.stack(middles, dim=1)


def _moved(images: Tensor, distance: Tensor) -> Tensor:
    """Images, (sample, 1, row, column), with contents moved by columns and rows, (sample, 2)."""
    height, width = images.shape[-2:]
    places = torch.cartesian_prod(torch.arange(height), torch.arange(width)).flip(1).double()
    return between_pixels(images, places - distance[:, None]).mT.reshape(images.shape)


def _root_mean_square(images: Images) -> Tensor:
    """Over all numbers of a sample, (sample,)."""
    numbers = torch.cat([values.flatten(1) for values in images.values()], dim=1)
    return numbers.square().mean(dim=1).sqrt()


class OnGrid:
    """Displacements between pixels: the least that an emulator's images show along their looks.

    directions  (image, 3)  unit vectors east, north, up
    extent      west, east, south and north of the middles of the outermost pixels [m]
    Raises QexpError for images of several sizes, or of an unknown one.
    """

    def __init__(self, emulator: Emulator, images: Sequence[str]) -> None:
        self._views = views_of(emulator.dataset, images)
        view = self._views[0]
        grids = {(one.height, one.width, one.pixel, one.middle) for one in self._views}
        if len(grids) > 1 or not all(map(math.isfinite, view.pixel)):
            name = emulator.directory.name
            raise QexpError(
                f"the images of {name} need pixels of one size that is known; give 'x_res'"
            )
        directions = [one.directions.mean(axis=0) for one in self._views]
        self.directions = torch.from_numpy(np.stack(directions))
        # of what the images show, the least vector that has it
        self._upwards = torch.linalg.pinv(self.directions)
        size = np.array([view.width, view.height])
        sides = np.array(view.pixel)
        first = view.middle - size / 2 * sides  # the middle of the pixel at the lower left
        self._first = torch.from_numpy(first)
        self._sides = torch.from_numpy(sides)
        (west, south), (east, north) = first.tolist(), (first + (size - 1) * sides).tolist()
        self.extent = west, east, south, north

    def __call__(self, images: Images, points: Tensor) -> Tensor:
        """(batch, point, 3), of images, (batch, 1, row, column), at points, (batch, point, 2)."""
        stack = torch.cat([images[view.image] for view in self._views], dim=1)
        seen = between_pixels(stack, (points - self._first) / self._sides)
        found: Tensor = seen @ self._upwards.mT
        return found


class AtStations:
    """Displacements of the stations of an emulator, known at their places alone.

    alone   whether it knows nothing of other places
    places  (station, 2)  east, north [m]
    """

    def __init__(self, emulator: Emulator, images: Sequence[str], alone: bool) -> None:
        self._images = images
        self._alone = alone
        self._name = emulator.directory.name
        places = [emulator.dataset.view(image).points for image in images]
        self.places = torch.cat([points.double() for points in places if points is not None])

    def __call__(self, images: Images, points: Tensor, elsewhere: Tensor) -> Tensor:
        """(batch, point, 3), of images, (batch, 3, station, 1), at points of the whole batch.

        elsewhere  at points that are no stations. Raises QexpError if nothing is known of some
        """
        apart, nearest = torch.cdist(points[0], self.places).min(dim=1)
        here = apart <= SAME_PLACE
        if self._alone and not here.all():
            raise QexpError(
                f"a station lies {float(apart.max()):,.0f} m from the nearest that {self._name} was"
                " trained on; it knows no other places: leave the station out, or check `centre`"
            )
        known = torch.cat([images[image] for image in self._images], dim=2)[..., 0].mT
        return torch.where(here[:, None], known[:, nearest], elsewhere)


def between_pixels(images: Tensor, positions: Tensor) -> Tensor:
    """Images between the middles of their pixels, (batch, place, image), by cubic convolution.

    images     (batch, image, height, width)
    positions  (batch, place, 2)  column and row, from 0; (1, place, 2) if they are those of all
    Keys (1981), IEEE Trans. Acoust. Speech Signal Process. 29, 1153-1160, equation 4 (a = -1/2); at
    edges the outer pixels are repeated.
    """
    height, width = images.shape[-2:]
    first = positions.floor()
    part = (positions - first)[..., None]  # (batch, place, 2, 1)
    apart = (part - torch.arange(-1, 3).to(part)).abs()
    inner = (1.5 * apart - 2.5) * apart**2 + 1
    outer = ((-0.5 * apart + 2.5) * apart - 4) * apart + 2
    weights = torch.where(apart <= 1, inner, outer).expand(len(images), -1, -1, -1)
    index = first[..., None].long() + torch.arange(-1, 3)  # (batch, place, 2, 4)
    columns = index[..., 0, :].clamp(0, width - 1)
    rows = index[..., 1, :].clamp(0, height - 1)
    flat = (rows[..., :, None] * width + columns[..., None, :]).flatten(1)  # (batch, place of 16)
    values = images.flatten(2).gather(2, flat[:, None].expand(len(images), images.shape[1], -1))
    values = values.unflatten(2, (positions.shape[1], 4, 4))
    along_x = weights[..., 0, :]
    along_y = weights[..., 1, :]
    found: Tensor = torch.einsum("bvprc,bpr,bpc->bpv", values, along_y, along_x)
    return found
