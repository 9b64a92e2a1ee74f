"""Simulated datasets: parameters drawn from distributions, and images simulated in batches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qexp.base.quantities import QUANTITIES, Quantities, base_name, quantity
from qexp.base.seeds import Seeds
from qexp.errors import DatasetError
from qexp.physics.random_fields import normal_numbers
from qexp.simulation.distributions import (
    Distribution,
    Interval,
    divide,
    gaps,
    sample as intervals_sample,
)
from qexp.simulation.generators import Generator, Viewing
from qexp.simulation.noise import Grid, Layout, Points
from qexp.simulation.noise_models import NoiseModel, number_from
from qexp.simulation.views import DISPLACEMENT, MASK, View

MOST_DRAWS = 1000
"""Number of times that the values of a sample are drawn if none before were possible."""

WHOLE: Interval = (0.0, 1.0)
"""All quantiles of a distribution."""

Values = NDArray[np.float64]

Intervals = Mapping[str, Sequence[Interval]]
"""Varying variable → its quantile intervals in one part (training, validation or test)."""

Part = Any
"""What the samples of a part are drawn from: `Intervals`, or the numbers of stored simulations."""


class Model(Protocol):
    """What makes images in place of the simulator, of parameters between some values."""

    @property
    def ranges(self) -> Mapping[str, tuple[float, float]]:
        """Parameter → the least and the greatest value for which it is used, in SI units."""

    def __call__(self, values: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Image → (batch, channel, height, width), of parameters, (batch,) or (1,) each, in SI
        units.
        """

    def in_words(self) -> str:
        """What it is, and how large its errors are."""


