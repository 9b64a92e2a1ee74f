"""Sources that add up, and views of them: in degrees, with masks, scattered points, stations and
elevations.
"""

import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from qexp.base.quantities import QUANTITIES, Quantity
from qexp.base.seeds import Seeds
from qexp.base.tables import Entry
from qexp.base.workspace import Workspace
from qexp.errors import DatasetError, QexpError
from qexp.kinds.images.experiment import require_variables_of
from qexp.kinds.objects import data_kind, dataset_of
from qexp.kinds.tables import BUILT_IN
from qexp.physics.point import mogi
from qexp.simulation.dataset import GeneratedDataset
from qexp.simulation.distributions import uniform
from qexp.simulation.generators import GENERATORS, DeformationImages, Requirement, Source
from qexp.simulation.noise import WhiteNoise
from qexp.simulation.noise_models import Component, NoiseModel
from qexp.spec.kinds import filled_in
from qexp.spec.resolution import replaced

ONE = {
    "type": "generated",
    "generation_type": "mogi",
    "size": [8, 12],
    "fixed": {
        "azimuth": 0.4,
        "incidence": 0.6,
        "x_res": 0.1,
        "y_res": 0.2,
        "x": 0.1,
        "y": -0.2,
        "delta_volume": 1.0,
    },
    "varyings": {"depth": [[0.2, 0.4]]},
    "distributions": {"depth": {"type": "uniform", "parameters": {"a": 1, "b": 3}}},
}


@pytest.fixture
def root(tmp_path):
    (tmp_path / "data").mkdir()
    return tmp_path


def document(*removed, **changes):
    """The document `ONE` without some fixed variables, with other keys; `fixed` adds to those that
    are fixed.
    """
    dataset = {**copy.deepcopy(ONE), **changes}
    fixed_values = {name: value for name, value in ONE["fixed"].items() if name not in removed}
    return {**dataset, "fixed": {**fixed_values, **changes.get("fixed", {})}}


def open_dataset(dataset, root=None):
    return dataset_of(dataset, BUILT_IN, None if root is None else Workspace(root))


def observe(dataset, root=None, **values):
    """The sample for given values, (1, ...) each; depth is 2 km unless given."""
    values = {name: np.array([value]) for name, value in (values or {"depth": 2.0}).items()}
    return open_dataset(dataset, root).observe(values, torch.Generator().manual_seed(0))


def image(dataset, root=None, **values):
    return observe(dataset, root, **values)["displacement"][0, 0]


def problems_of(dataset, root=None):
    """The problems of a document, as `WHERE: MESSAGE`."""
    from qexp.kinds.experiments import SpecCache

    cache = SpecCache(BUILT_IN, Workspace(root or Path()), 2**33)
    return [
        f"{'.'.join(map(str, where))}: {message}" for where, message in cache.dataset(dataset)[1]
    ]


def test_angles_in_degrees_make_the_images_of_the_same_angles_in_radians():
    degrees = document(
        fixed={"azimuth": math.degrees(0.4), "incidence": math.degrees(0.6)}, angles="degrees"
    )
    torch.testing.assert_close(image(degrees), image(document()), rtol=1e-5, atol=1e-9)
    assert torch.equal(image(document(angles="radians")), image(document()))


def test_a_heading_takes_the_place_of_an_azimuth():
    by_azimuth = document(fixed={"azimuth": 180 + 12.5 - 180, "incidence": 34}, angles="degrees")
    by_heading = document(
        "azimuth", "incidence", views=[{"heading": -12.5, "incidence": 34}], angles="degrees"
    )
    torch.testing.assert_close(image(by_heading), image(by_azimuth), rtol=1e-5, atol=1e-9)
    left = document(
        "azimuth",
        views=[{"heading": -12.5, "look": "left"}],
        fixed={"incidence": 34},
        angles="degrees",
    )
    opposite = document(fixed={"azimuth": 12.5 + 180, "incidence": 34}, angles="degrees")
    torch.testing.assert_close(image(left), image(opposite), rtol=1e-4, atol=1e-8)


