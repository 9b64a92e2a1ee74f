"""A generator of a workspace names its images as it likes, also where they have noise."""

import json

import numpy as np
import pytest
import torch

from qexp.kinds.objects import dataset_of
from qexp.kinds.tables import tables_with

GRAVITY = '''
import torch

from qexp.extend import Entry, Quantity


class Gravity:
    """The attraction of a buried point mass, seen on a grid of its own width; a toy."""

    def required(self, variables):
        return ["depth", "mass", "spacing"]

    def images(self, variables):
        return ["gravity"]

    def simulate(self, values, height, width):
        rows, columns = (torch.arange(size) - size / 2 for size in (height, width))
        depth, mass, spacing = (values[name][:, None, None] for name in ("depth", "mass", "spacing"))
        distance = ((rows[:, None] ** 2 + columns**2) * spacing**2 + depth**2) ** 0.5
        return {"gravity": 6.674e-11 * mass * depth / distance**3 * 1e8}

    def pixel_sizes(self, image, values):
        return values["spacing"], values["spacing"]


GENERATORS = {"gravity": Entry(Gravity, {}, "A point mass.", {"type": "gravity"})}
QUANTITIES = {
    "gravity": Quantity("10⁻⁸ m s⁻²", 1.0, "attraction"),
    "mass": Quantity("10⁹ kg", 1e9, "mass of the source", above=0.0),
    "spacing": Quantity("km", 1e3, "width of a pixel", above=0.0),
}
'''

LOGARITHMIC = {"type": "log_normal", "parameters": {"mu": 0.0, "sigma": 0.3}}


@pytest.fixture
def gravity(specs):
    """A workspace whose specs invert images called `gravity`, with noise."""
    (specs.root / "specs/extensions.py").write_text(GRAVITY)
    specs.spoil(
        "dataset",
        ("generation_type", "gravity"),
        ("fixed", {"spacing": 0.2, "noise": 0.5}),
        ("varyings", {"depth": [[0.2, 0.4]], "mass": [[0.6, 0.7]]}),
        ("distributions", {"depth": LOGARITHMIC, "mass": LOGARITHMIC}),
        ("matrix", {"axes": {"depth": [0, 4], "mass": [0, 4]}, "resolution": 4}),
    )
    names = [
        ("branches.0.x_name", "gravity"),
        ("branches.2.y_name", "mass"),
        ("outputs", ["depth", "mass"]),
    ]
    specs.spoil("model", ("inputs", {"gravity": {"size": [16, 16, 1]}}), *names)
    losses = [
        ("losses", {"depth": "mae", "mass": "mae"}),
        ("transforms", {}),
        ("metrics", {}),
        ("epochs", 1),
    ]
    specs.spoil("experience", ("inputs", ["gravity"]), ("outputs", ["depth", "mass"]), *losses)
    return specs


NOISES = [{"type": "white"}, {"type": "exponential", "parameters": {"range": 1.0}}]


@pytest.mark.heavy
@pytest.mark.parametrize("noise", NOISES, ids=lambda noise: noise["type"])
def test_images_of_another_name_are_trained_on_with_noise_of_either_kind(gravity, qexp, noise):
    dataset = json.loads((gravity.root / "specs/datasets/sound.json").read_text())
    gravity.write("dataset", {**dataset, "noise_model": noise})
    qexp("run", "sound", "--device", "cpu").done()
    assert json.loads(qexp("show", "sound_0", "--json").stdout)["units"] == {
        "depth": "km",
        "mass": "10⁹ kg",
    }
    assert qexp("matrix", "sound_0", "--dataset", "sound").code == 0
    record = json.loads((gravity.root / "runs/sound_0/matrices/sound/record.json").read_text())
    assert record["units"] == {"depth": "km", "mass": "10⁹ kg"}


@pytest.mark.slow
@pytest.mark.parametrize("spacing", [0.2, "varies"])
def test_noise_is_correlated_over_the_pixels_that_the_generator_tells(gravity, spacing):
    document = json.loads((gravity.root / "specs/datasets/sound.json").read_text())
    document |= {"size": [64, 64], "noise_model": NOISES[1]}
    document["fixed"] = {"spacing": 0.2, "noise": 1.0}
    dataset = dataset_of(document, tables_with(gravity.root / "specs/extensions.py"))
    values = {"depth": np.full(200, 1e3), "mass": np.full(200, 1e-9)}
    if spacing == "varies":
        del dataset.fixed["spacing"]
        values["spacing"] = np.full(200, 0.2)
    image = dataset.observe(values, torch.Generator().manual_seed(0))["gravity"]
    # One pixel of 0.2 km in a range of 1 km.
    neighbours = (image[..., 1:] * image[..., :-1]).mean() / image.square().mean()
    assert float(neighbours) == pytest.approx(np.exp(-0.2), abs=0.02)


def test_a_generator_that_lacks_a_method_is_a_problem_that_says_what_it_must_give(
    gravity, problems
):
    (gravity.root / "specs/extensions.py").write_text(
        GRAVITY.replace("def pixel_sizes", "def sizes_of_pixels")
    )
    (problem,) = problems("specs/datasets/sound.json")
    assert (
        problem == "specs/datasets/sound.json at $.generation_type: the generator lacks a method, "
        "pixel_sizes(image, values): width and height of the image's pixels in metres"
    )


def test_images_that_are_no_displacements_cannot_be_a_source_among_others(gravity, problems):
    gravity.spoil("dataset", ("generation_type", ...), ("sources", [{"type": "gravity"}]))
    (problem,) = problems("specs/datasets/sound.json")
    assert problem.startswith(
        "specs/datasets/sound.json at $.sources[0]: 'gravity' is not a source of deformation"
    )