@dataclass(eq=False)
class GeneratedDataset:
    """Samples of simulated images and the values that made them.

    fixed          variable → value in the variable's unit; may include `noise` [m]
    held_out       varying variable → the quantile intervals that are left to the test part, ordered
                   and disjoint; if there are none, each part has the whole distribution
    distributions  varying variable → its distribution
    quantities     the units of variables
    origin         keys of its document that say what its files hold, such as their hash
    redrawn        samples that were drawn again because their values were impossible
    warnings       about the data, such as values that are drawn again
    """

    generator: Generator
    size: tuple[int, int]
    fixed: Mapping[str, float]
    held_out: Intervals
    distributions: Mapping[str, Distribution]
    noise: NoiseModel
    quantities: Quantities = field(default_factory=lambda: QUANTITIES)
    origin: Mapping[str, Any] = field(default_factory=dict)
    redrawn: int = field(default=0, init=False)
    warnings: list[str] = field(default_factory=list, init=False)

    simulates: ClassVar[bool] = True
    """Whether a model makes images of any values, and new samples whenever they are asked for."""

    def __post_init__(self) -> None:
        self.height, self.width = self.size
        held_out = dict[str, list[Interval]]()
        for name, ranges in self.held_out.items():
            held_out[name] = [(low, high) for low, high in ranges]
        self.held_out = held_out
        self.test: Intervals = {name: ranges or [WHOLE] for name, ranges in self.held_out.items()}

    @property
    def variables(self) -> list[str]:
        """All variables that have a value, fixed and varying."""
        return [*self.fixed, *(name for name in self.test if name not in self.fixed)]

    @property
    def images(self) -> list[str]:
        """The images of a sample, one per view."""
        return self.generator.images(self.variables)

    def si_factor(self, variable: str) -> float:
        """One unit of a variable in SI units."""
        return quantity(variable, self.quantities).si_factor

    def with_only_fixed(self, fixed: Mapping[str, float]) -> GeneratedDataset:
        """The dataset with only these values fixed; `observe` then takes those of all others."""
        return replace(self, fixed=fixed, held_out={})

    def with_fixed(self, values: Mapping[str, float]) -> GeneratedDataset:
        """The dataset with some of its varying variables fixed at these values."""
        fixed = {**self.fixed, **values}
        held_out = {name: ranges for name, ranges in self.held_out.items() if name not in values}
        varying = {
            name: self.distributions[name] for name in self.distributions if name not in values
        }
        return replace(self, fixed=fixed, held_out=held_out, distributions=varying)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Every variable of a sample and its shape without the batch: (channel, height, width), or
        (1,).
        """
        shapes: dict[str, tuple[int, ...]] = {}
        for image in self.images:
            view = self.view(image)
            shapes[image] = view.shape(self.size)
            if view.visible is not None or (view.instrument.imaging and self.noise.hides(image)):
                shapes[mask_of(image)] = (1, *shapes[image][1:])
        return {**shapes, **dict.fromkeys(self.variables, (1,))}

    def view(self, image: str) -> View:
        """The view of an image; those of generators that have no views fill the dataset's size."""
        return self.generator.view(image) if isinstance(self.generator, Viewing) else View()

    @property
    def view_names(self) -> list[str]:
        """The names of the views in their order, empty for one without a name."""
        return [self.view(image).name for image in self.images]

    def parts(self, shares: Sequence[float], seeds: Seeds) -> dict[str, Part]:
        """Divide the quantiles that are not held out for the test part between training and
        validation.
        """
        training, validation = {}, {}
        for name, test in self.held_out.items():
            parts = divide(test, shares, seeds.numpy("split", name))
            training[name], validation[name] = parts[0], parts[1]
        return {"train": training, "validation": validation, "test": self.test}

    @property
    def whole(self) -> Part:
        """All parts together."""
        return {name: [WHOLE] for name in self.test}

    @property
    def test_part(self) -> Part:
        """What the test samples are drawn from."""
        return self.test

    @property
    def absent(self) -> frozenset[str]:
        """Variables that some samples do not have, as their class has no such parameter."""
        return frozenset()

    @property
    def model(self) -> Model | None:
        """What makes images in place of the simulator, if anything does."""
        return None

    @property
    def compared(self) -> list[str]:
        """The variables by which samples are compared with those that were trained on."""
        return list(self.test)

    @property
    def seen_in_words(self) -> tuple[str, str]:
        """What is said of a sample, and of several, that are `seen`."""
        names = " and ".join(self.test)
        return (
            f"lies in the training intervals of {names}",
            f"lie in the training intervals of {names}",
        )

    def seen(self, samples: Mapping[str, Values], parts: Mapping[str, Part]) -> NDArray[np.bool_]:
        """Whether samples, (sample,) each in single precision, lie among those that a run draws for
        training or validation, in all varying variables.

        parts  of that run
        """
        seen = np.ones(len(next(iter(samples.values()))), dtype=bool)
        for name in self.test:
            values = samples[name]
            in_gap = np.zeros(len(seen), dtype=bool)
            # A value at an edge is rounded to either side of it.
            edge = np.finfo(np.float32).eps * np.abs(values)
            for gap in gaps(self.held_out[name]):
                low, high = self.distributions[name].quantile(np.asarray(gap))
                in_gap |= (values > low + edge) & (values < high - edge)
            seen &= in_gap
        return seen

    def available(self, part: Part, count: int) -> int:
        """How many of `count` different samples a part has."""
        return count

    def sample(
        self,
        part: Part,
        count: int,
        seeds: Seeds,
        purpose: Sequence[str | int],
        device: torch.device,
    ) -> dict[str, Tensor]:
        """Draw `count` samples of a part: variable → (count, channel, height, width) or (count,
        1).
        """
        values = self.values(part, count, seeds, purpose)
        return self.observe(values, seeds.torch(device, *purpose, "noise"))

    def values(
        self, part: Part, count: int, seeds: Seeds, purpose: Sequence[str | int]
    ) -> dict[str, Values]:
        """The values of the varying variables of `sample`, (count,) each, in the variable's unit.

        Values that are together impossible, such as of a source that breaks the surface, are drawn
        again, each time from a random stream of its own; `redrawn` counts them. Raises DatasetError
        if that never ends.
        """
        drawn = self._drawn(part, count, seeds, purpose)
        for attempt in range(1, MOST_DRAWS):
            wrong = ~self.possible(drawn, count)
            if not wrong.any():
                return drawn
            self.redrawn += int(wrong.sum())
            again = self._drawn(part, int(wrong.sum()), seeds, (*purpose, "again", attempt))
            for name, values in again.items():
                drawn[name][wrong] = values
        raise DatasetError(
            [(("varyings",), f"no possible values in {MOST_DRAWS:,} draws: {self.why_not(drawn)}")]
        )

    def _drawn(
        self, part: Intervals, count: int, seeds: Seeds, purpose: Sequence[str | int]
    ) -> dict[str, Values]:
        drawn = {}
        for name, ranges in part.items():
            # Neither 0 nor 1, where the quantile functions of many distributions are infinite.
            uniform = seeds.numpy(*purpose, name).uniform(1e-12, 1 - 1e-12, count)
            drawn[name] = self.distributions[name].quantile(intervals_sample(ranges, uniform))
        return drawn

    def possible(self, values: Mapping[str, Values], count: int) -> NDArray[np.bool_]:
        """Whether each of `count` samples can be simulated, for values as `observe` takes them."""
        possible = np.ones(count, dtype=bool)
        for unmet in self._unmet(values).values():
            possible &= ~unmet
        return possible

    def impossible(
        self, part: Intervals, count: int, seeds: Seeds, purpose: Sequence[str | int]
    ) -> tuple[float, str]:
        """The share of the draws of a part that are impossible, and what they would have to be."""
        drawn = self._drawn(part, count, seeds, purpose)
        return 1 - float(self.possible(drawn, count).mean()), self.why_not(drawn)

    def why_not(self, values: Mapping[str, Values]) -> str:
        """The requirements that some values, as `observe` takes them, do not meet."""
        return "; ".join(words for words, unmet in self._unmet(values).items() if unmet.any())

    def _unmet(self, values: Mapping[str, Values]) -> dict[str, NDArray[np.bool_]]:
        if not isinstance(self.generator, Viewing):
            return {}
        with np.errstate(over="ignore"):
            return self.generator.unmet(self._in_si(values))

    def _with_fixed_values(self, values: Mapping[str, Values]) -> dict[str, Values]:
        """All variables in their own units, (1,) if fixed."""
        every = {**{name: np.array([value]) for name, value in self.fixed.items()}, **values}
        return {name: np.asarray(value, np.float64) for name, value in every.items()}

    def _in_si(self, values: Mapping[str, Values]) -> dict[str, Values]:
        """All variables, (1,) if fixed, in SI units."""
        every = self._with_fixed_values(values).items()
        return {name: value * self.si_factor(name) for name, value in every}

    def as_simulated(
        self, values: Mapping[str, Values], device: torch.device | str = "cpu"
    ) -> dict[str, Tensor]:
        """All variables as a generator takes them, in SI units and single precision."""
        every = self._in_si(values).items()
        return {name: torch.from_numpy(value).float().to(device) for name, value in every}

    def pixel_sizes(self, image: str, values: Mapping[str, Values]) -> tuple[Values, Values]:
        """Width and height of the pixels of an image [m], (count,) or (1,), for values as `observe`
        takes them.
        """
        si = {name: torch.from_numpy(value) for name, value in self._in_si(values).items()}
        width, height = self.generator.pixel_sizes(image, si)
        return width.numpy(), height.numpy()

    def middle(self, image: str) -> tuple[float, float]:
        """Where pixel (height / 2, width / 2) of an image lies: east, north [m]."""
        return 0.0, 0.0

    def observe(
        self,
        values: Mapping[str, np.ndarray],
        random: torch.Generator,
        signals: dict[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Simulate observations for given values of the varying variables, (count,) each in the
        variable's unit.

        `random` draws the noise; the samples are made on its device. `signals` are those of the
        values if they are known, and are changed. Raises DatasetError for impossible values.
        """
        device = random.device
        count = len(next(iter(values.values())))
        if not self.possible(values, count).all():
            raise DatasetError([((), f"impossible source: {self.why_not(values)}")])
        si = self.as_simulated(values, device)
        noise_level = si.pop("noise", torch.zeros(1, device=device))
        images = self._simulated(si, count) if signals is None else signals
        views = {name: self.view(name) for name in images}
        errors = {name: view.errors for name, view in views.items() if view.errors is not None}
        streams = Seeds(number_from(random.clone_state())) if errors else None
        noisy = {name: images[name] for name, view in views.items() if view.instrument.imaging}
        masks = self.noise.add(noisy, lambda image: self.layout(image, si), noise_level, random)
        if streams is not None:
            number_from(random)  # the next samples have other errors
            for name, deviations in errors.items():
                stream = streams.torch(device, "errors", name)
                normal = normal_numbers(stream, *images[name].shape)
                images[name].addcmul_(normal, deviations.to(normal).T[:, :, None])
        for name, image in images.items():
            if (mask := views[name].mask(self.size)) is not None:
                shown = mask.to(image).expand(count, -1, -1, -1)
                masks[name] = masks[name] * shown if name in masks else shown
                image.mul_(masks[name])
        scalars = {}
        for name, value in self._with_fixed_values(values).items():
            scalars[name] = torch.from_numpy(value).float().to(device).expand(count)[:, None]
        return {**images, **{mask_of(image): mask for image, mask in masks.items()}, **scalars}

    def signals(self, values: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
        """Images for values as `observe` takes them, without noise and errors, and with nothing
        hidden.

        The values must be possible.
        """
        si = self.as_simulated(values)
        si.pop("noise", None)
        return self._simulated(si, len(next(iter(values.values()))))

    def _simulated(self, si: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
        simulated = self.generator.simulate(si, self.height, self.width)
        return {name: _of_each(image, count) for name, image in simulated.items()}

    def layout(self, image: str, values: Mapping[str, Tensor]) -> Layout:
        """Where the pixels or points of an image lie, for variable → (batch,) or (1,), in SI
        units.
        """
        view = self.view(image)
        if view.points is not None:
            return Points(view.points, view.elevation)
        _, height, width = view.shape(self.size)
        return Grid(height, width, *self.generator.pixel_sizes(image, values), view.elevation)

    def templates(self, image: str, variable: str, values: np.ndarray) -> tuple[Tensor, Tensor]:
        """Noise-free images for values of one variable, and C⁻¹ times these, (value, channel,
        height, width) each.

        The other varying variables have their medians, the noise too; C is the covariance of the
        noise between pixels, but for a factor, or that of the errors of GNSS stations.
        """
        medians = self._medians(variable)
        at_medians = self.with_only_fixed(medians)
        signals = at_medians.signals({variable: values})[image]
        view = self.view(image)
        if (mask := view.mask(self.size)) is not None:
            signals *= mask
        if not view.instrument.imaging:
            if view.errors is None or not (view.errors > 0).all():
                return signals, signals
            return signals, signals / view.errors.to(signals).T[:, :, None] ** 2
        layout = self.layout(image, at_medians.as_simulated({}))
        filtered = self.noise.without_correlation(
            image, signals[:, 0], layout, medians.get("noise", 0.0)
        )
        return signals, filtered[:, None]

    def trouble_with_templates(self, variable: str, values: np.ndarray) -> str:
        """Why there are no such `templates`: the requirements that their sources do not meet; empty
        if they do.
        """
        return self.with_only_fixed(self._medians(variable)).why_not({variable: values})

    def medians(self, names: Iterable[str]) -> dict[str, float]:
        """The medians of variables that vary; 0 is never negative."""
        medians = self.quantiles(0.5)
        return {name: float(medians[name][0]) + 0.0 for name in names}

    def _medians(self, variable: str) -> dict[str, float]:
        """The fixed values, and the medians of those that vary, without those of one variable."""
        medians = {name: float(value[0]) for name, value in self.quantiles(0.5).items()}
        values = {**self.fixed, **medians}
        values.pop(variable, None)
        return values

    def layouts(self) -> dict[str, Layout]:
        """The layout of every image that noise is added to, in two samples, which differ in all
        that varies.
        """
        si = self.as_simulated(self.quantiles(0.25, 0.75))
        noisy = [image for image in self.images if self.view(image).instrument.imaging]
        return {image: self.layout(image, si) for image in noisy}

    def quantiles(self, *probabilities: float) -> dict[str, Values]:
        """Values of the varying variables, (probability,) each."""
        shares = np.array(probabilities)
        varying = self.distributions.items()
        return {name: distribution.quantile(shares) for name, distribution in varying}


def mask_of(image: str) -> str:
    """The variable that says which pixels of an image are seen: `mask_1` for `displacement_1`."""
    base = base_name(image)
    return f"{MASK}{image.removeprefix(base)}" if base == DISPLACEMENT else f"{MASK}_{image}"


def _of_each(image: Tensor, count: int) -> Tensor:
    """Images of every sample with channels, (count, channel, height, width), of those, of one, or
    of one for all.
    """
    image = image.detach()  # as of a simulator with a network inside
    of_each = image if len(image) == count else image.expand(count, *image.shape[1:]).clone()
    return of_each if of_each.dim() == 4 else of_each[:, None]
