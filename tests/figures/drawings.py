"""A figure of every kind, drawn from numbers that are the same on every machine."""

import numpy as np
import xarray

from qexp.base.outputs import outputs_among
from qexp.base.quantities import QUANTITIES
from qexp.deformation.maps import Maps, draw_tracks, inversion_maps, residual_maps
from qexp.deformation.semivariograms import draw_semivariograms
from qexp.figures.classes import class_panels
from qexp.figures.curves import OF_WHAT, fold_curves, learning_bands, learning_curves
from qexp.figures.distributions import Drawn, Histogram, corner, histograms, values_by_group
from qexp.figures.fields import Extent, Moment, draw_moments
from qexp.figures.searches import Varied, front, search_panels
from qexp.figures.seeds import Line, OfSeeds, errors_of_seeds, study_panels, values_in_rows
from qexp.inference.density import Prior, of_training
from qexp.kinds.calibration_figures import coverage, local, ranks
from qexp.kinds.fields.figures import FieldSample, errors_by_thickness, sample_fields
from qexp.kinds.figures import coverage_by_group
from qexp.kinds.images.figures import ImageSample, Side, image_grid, of_estimates, sample_images
from qexp.kinds.matrix_figures import held_out_of, matrix_panels, side_by_side
from qexp.kinds.rows.figures import (
    HeldOut,
    draw_map,
    estimates_against_measured,
    layers,
    residuals_by_group,
    sample_rows,
)
from qexp.kinds.spectra.figures import (
    Estimates,
    down_core,
    energies,
    errors_by_energy,
    estimates_by_core,
    reconstructions,
    saliency,
    sample_spectra,
)
from qexp.observations.noise import NoiseEstimate, Semivariogram
from qexp.observations.observation import CorrelatedNoise, Observation, Track
from qexp.results.intervals import Coverage
from qexp.rows.cell_means import CellMeans
from qexp.simulation.distributions import log_uniform, uniform
from qexp.trust.calibration import Statistics, TruthPositions, number_table

VOLUME = {"depth": "km", "delta_volume": "10⁶ m³"}


def drawn_at_random(seed=0):
    """Of NumPy's legacy generator, whose numbers are promised never to change."""
    return np.random.RandomState(seed)


# Rows.


def rows(number=55, seed=0):
    random = drawn_at_random(seed)
    measured = np.exp(random.uniform(-1, 2.5, number))
    estimated = measured * np.exp(0.3 * random.normal(size=number))
    return HeldOut(
        measured, estimated, [f"Apollo{11 + row % 7}-{row}" for row in range(number)], "wt%",
        (0.9 * estimated, 1.1 * estimated), [f"Apollo {11 + row % 7}" for row in range(number)],
    )  # fmt: skip


def of_classes(names, number=300, seed=0):
    """Posterior probabilities of classes that are normal about their own centres."""
    random = drawn_at_random(seed)
    centres = random.normal(size=(len(names), 4))
    codes = np.repeat(np.arange(len(names)), number)
    samples = centres[codes] + random.normal(size=(len(codes), 4))
    density = np.exp(-0.5 * ((samples[:, None] - centres) ** 2).sum(axis=2))
    return names, codes.astype(float), density / density.sum(axis=1, keepdims=True)


COVERED = [
    Coverage(
        output="tio2",
        interval=0.9,
        promised=0.9,
        of=of,
        name=name,
        n=n,
        covered=covered,
        range=ends,
        mean_width=width,
    )
    for of, name, n, covered, ends, width in (
        ("overall", "", 55, 51, (0.82, 0.98), 4.3),
        ("mission", "Apollo 17", 21, 12, (0.34, 0.78), 5.2),
        ("mission", "Luna 16", 1, 1, (0.03, 1.0), None),
    )
]