def test_a_heading_varies_like_any_variable():
    varying = document(
        "azimuth",
        varyings={"heading": [[0.2, 0.4]]},
        distributions={"heading": {"type": "uniform", "parameters": {"a": -20, "b": 0}}},
        fixed={"depth": 2.0, "incidence": 34},
        angles="degrees",
    )
    fixed = document(fixed={"azimuth": 10, "incidence": 34}, angles="degrees")
    torch.testing.assert_close(image(varying, heading=-10.0), image(fixed), rtol=1e-5, atol=1e-9)


def two_sources(**changes):
    dataset = document(
        "x",
        "y",
        "delta_volume",
        **{
            "sources": [{"type": "mogi", "name": "a"}, {"type": "mogi", "name": "b"}],
            "fixed": {
                "a.x": 0.1,
                "a.y": -0.2,
                "a.delta_volume": 1,
                "b.x": -0.3,
                "b.y": 0,
                "b.depth": 1.5,
            },
            "varyings": {"a.depth": [[0.2, 0.4]], "b.delta_volume": [[0.2, 0.4]]},
            "distributions": {
                "a.depth": {"type": "uniform", "parameters": {"a": 1, "b": 3}},
                "b.delta_volume": {"type": "uniform", "parameters": {"a": -3, "b": 3}},
            },
            **changes,
        },
    )
    return without(dataset, "generation_type")


def without(dataset, *keys):
    return {key: value for key, value in dataset.items() if key not in keys}


EVENLY = {"type": "uniform", "parameters": {"a": 0.1, "b": 0.9}}
TURN = {
    "a fixed azimuth": (document(), {}, {"azimuth": 0.4 + 0.3}),
    "degrees": (document(angles="degrees"), {}, {"azimuth": 0.4 + math.degrees(0.3)}),
    "a heading": (document("azimuth", fixed={"heading": 0.2}), {}, {"heading": 0.2 - 0.3}),
    "the number of a view": (
        document("azimuth", views=[{"azimuth": 0.2}]),
        {},
        {"azimuth": 0.2 + 0.3},
    ),
    "a second view": (
        document(fixed={"azimuth_1": 0.6, "incidence_1": 0.1, "x_res_1": 0.1, "y_res_1": 0.1}),
        {},
        {"azimuth": 0.4 + 0.3, "azimuth_1": 0.6 + 0.3},
    ),
    "an azimuth that varies": (
        document(
            "azimuth",
            varyings={"azimuth": []},
            distributions={"azimuth": EVENLY},
            fixed={"depth": 2.0},
        ),
        {"azimuth": (0.1 + 0.3, 0.9 + 0.3)},
        {},
    ),
}


@pytest.mark.parametrize("case", TURN)
def test_a_turned_dataset_has_all_its_looks_turned_by_the_angle(case):
    before, support, fixed = TURN[case]
    turned_dataset = before
    for key, value in data_kind(before).turned(before, 0.3).items():
        turned_dataset = replaced(turned_dataset, key, value)
    dataset = open_dataset(turned_dataset)
    assert {name: dataset.fixed[name] for name in fixed} == pytest.approx(fixed)
    assert {name: dataset.distributions[name].support() for name in support} == support
    others = {
        name: value for name, value in open_dataset(before).fixed.items() if name not in fixed
    }
    assert {name: dataset.fixed[name] for name in others} == others


def test_normal_directions_move_and_those_of_a_bounded_form_are_refused():
    mu = {
        "type": "truncated_normal",
        "parameters": {"mu": 0.1, "sigma": 1.0, "low": -1.0, "high": 1.0},
    }
    turning = document("azimuth", varyings={"azimuth": []}, distributions={"azimuth": mu}, fixed={"depth": 2.0},
                       matrix={"axes": {"azimuth": [-1, 1]}})  # fmt: skip
    changes = data_kind(turning).turned(turning, 0.5)
    assert changes["distributions.azimuth"]["parameters"] == {
        "mu": 0.6,
        "sigma": 1.0,
        "low": -0.5,
        "high": 1.5,
    }
    assert changes["matrix.axes.azimuth"] == [-0.5, 1.5]
    turning["distributions"]["azimuth"] = {
        "type": "log_normal",
        "parameters": {"mu": 0.0, "sigma": 1.0},
    }
    with pytest.raises(QexpError, match=r"'azimuth' must be \+0\.5 larger"):
        data_kind(turning).turned(turning, 0.5)


