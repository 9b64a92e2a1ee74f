"""The solver of the tutorial on emulators: layers without a contrast, Betti's theorem, finite
elements.
"""

import math
import re

import numpy as np
import pytest

from tutorials.layered import GROUND, Layer, displacement, main, profile, uplifted_volume
from validation.topography import VOLUME_CHANGE, Cone, reference

ROCK = Layer(math.inf, 30e9, 30e9)


def test_what_it_prints_are_errors_below_a_millionth(capsys):
    main()
    errors = [float(number) for number in re.findall(r"\de-\d+", capsys.readouterr().out)]
    assert len(errors) == 9
    assert max(errors) < 1e-6


@pytest.mark.parametrize("softer", [0.2, 3.0])
def test_a_layer_over_a_half_space_deforms_as_in_finite_elements(softer):
    layers = [Layer(1500.0, softer * 30e9, softer * 30e9), ROCK]
    distance, *exact = reference(
        Cone(5000.0, 0.0), 3000.0, 40, 22, layers=[(0.0, softer), (1500.0, 1.0)]
    )
    near = distance <= 10_000
    found = profile(layers, 3000.0, VOLUME_CHANGE, distance[near])
    assert np.abs(found - np.array(exact)[:, near]).max() < 1e-3 * np.abs(found).max()
    of_rock = profile([ROCK], 3000.0, VOLUME_CHANGE, distance[near])
    assert np.abs(found - of_rock).max() > 0.1 * np.abs(found).max()


def test_the_uplifted_volume_of_ground_over_rigid_rock_is_that_of_the_source_and_is_the_integral_of_the_uplift():
    rigid = [Layer(3000.0, 30e9, 30e9), Layer(math.inf, 30e15, 30e15)]
    assert uplifted_volume(rigid, 2000.0) == pytest.approx(1, abs=1e-5)
    distance = np.linspace(0, 60e3, 2000)
    _, up = profile(rigid, 2000.0, 1.0, distance)
    assert np.trapezoid(2 * np.pi * distance * up, distance) == pytest.approx(1, abs=0.01)


def test_a_source_at_a_boundary_has_the_displacement_of_one_just_above_it():
    at = displacement(GROUND, 2000.0, 1e6, np.array([500.0]), np.array([0.0]))
    above = displacement(GROUND, 1999.9, 1e6, np.array([500.0]), np.array([0.0]))
    assert at == pytest.approx(above, rel=1e-3)


@pytest.mark.parametrize(
    ("layers", "depth", "complaint"),
    [
        ([ROCK], 0.0, "depth"),
        ([ROCK], math.nan, "depth"),
        ([], 1e3, "half-space"),
        ([ROCK, ROCK], 1e3, "half-space"),
        ([Layer(1e3, 30e9, 30e9)], 1e3, "half-space"),
        ([Layer(1e3, 30e9, 0.0), ROCK], 1e3, "shear modulus"),
        ([Layer(-1e3, 30e9, 30e9), ROCK], 1e3, "thickness"),
    ],
)
def test_ground_and_depths_that_cannot_be_are_refused(layers, depth, complaint):
    with pytest.raises(ValueError, match=complaint):
        profile(layers, depth, 1e6, np.array([0.0]))