def lines(epochs, seed=0, outputs=("depth", "delta_volume")):
    """Of a run's `metrics.jsonl`."""
    random, best = drawn_at_random(seed), int(0.75 * epochs)
    for epoch in range(1, epochs + 1):
        loss = (1 + 0.2 * seed) * (np.exp(-epoch / 12) + 0.08 * random.uniform(0.6, 1.4))
        errors = {
            name: {"mae": scale * loss}
            for name, scale in zip(outputs, (0.4, 2.0, 1.0), strict=False)
        }
        validation = {"loss": 1.3 * loss, "losses": {}, **errors}
        yield {
            "epoch": epoch,
            "train": {"loss": loss},
            "validation": validation,
            "best": epoch == best,
        }


def fold(epochs, seed):
    return [
        {**line, "validation": {"loss": line["validation"]["loss"]}}
        for line in lines(epochs, seed % 5, outputs=())
    ]


def many_lines(outputs, runs=3):
    return {
        name: [list(lines(30, seed + first, outputs)) for seed in range(runs)]
        for name, first in (("learning_rate 0.001", 0), ("learning_rate 0.003", 3))
    }


def seeds(outputs=("depth", "delta_volume")):
    random = drawn_at_random(1)
    return {
        output: {
            name: OfSeeds(
                list(values := random.uniform(0.8, 1.2, 5) * mean),
                values.mean(),
                (0.9 * mean, 1.1 * mean),
            )
            for name, mean in (
                ("mogi_quick", scale),
                ("mogi_quick, learning_rate=3e-3", 1.3 * scale),
            )
        }
        for output, scale in zip(outputs, (0.1, 0.6), strict=True)
    }


def study(panels=1):
    random = drawn_at_random(2)
    lines = {
        name: Line(
            {
                str(value): OfSeeds(
                    list(random.uniform(0.9, 1.1, 3) * mean / value**0.3),
                    mean / value**0.3,
                    (0.8 * mean / value**0.3, 1.2 * mean / value**0.3),
                )
                for value in (30, 100, 300, 1000)
            }
        )
        for name, mean in (("scratch", 0.9), ("pretrained", 0.6))
    }
    return (
        {f"depth, test: panel {panel}": lines for panel in range(panels)}
        if panels > 1
        else {"": lines}
    )


def raster():
    x, y = (
        np.ravel(plane) for plane in np.meshgrid(np.linspace(20, 40, 60), np.linspace(-5, 5, 30))
    )
    filled = CellMeans(len(layers(["tio2"])))
    filled.add(
        x, y, np.stack([5 + 3 * np.sin(x / 3) * np.cos(y), 0.5 + 0.1 * np.cos(x), x > 36], axis=1)
    )
    return filled


# Fields and spectra.


def fields(shift=0.0):
    y, x = np.mgrid[0:40, 0:60]
    u = np.where((x - 30) ** 2 + 2 * (y - 20) ** 2 < 700, 200 * np.sin(x / 15 + shift), np.nan)
    return {
        "u": u.astype(np.float32),
        "v": np.where(np.isfinite(u), 80 + y, np.nan).astype(np.float32),
    }


def moment():
    units, where = {"u": "m year-1", "v": "m year-1"}, Extent(0, 12, 0, 8, "km")
    moments = [Moment("glacier_03, time 12.5 year", fields(), fields(0.15))]
    return next(iter(draw_moments(moments, units, [("u", "v")], where)))


def thickness():
    outputs = {
        name: {
            "mae": scale * np.array([3, 5, 8.0]),
            "rmse": scale * np.array([5, 8, 12.0]),
            "bias": [-1.0, 0, 2],
        }
        for name, scale in (("u", 1), ("v", 0.6), ("w", 0.1))
    }
    names, units = ["below 50 m", "50 to 150 m", "above 150 m"], dict.fromkeys(outputs, "m year-1")
    return errors_by_thickness(names, [10, 50, 40], outputs, {"u, v": [320.0, 22.0, 9.0]}, units)


def field_samples():
    names = {
        **VOLUME,
        "u": "m year-1",
        "v": "m year-1",
        "thickness": "m",
        "slope": "°",
        "surface": "m",
    }
    kept = list(names)[2:]
    samples = [
        FieldSample(
            f"glacier_{number:02d}\nframe {3 * number}",
            {name: (1 + place) * fields(number + place)["u"] for place, name in enumerate(kept)},
            [(5, 5, 16, 16)],
        )
        for number in range(3)
    ]
    return sample_fields(samples, names, "ice, train, patches")