def test_the_displacements_of_several_sources_add_up_and_their_variables_carry_their_names():
    both = two_sources()
    sample = observe(both, **{"a.depth": 2.0, "b.delta_volume": -2.0})
    other = image(document(fixed={"x": -0.3, "y": 0.0, "delta_volume": -2.0}), depth=1.5)
    torch.testing.assert_close(
        sample["displacement"][0, 0], image(document()) + other, rtol=1e-4, atol=1e-8
    )
    assert {"a.depth", "b.depth", "b.delta_volume", "a.x"} <= set(sample)
    assert set(open_dataset(both).shapes()) == set(sample)


def test_one_source_without_a_name_is_its_generation_type_and_may_have_parameters():
    assert torch.equal(
        image(without(document(sources=[{"type": "mogi"}]), "generation_type")), image(document())
    )
    stiff = without(
        document(sources=[{"type": "mogi", "parameters": {"poisson_ratio": 0.4}}]),
        "generation_type",
    )
    torch.testing.assert_close(image(stiff), image(document()) * 0.6 / 0.75, rtol=1e-5, atol=1e-9)


def test_every_view_has_its_size_and_points_see_what_pixels_at_their_places_see():
    points = [[0.1 * (column - 6), 0.2 * (row - 4)] for row, column in ((1, 2), (7, 11), (4, 6))]
    second = {"azimuth": 0.4, "incidence": 0.6}
    dataset = document(
        views=[
            {},
            {**second, "x_res": 0.1, "y_res": 0.2, "size": [4, 6]},
            {**second, "points": points},
        ]
    )
    sample = observe(dataset)
    assert {name: tuple(value.shape) for name, value in sample.items()} == {
        name: (1, *shape) for name, shape in open_dataset(dataset).shapes().items()
    }
    pixels = sample["displacement"][0, 0]
    torch.testing.assert_close(sample["displacement_1"][0, 0], pixels[2:6, 3:9])
    expected = torch.stack([pixels[1, 2], pixels[7, 11], pixels[4, 6]])
    torch.testing.assert_close(sample["displacement_2"][0, 0, :, 0], expected, rtol=1e-4, atol=1e-8)


def test_stations_measure_three_components_with_their_errors_by_which_templates_without_any_are_weighted():
    points, errors = [[0.0, 0.0], [1.0, -0.5]], [0.001, 0.002, 0.005]
    dataset = document(views=[{}, {"type": "gnss", "points": points}])
    expected = mogi(torch.tensor([[100.0, -200.0, 2000.0, 1e6]]), 1000 * torch.tensor(points))[0].T
    torch.testing.assert_close(
        observe(dataset)["displacement_1"][0, :, :, 0], expected, rtol=1e-5, atol=1e-9
    )
    noisy = open_dataset(document(views=[{}, {"type": "gnss", "points": points, "errors": errors}]))
    many = noisy.observe({"depth": np.full(4000, 2.0)}, torch.Generator().manual_seed(1))[
        "displacement_1"
    ]
    deviations = torch.tensor(errors)[:, None]
    torch.testing.assert_close(
        (many[..., 0] - expected).std(0), deviations.expand(3, 2), rtol=0.05, atol=0
    )
    templates, weighted = noisy.templates("displacement_1", "depth", np.array([1.0, 2.0]))
    torch.testing.assert_close(templates[1, :, :, 0], expected, rtol=1e-5, atol=1e-9)
    torch.testing.assert_close(weighted[1, :, :, 0], expected / deviations**2, rtol=1e-5, atol=1e-3)


def test_a_mask_hides_pixels_and_is_an_input_besides_the_image(root):
    mask = np.ones((8, 12))
    mask[:3, 4:] = 0
    np.save(root / "data/sea.npy", mask)
    sample = observe(document(views=[{"mask": "sea.npy"}], fixed={"noise": 0.1}), root)
    assert (sample["mask"][0, 0].numpy() == mask).all()
    assert ((sample["displacement"][0, 0].numpy() != 0) == (mask == 1)).all()


def test_masks_of_files_with_coordinates_are_turned_to_rows_from_south_to_north(root):
    import rasterio
    import xarray

    mask = np.ones((8, 12))
    mask[0, 3] = 0  # in the south
    north_up = {"width": 12, "height": 8, "count": 1, "dtype": "uint8", "driver": "GTiff"}
    corner = rasterio.transform.from_origin(0, 1000, 100, 100)
    with rasterio.open(root / "data/sea.tif", "w", **north_up, transform=corner) as file:
        file.write(mask[::-1].astype("uint8"), 1)
    with (
        pytest.warns(rasterio.errors.NotGeoreferencedWarning),
        rasterio.open(root / "data/picture.tif", "w", **north_up) as file,
    ):
        file.write(mask[::-1].astype("uint8"), 1)
    falling = xarray.DataArray(
        mask[::-1], {"y": np.arange(8.0)[::-1], "x": np.arange(12.0)}, ["y", "x"], "mask"
    )
    falling.to_netcdf(root / "data/sea.nc", engine="h5netcdf")
    for name in ("sea.tif", "picture.tif", "sea.nc"):
        assert (observe(document(views=[{"mask": name}]), root)["mask"][0, 0].numpy() == mask).all()


def test_each_pixel_has_the_depth_below_its_own_elevation(root):
    elevation = np.random.default_rng(0).uniform(-300, 1500, (8, 12))
    np.save(root / "data/hills.npy", elevation)
    over_hills = image(document(views=[{"elevation": "hills.npy"}]), root)
    for row, column in ((0, 0), (3, 7), (7, 11)):
        flat = image(document(), depth=2.0 + elevation[row, column] / 1000)[row, column]
        torch.testing.assert_close(over_hills[row, column], flat, rtol=1e-4, atol=1e-8)


def wide(**kwargs):
    """Spheres whose radius may be larger than their depth, which they must not."""
    below = Requirement("lie below the surface", lambda values: values["radius"] < values["depth"])
    source = Source(("x", "y", "depth", "radius"), mogi, requirements=(below,))
    fixed = {"azimuth": 0.0, "incidence": 0.3, "x_res": 0.1, "y_res": 0.1, "x": 0.0, "y": 0.0}
    test = {"depth": [(0.0, 0.3)], "radius": [(0.5, 0.7)]}
    distributions = {"depth": uniform(0.5, 2), "radius": uniform(0.1, 1.1)}
    return GeneratedDataset(
        DeformationImages(source, **kwargs),
        (4, 4),
        fixed,
        test,
        distributions,
        NoiseModel([Component(WhiteNoise())]),
    )


def test_impossible_values_are_drawn_again_and_counted_and_the_others_stay():
    source, seeds = wide(), Seeds(1)
    part = source.parts([0.8, 0.2], seeds)["test"]
    drawn = source.values(part, 2000, seeds, ("test",))
    assert (drawn["radius"] < drawn["depth"]).all()
    assert ((drawn["depth"] >= 0.5) & (drawn["depth"] <= 0.95)).all()
    free = wide()
    free.generator = DeformationImages(Source(("x", "y", "depth", "radius"), mogi))
    unchecked = free.values(part, 2000, seeds, ("test",))
    possible = unchecked["radius"] < unchecked["depth"]
    assert 0.2 < possible.mean() < 0.8
    for name, values in drawn.items():
        assert (values[possible] == unchecked[name][possible]).all()
    assert source.redrawn >= 2000 - possible.sum()
    again = wide().values(part, 2000, seeds, ("test",))
    assert all((again[name] == drawn[name]).all() for name in drawn)


@pytest.mark.heavy
def test_a_part_without_a_possible_sample_is_an_error_that_says_why():
    source = wide()
    source.distributions["radius"] = uniform(3, 4)
    with pytest.raises(DatasetError, match="the source must lie below the surface"):
        source.values(source.test, 5, Seeds(0), ("test",))