WHERE = energies([0.01, 0.02], 2048)


def of_cores(count=5, number=12, seed=0):
    random = drawn_at_random(seed)
    measured = np.exp(random.uniform(-2, 1, count * number))
    cores = [f"core_{core:03d}" for core in range(count) for _ in range(number)]
    depths = np.tile(10.0 * np.arange(number), count)
    return Estimates(
        "toc",
        "wt%",
        cores,
        depths,
        measured * np.exp(0.3 * random.normal(size=len(cores))),
        measured,
        "mm",
    )


def spectrum(seed=0, channels=2048, title="core_001_0002.csv, core_001, 25 mm"):
    random = drawn_at_random(seed)
    expected = 300 * np.exp(-(((np.arange(channels) - 320) / 9) ** 2)) + 40 * np.exp(
        -np.arange(channels) / 400
    )
    hidden = np.repeat(random.uniform(size=channels // 16) < 0.75, 16)
    return title, random.poisson(expected).astype(np.float32), expected, hidden


def of_channels(seed=0):
    random = drawn_at_random(seed)
    return {
        name: np.exp(random.normal(size=2048))
        for name in ("network", "mean training spectrum", "noise")
    }


def of_saliency(seed=0, scale=1.0):
    random = drawn_at_random(seed)
    _, _, counts, _ = spectrum(seed)
    mean = np.sin(np.arange(2048) / 60) * counts / counts.max() + random.normal(0, 0.02, 2048)
    of_channels = {
        "toc_saliency": scale * mean,
        "toc_saliency_magnitude": np.abs(mean) + 0.05,
        "counts": counts,
    }
    variables = {
        name: ("channel", values, {"units": "wt%"}) for name, values in of_channels.items()
    }
    return xarray.Dataset(variables, {"energy": ("channel", WHERE)}, {"spectra": 256})


# Simulated images.


def uplift(depth, volume, side=40, reach=10.0, x=0.0):
    across, up = np.meshgrid(np.linspace(-reach, reach, side), np.linspace(-reach, reach, side))
    return 0.24 * volume * depth / ((across - x) ** 2 + up**2 + depth**2) ** 1.5


def image_samples(images=("displacement",), count=4):
    extent = Extent(-10, 10, -10, 10, "km")
    return [
        ImageSample(
            [f"depth {1.2 + 0.4 * number:.2f} km", f"volume change {2 + number} × 10⁶ m³"],
            {
                name: (1 - 2 * place) * uplift(2 + number, 2 + number)
                for place, name in enumerate(images)
            },
            dict.fromkeys(images, extent),
        )
        for number in range(count)
    ]


def predictions(posterior):
    random, table = drawn_at_random(3), {}
    for name, low, high in (("depth", 1.0, 4.0), ("delta_volume", 0.05, 20.0)):
        truth = np.exp(random.uniform(np.log(low), np.log(high), 200))
        estimate = truth * np.exp(0.08 * random.normal(size=200))
        attributes = {"units": VOLUME[name]}
        table |= {
            name: ("sample", truth, attributes),
            f"{name}_estimate": ("sample", estimate, attributes),
        }
        if posterior:
            ends = np.stack([0.8 * estimate, estimate, 1.2 * estimate], axis=1)
            table[f"{name}_quantile"] = (("sample", "quantile"), ends, attributes)
    return xarray.Dataset(table)


def of_test(predictions, limits, title):
    return of_estimates(predictions, outputs_among(predictions.data_vars), limits, title)


def calibration(draw, wrong=False):
    random, names, count = drawn_at_random(4), ("depth", "delta_volume"), 4000
    shares = random.uniform(size=(2, count))
    truth = np.stack([1 + 3 * shares[0], 10 ** (2 * shares[1])], axis=1)
    positions = random.beta(*(0.7, 0.7) if wrong else (1, 1), size=(count, 2))
    quantiles = truth[:, :, None] * np.linspace(0.8, 1.2, QUANTILES)
    located = TruthPositions(truth, positions, quantiles, positions[:, 0], positions[:, 1])
    prior = Prior(
        names,
        [
            of_training(*of, 1.0)
            for of in zip(names, (uniform(1, 4), log_uniform(1, 100)), strict=True)
        ],
        {},
    )
    numbers = number_table(Statistics(names, located, prior), QUANTITIES, {})
    return draw("mogi_posterior_0: 4,000 observations", names, numbers)


def matrix(kinds, names=("depth", "delta_volume"), axes=2):
    centres = np.linspace(1.05, 3.95, 30), np.linspace(0.55, 9.45, 30)
    depth, volume = np.meshgrid(*centres, indexing="ij")
    shapes = {
        "estimate": depth,
        "error": 0.1 * (depth - 2.5) * np.sin(volume),
        "refined_error": 0.05 * np.cos(depth),
        "relative_error": 4 * (depth - 2.5) * np.sin(volume),
        "standard_deviation": 0.02 * depth**2,
        "bound": 0.015 * depth**2,
        "over_bound": np.exp(0.3 * np.sin(volume) + 0.2),
    }
    planes = {kind: shapes[kind] if axes == 2 else shapes[kind][:, 15] for kind in kinds}
    ends = ((1.0, 4.0), (0.5, 9.5))
    cells = [(name, *of) for name, *of in zip(VOLUME, centres, ends, strict=True)][:axes]
    units = {**VOLUME, "x": "km"}
    title = "mogi_posterior_0 on mogi_test at x 0 km"
    held_out = {"depth": [(2.0, 2.4)], "delta_volume": [(3.0, 5.0)]}
    marks = held_out_of({"fixed": {}, "held_out": held_out}, cells, {})
    return matrix_panels(dict.fromkeys(names, planes), cells, units, marks, title)


def tables(axes=2):
    depths, volumes = np.linspace(1.05, 3.95, 20), np.linspace(0.55, 9.45, 20)
    found = {}
    for number in range(2):
        error = 0.3 * np.sin(depths + number)[:, None] * np.cos(volumes / 3)
        names, plane = ("depth", "delta_volume")[:axes], error if axes == 2 else error[:, 5]
        variables = {
            f"{output}_{kind}": (names, values, {"units": unit})
            for output in ("depth", "delta_volume", "x")
            for kind, values, unit in (
                ("estimate", plane, VOLUME.get(output, "km")),
                ("error", plane, VOLUME.get(output, "km")),
                ("relative_error", plane, "1"),
            )
        }
        coordinates = {"depth": ("depth", depths, {"units": "km"})}
        if axes == 2:
            coordinates["delta_volume"] = ("delta_volume", volumes, {"units": "10⁶ m³"})
        found[f"mogi_quick_{number}"] = [xarray.Dataset(variables, coordinates)]
    return found


INTERVALS = {"depth": [[2.0, 2.4], [3.5, None]], "delta_volume": [[2.0, 4.0]]}
RECORDS = {f"mogi_quick_{number}": {"held_out": INTERVALS, "fixed": {}} for number in range(2)}


# Observations and what explains them.


SIDE = 24


def positions():
    across, up = np.meshgrid(
        np.linspace(423_000, 438_000, SIDE), np.linspace(4_512_000, 4_525_000, SIDE)
    )
    return across.ravel(), up.ravel()


def displacement(x, y, towards=1.0):
    return towards * uplift_at(x - 430_600, y - 4_519_000) + 0.004 * np.sin(x / 900) * np.cos(
        y / 700
    )


def uplift_at(x, y, depth=3_000.0):
    return 2.4e6 * depth / (x**2 + y**2 + depth**2) ** 1.5


STATIONS = np.array([[426_000, 4_516_000], [430_000, 4_521_500], [434_000, 4_517_500]])


def track(name, east):
    x, y = positions()
    direction = np.tile([east, 0.1, 0.75], (len(x), 1))
    observed = np.hypot(x - 425_000, y - 4_523_000) > 1_500
    return Track(
        name, "radar", x, y, displacement(x, y), np.full(len(x), 0.005), direction, observed
    )


def stations():
    x, y = np.repeat(STATIONS, 3, axis=0).T
    direction = np.tile(np.eye(3), (3, 1))
    moved = np.array([-0.07, -0.05, 0.1, 0.0, 0.11, 0.12, 0.08, -0.04, 0.09])
    names = np.repeat(["RITE", "ACAE", "STRZ"], 3)
    return Track(
        "gnss", "gnss", x, y, moved, np.full(9, 0.003), direction, np.ones(9, bool), station=names
    )


def observation():
    return Observation((track("ascending", -0.65), track("descending", 0.65), stations()))


def explained(scale=1.0):
    maps = []
    for of in observation().tracks:
        points = of.where_observed()
        model = scale * (points.displacement * 0.95 + 0.002 * np.cos(points.x / 800))
        maps.append(Maps(points, points.displacement, model))
    return maps


def noise(name, sill, nugget, reach):
    distance = np.linspace(200, 9_800, 20)
    fits = {
        type: CorrelatedNoise(type, sill, reach * factor, nugget)
        for type, factor in (("exponential", 1.0), ("gaussian", 1.3))
    }
    value = nugget + sill * (1 - np.exp(-distance / reach)) * (1 + 0.08 * np.sin(distance / 500))
    return NoiseEstimate(
        Semivariogram(distance, value, np.full(20, 1000), 10_000.0), fits, "all points", 800
    )


def draws():
    random = drawn_at_random(5)
    covariance = [[1e4, 2, 0, 0], [2, 0.01, 0, 0.02], [0, 0, 4e4, 0], [0, 0.02, 0, 0.25]]
    values = random.multivariate_normal([430_600, 3.0, 4.519e6, 6.0], covariance, 3000)
    names = {"east": "m", "depth": "km", "north": "m", "delta_volume": "10⁶ m³"}
    return [Drawn(name, unit, {"": of}, truth) for (name, unit), of, truth in
            zip(names.items(), values.T, (430_650.0, 3.05, 4.5191e6, 5.8), strict=True)]  # fmt: skip


def grouped(random=None):
    random = random or drawn_at_random(6)
    groups = [f"Apollo {11 + row % 6}" for row in range(80)]
    parts = ["train" if group < "Apollo 15" else "test" for group in groups]
    return values_by_group(
        groups, parts, ["train", "test"], random.normal(5, 2, 80), "tio2", "wt%", "lunar"
    )


def varied():
    random, held_out = drawn_at_random(7), [(2.0, 2.4)]
    depth = random.uniform(1, 4, 5000)
    depth = depth[(depth < 2.0) | (depth > 2.4)]
    volume = np.exp(random.uniform(np.log(0.05), np.log(20), 5000))
    return [
        Histogram("depth", "km", {"train": depth}, held_out),
        Histogram("delta_volume", "10⁶ m³", {"train": volume}),
        Histogram("x", "km", {"train": random.uniform(-5, 5, 5000)}),
        Histogram("y", "km", {"train": random.uniform(-5, 5, 5000)}),
    ]


def columns():
    random = drawn_at_random(8)
    names = [f"{wavelength}nm" for wavelength in range(400, 760, 20)]
    every = (
        0.2 + 0.1 * np.sin(np.arange(len(names)) / 3) + 0.02 * random.normal(size=(60, len(names)))
    )
    samples = [(f"Apollo {11 + row}, station {row}", every[row]) for row in range(6)]
    return sample_rows(samples, names, "reflectance", "", every, "lunar, train")


NOTE = "selected on the test data"

QUANTILES = 5

OUTPUTS = ("depth", "delta_volume", "x")


def searched(number=30):
    """Three keys in the trials of a search, and their errors; some trials were given up."""
    random, sizes = drawn_at_random(6), ["[64, 64, 64]", "[256]", "[1024, 256]"]
    rates, decay = 10 ** random.uniform(-5, -2, number), random.uniform(0, 0.1, number)
    chosen = random.randint(0, 3, number)
    errors = 0.02 * (1 + chosen) * (1 + np.abs(np.log10(rates) + 3)) * (1 + decay)
    keys = [
        Varied("learning_rate", rates, [], log=True, importance=0.7),
        Varied(
            "model.operations.head.parameters.sizes",
            [sizes[one] for one in chosen],
            sizes,
            log=False,
        ),
        Varied("weight_decay", decay, [], log=False, importance=0.1),
    ]
    return errors, errors > 0.15, keys


def of_search():
    errors, pruned, keys = searched()
    return search_panels(
        "validation: depth r2", 1 - errors, pruned, keys, highest=True, title="30 trials"
    )


def of_trade_off():
    errors, _, keys = searched()
    table = np.stack([errors, 1 / errors, drawn_at_random(7).rand(len(errors))], axis=1)
    labels = [f"validation: {name} mae" for name in ("depth", "delta volume", "x")]
    return front(labels, table, keys, (table[:, 2] < 0.2).tolist(), "30 trials of mogi_quick")


DRAWINGS = {
    "learning_curve": lambda: learning_curves({"mogi_quick_0": list(lines(30))}, VOLUME, NOTE),
    "learning_curves": lambda: learning_curves(
        {f"quick_{seed}": list(lines(30, seed)) for seed in (0, 1)}, VOLUME
    ),
    "learning_bands": lambda: learning_bands(many_lines(OUTPUTS), OF_WHAT, {**VOLUME, "x": "km"}),
    "fold_curves": lambda: fold_curves(
        [fold(40, seed) for seed in range(9)], [25 + seed for seed in range(9)], NOTE
    ),
    "test_errors": lambda: errors_of_seeds(seeds(), VOLUME),
    "values_in_rows": lambda: values_in_rows(
        seeds()["depth"], "mean absolute error (km)", "mogi_quick"
    ),
    "search": of_search,
    "search_of_several": of_trade_off,
    "study": lambda: study_panels(
        study(), "n_train", ["30", "100", "300", "1000"], "test depth: mae (km)"
    ),
    "study_of_four": lambda: study_panels(
        study(4), "n_train", ["30", "100", "300", "1000"], "depth: mae (km)"
    ),
    "held_out": lambda: estimates_against_measured(
        {"tio2": rows(), "feo": rows(seed=1)}, "10 networks", NOTE
    ),
    "residuals": lambda: residuals_by_group({"tio2": rows(), "feo": rows(seed=1)}, NOTE),
    "coverage": lambda: coverage_by_group(COVERED, "wt%", "tio2", NOTE),
    "classes": lambda: class_panels(
        *of_classes(["basalt", "granite", "schist"]), "stones_0: rock, held-out rows"
    ),
    "row_samples": columns,
    "values_by_group": grouped,
    "map_of_rows": lambda: draw_map(
        raster(),
        ("longitude", "latitude"),
        {"tio2": "wt%"},
        "lunar_tio2",
        "ensemble standard deviation",
    ),
    "histograms": lambda: histograms(varied(), "mogi, train", "samples"),
    "frame": moment,
    "errors_by_thickness": thickness,
    "field_samples": field_samples,
    "estimates_by_core": lambda: estimates_by_core(of_cores(), NOTE),
    "down_core": lambda: down_core(of_cores(9), NOTE),
    "reconstructions": lambda: reconstructions([spectrum(0), spectrum(1)], WHERE, NOTE),
    "saliency": lambda: saliency(of_saliency(), "toc", NOTE),
    "errors_by_energy": lambda: errors_by_energy(of_channels(), WHERE, NOTE),
    "spectrum_samples": lambda: sample_spectra(
        [(f"core_{n:03d}, {25 * n} mm", spectrum(n)[1]) for n in range(4)], WHERE, "xrf, train"
    ),
    "image_samples": lambda: sample_images(image_samples(), {"displacement": "m"}, "mogi, train"),
    "samples_of_views": lambda: sample_images(
        image_samples(("displacement", "displacement_1"), 2),
        dict.fromkeys(("displacement", "displacement_1"), "m"),
        "two views, train",
        ("ascending", "descending"),
    ),
    "image_grid": lambda: image_grid(
        np.array([[uplift(depth, volume, 24) for volume in (1, 4, 9)] for depth in (1, 2, 3, 4)]),
        [
            Side("depth", np.array([1.0, 2, 3, 4]), "km"),
            Side("delta_volume", np.array([1.0, 4, 9]), "10⁶ m³"),
        ],
        (-10, 10, -10, 10),
        "displacement (m)",
        "mogi",
    ),
    "test_estimates": lambda: of_test(predictions(False), {}, "mogi_quick_0: test part"),
    "test_posteriors": lambda: of_test(
        predictions(True), {"depth": 0.05}, "mogi_posterior_0: test part"
    ),
    "calibration_ranks": lambda: calibration(ranks),
    "calibration_coverage": lambda: calibration(coverage, wrong=True),
    "calibration_local": lambda: calibration(local, wrong=True),
    "matrix": lambda: matrix(
        ("estimate", "error", "relative_error"), ("depth", "delta_volume", "x")
    ),
    "matrix_of_posteriors": lambda: matrix(
        ("estimate", "error", "relative_error", "standard_deviation", "bound", "over_bound")
    ),
    "matrix_of_one_axis": lambda: matrix(("estimate", "error", "relative_error"), axes=1),
    "matrices": lambda: side_by_side(tables(), "mogi_test", (), RECORDS),
    "matrices_of_one_axis": lambda: side_by_side(tables(1), "mogi_test"),
    "tracks": lambda: draw_tracks(observation(), "unrest.nc"),
    "inversion": lambda: inversion_maps(
        explained(), [np.array([(430.6, 4519.0)])], "mogi · depth 3.01 ± 0.05 km", "offset"
    ),
    "residual_maps": lambda: residual_maps(
        [("mogi", explained()), ("sill", explained(0.8))], "Residuals"
    ),
    "semivariograms": lambda: draw_semivariograms(
        {
            "ascending": noise("ascending", 2e-5, 2e-6, 2_500),
            "descending": noise("descending", 8e-6, 1.2e-5, 4_000),
        },
        "unrest: semivariograms without the signal",
    ),
    "posterior": lambda: corner(draws(), "Posterior of mogi: 3,000 draws"),
}
"""Kind of figure → what draws it."""

SPHEROID = {
    "x": "km",
    "depth": "km",
    "semi_major_axis": "km",
    "strike": "°",
    "pressure_over_mu": "",
}


def of_spheroid():
    random, table = drawn_at_random(9), {}
    for name, unit in SPHEROID.items():
        truth = random.uniform(-1, 1, 40)
        for key, values in ((name, truth), (f"{name}_estimate", 0.01 * truth)):
            table[key] = ("sample", values, {"units": unit})
    return of_test(xarray.Dataset(table), {}, "spheroid_" * 8)


def stations_alone():
    *_, of_stations = explained()
    return inversion_maps(
        [of_stations], [np.array([(430.6, 4519.0)])], "mogi · depth 3.01 ± 0.05 km · " * 4, ""
    )


DIFFICULT = {
    "many classes with long names": lambda: class_panels(
        *of_classes([f"hornblende gabbro {n} with olivine" for n in range(30)], 20), "rocks"
    ),
    "outputs with long names": of_spheroid,
    "long names after one epoch": lambda: learning_curves(
        {"one_0": list(lines(1, 0, list(SPHEROID)))}, SPHEROID
    ),
    "long titles of spectra": lambda: sample_spectra(
        [
            (f"core_{n:03d}, depth {900 + n} mm, organic carbon 0.365 wt%", spectrum(n)[1])
            for n in range(5)
        ],
        WHERE,
        "xrf, train",
    ),
    "contributions of few digits": lambda: saliency(of_saliency(scale=0.01), "toc", ""),
    "many groups of seeds": lambda: learning_bands(
        {f"learning_rate 0.00{n}, batch_size {n}": [list(lines(9, n))] for n in range(8)},
        OF_WHAT,
        VOLUME,
    ),
    "stations alone": stations_alone,
}
"""What is hard to lay out → what draws it."""