def test_a_point_source_must_be_below_the_deepest_ground(root):
    np.save(root / "data/abyss.npy", np.full((8, 12), -1500.0))
    dataset = document(views=[{"elevation": "abyss.npy"}])
    assert open_dataset(dataset, root).possible({"depth": np.array([1.4, 1.6])}, 2).tolist() == [
        False,
        True,
    ]
    with pytest.raises(DatasetError, match="must lie below the lowest ground, -1500 m"):
        image(dataset, root, depth=1.4)
    doubts = (
        data_kind({"type": "generated"})
        .checked_dataset(filled_in(dataset), BUILT_IN, Workspace(root))
        .warnings
    )
    # The quantiles 0.2 to 0.4 are held out: of the others, those below 0.25 are impossible.
    assert [float(doubt.split(" % of the draws")[0]) for doubt in doubts] == pytest.approx(
        [25, 25], abs=2
    )


@pytest.mark.parametrize(("width", "share"), [((30, 60), "all"), ((5, 60), "9")])
def test_distributions_of_hardly_any_possible_source_are_refused_before_a_training(width, share):
    dataset = document(
        "delta_volume",
        generation_type="okada",
        fixed={"length": 1, "strike": 0, "dip": 1.5, "strike_slip": 0, "dip_slip": 0, "opening": 1},
        varyings={"depth": [[0.2, 0.4]], "width": [[0.2, 0.4]]},
        distributions={
            "depth": ONE["distributions"]["depth"],
            "width": {"type": "uniform", "parameters": dict(zip("ab", width, strict=True))},
        },
    )
    (problem,) = problems_of(dataset)
    assert problem.startswith(f"varyings: {share}")
    assert (
        "of 4,096 draws of the training part are impossible: the source must lie below the surface"
        in problem
    )


def test_angles_of_another_unit_than_the_network_was_trained_on_are_refused():
    degrees = open_dataset(document(angles="degrees"))
    channels, *size = degrees.shapes()["displacement"]
    sizes = {"displacement": {"size": [*size, channels]}, "incidence": {"size": [1]}}
    spec = {
        "dataset": document(),
        "model": {"inputs": sizes},
        "inputs": [*sizes],
        "outputs": ["depth"],
    }
    with pytest.raises(
        QexpError, match="run_0 was trained on 'incidence' in rad, but the dataset has it in °"
    ):
        require_variables_of(spec, degrees, BUILT_IN, "run_0")
    require_variables_of({**spec, "inputs": ["displacement"]}, degrees, BUILT_IN, "run_0")


def test_a_source_of_a_workspace_adds_to_the_others():
    twice = Source(
        ("x", "y", "depth", "strength"), lambda source, stations: 2 * mogi(source, stations)
    )
    entry = Entry(lambda: DeformationImages(twice), {}, "Twice a point source.", {"type": "twice"})
    strength = Quantity("10⁶ m³", 1e6, "of twice a point source")
    own = {
        "generators": {**GENERATORS, "twice": entry},
        "quantities": {**QUANTITIES, "strength": strength},
    }
    fixed = {"own.x": 0.1, "own.y": -0.2, "own.depth": 2.0, "own.strength": 1.0}
    declared = two_sources(
        sources=[{"type": "mogi", "name": "a"}, {"type": "twice", "name": "own"}],
        fixed={**fixed, "a.x": 0.1, "a.y": -0.2, "a.delta_volume": 1},
        varyings={"a.depth": [[0.2, 0.4]]},
        distributions={"a.depth": ONE["distributions"]["depth"]},
    )
    dataset = data_kind({"type": "generated"}).checked_dataset(
        filled_in(declared), BUILT_IN | own, None
    )
    sample = dataset.observe({"a.depth": np.array([2.0])}, torch.Generator())["displacement"][0, 0]
    torch.testing.assert_close(sample, 3 * image(document()), rtol=1e-4, atol=1e-8)


MASKED = {"views": [{"mask": "mask.npy"}]}

WRONG = {
    "degrees where radians belong": (
        document(fixed={"incidence": 34.0}),
        (
            "fixed.incidence: must be at most 1.5708 rad, but is 34; if angles are in degrees, add"
            ' "angles": "degrees"'
        ),
    ),
    "degrees in a view": (
        document("incidence", views=[{"incidence": 34.0}]),
        "views.0.incidence: must be at most 1.5708 rad, but is 34; if angles are in degrees",
    ),
    "an impossible angle in degrees": (
        document(fixed={"incidence": 134.0}, angles="degrees"),
        "fixed.incidence: must be at most 90 °, but is 134",
    ),
    "no generator": (
        without(document(), "generation_type"),
        ": the key 'generation_type' is missing",
    ),
    "two generators": (
        document(sources=[{"type": "mogi"}]),
        "generation_type: the dataset has 'sources'",
    ),
    "a source without a name": (
        two_sources(sources=[{"type": "mogi"}, {"type": "mogi", "name": "b"}]),
        "sources.0: each of several sources needs a 'name'",
    ),
    "sources of one name": (
        two_sources(sources=[{"type": "mogi", "name": "b"}] * 2),
        "sources.1.name: source 0 is called 'b', too",
    ),
    "an unknown source": (
        without(document(sources=[{"type": "mogy"}]), "generation_type"),
        "sources.0.type: no source 'mogy'; did you mean 'mogi'?",
    ),
    "a variable of no source": (
        two_sources(fixed={**two_sources()["fixed"], "c.depth": 1}),
        "fixed.c.depth: this dataset has no 'c.depth'; did you mean",
    ),
    "both directions": (
        document(views=[{"heading": 0.1}]),
        "views.0: both 'azimuth' and 'heading' are given",
    ),
    "a side without a heading": (
        document(views=[{"look": "left"}]),
        "views.0.look: the side of the look only matters",
    ),
    "neither direction": (document("azimuth"), "fixed: 'azimuth' has no value"),
    "two values": (
        document(views=[{"incidence": 0.3}]),
        "views.0.incidence: 'incidence' has a value in 'fixed'",
    ),
    "stations nowhere": (
        document(views=[{}, {"type": "gnss"}]),
        'views.1: GNSS stations need "points"',
    ),
    "errors of an image": (
        document(views=[{"errors": [1, 1, 1]}]),
        "views.0.errors: 'errors' are for GNSS stations",
    ),
    "errors of two components": (
        document(views=[{}, {"type": "gnss", "points": [[0, 0]], "errors": [1, 1]}]),
        "views.1.errors: must be three numbers",
    ),
    "errors of other stations": (
        document(
            views=[{}, {"type": "gnss", "points": [[0, 0]], "errors": [[1, 1, 1], [1, 1, 1]]}]
        ),
        "views.1.errors: there are errors of 2 stations, but 1 stations",
    ),
    "a view that is not listed": (
        document(views=[{}], fixed={"azimuth_1": 0, "incidence_1": 0, "x_res_1": 1, "y_res_1": 1}),
        "fixed.azimuth_1: 'views' lists 1",
    ),
    "views of one name": (
        document(
            views=[{"name": "a"}, {"name": "a", "points": [[0, 0]]}],
            fixed={"azimuth_1": 0, "incidence_1": 0},
        ),
        "views.1.name: view 0 is called 'a', too",
    ),
    "a mask that is nowhere": (document(**MASKED), "views.0.mask: there is no file 'mask.npy'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_contradicts_itself_is_told_with_its_place_and_what_would_work(case, root):
    dataset, expected = WRONG[case]
    problems = problems_of(dataset, root)
    assert any(problem.startswith(expected) for problem in problems), problems


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (np.zeros((8, 12)), "masks all 96 pixels"),
        (np.full((8, 12), 0.5), "must be 1 where a pixel is seen and 0"),
        (np.ones((4, 4)), "holds 4 x 4 values, but the image has 8 x 12"),
        (np.full((8, 12), np.nan), "masks all 96 pixels"),
    ],
)
def test_a_mask_that_cannot_be_meant_is_refused(mask, expected, root):
    np.save(root / "data/mask.npy", mask)
    (problem,) = problems_of(document(**MASKED), root)
    assert expected in problem
    assert problem.startswith("views.0.mask: ")
