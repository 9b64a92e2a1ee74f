"""Sources that can be described in several ways: which description is shown, and that it is the
same source.
"""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

import qexp
from qexp.base.quantities import QUANTITIES
from qexp.inference.descriptions import descriptions_of
from qexp.inference.fit import best, prepare_problem, unneeded_sources
from qexp.inference.parameters import searches, sources_named
from qexp.simulation.generators import GENERATORS
from tests.deformation.observed import ORIGIN, observed
from tests.inference.tracks import ASCENDING, DESCENDING, point_source, track

LOOKS = {"ascending": ASCENDING, "descending": DESCENDING}
STATIONS = np.random.default_rng(0).uniform(-3e3, 3e3, (40, 2))
SIZES = {"pcdm": [3e6, -1e6, 7e6], "cdm": [700.0, 200.0, 400.0]}


def described(name, order, signs):
    """The same source with its axes in another order and pointing to other sides, by scipy's
    rotations.
    """
    axes = Rotation.from_euler("xyz", [0.55, 0.49, -0.54]).as_matrix()[:, order] * signs
    turns = -Rotation.from_matrix(axes).as_euler("xyz")
    return [
        100.0,
        -200.0,
        3e3,
        *turns,
        *np.array(SIZES[name])[list(order)],
        *([1.5] if name == "cdm" else []),
    ]


@pytest.mark.parametrize("name", ["pcdm", "cdm"])
def test_of_24_descriptions_of_axes_one_is_shown(name):
    sources = sources_named(name, GENERATORS)
    found = searches(sources, STATIONS, QUANTITIES, {})
    proper = [
        described(name, order, signs)
        for order in itertools.permutations(range(3))
        for signs in itertools.product((1, -1), repeat=3)
        if np.linalg.det(np.eye(3)[:, order] * signs) > 0
    ]
    values = np.array(proper)
    moved = (
        sources[0]
        .kernel(torch.from_numpy(values), torch.from_numpy(STATIONS).expand(24, -1, -1))
        .numpy()
    )
    np.testing.assert_allclose(
        moved, np.broadcast_to(moved[:1], moved.shape), atol=1e-9 * np.abs(moved).max()
    )
    chosen = descriptions_of(sources, found, set()).chosen(values)
    np.testing.assert_allclose(chosen, np.broadcast_to(chosen[:1], chosen.shape), rtol=1e-9)
    assert list(chosen[0, 6:9]) == sorted(SIZES[name], reverse=True)
    again = (
        sources[0].kernel(torch.from_numpy(chosen[:1]), torch.from_numpy(STATIONS)[None]).numpy()
    )
    np.testing.assert_allclose(again[0], moved[0], atol=1e-9 * np.abs(moved).max())
    # Who fixes or bounds one of them chooses a description.
    assert not descriptions_of(sources, found, {found[6].parameter.name}).axes
    bounded = searches(sources, STATIONS, QUANTITIES, {found[8].parameter.name: (1.0, 1e9)})
    assert not descriptions_of(sources, bounded, set()).axes


def test_sources_of_one_type_are_in_the_order_of_their_strength():
    sources = sources_named("mctigue+mogi+mctigue", GENERATORS)
    equal = descriptions_of(sources, searches(sources, STATIONS, QUANTITIES, {}), set())
    weak = [0.0, 0.0, 3e3, 500.0, -1e-3]
    mogi = [1.0, 1.0, 2e3, 1e6]
    strong = [9.0, 9.0, 4e3, 900.0, 5e-4]
    shown = equal.chosen(np.array([[*weak, *mogi, *strong], [*strong, *mogi, *weak]]))
    np.testing.assert_array_equal(shown, np.broadcast_to([*strong, *mogi, *weak], shown.shape))


@pytest.mark.heavy
def test_a_second_source_that_the_data_do_not_show_is_said():
    where = {"east": ORIGIN[0] - 1500.0, "north": ORIGIN[1] + 1500.0, "depth": 1.2}
    fixed = {f"mogi_2.{name}": value for name, value in where.items()}
    seen = observed(size=8)
    alone = qexp.invert(seen, source="mogi+mogi", starts=4, fixed=fixed)
    assert any(
        "by BIC the observation does not show 'mogi_2'" in remark for remark in alone.remarks
    )
    for each in seen.tracks:
        moved = point_source(each.x, each.y, where["east"], where["north"], 1200.0, -5e6)
        each.displacement[:] += (moved * each.direction).sum(axis=1)
    both = qexp.invert(seen, source="mogi+mogi", starts=4, fixed=fixed)
    assert not any("BIC" in remark for remark in both.remarks)


def test_a_source_that_is_not_needed_is_found_where_nothing_says_between_which_values_another_starts():
    sources = sources_named("mogi+mogi", GENERATORS)
    tracks = [track(name, look) for name, look in LOOKS.items()]
    spans = searches(sources, STATIONS, QUANTITIES, {})
    problem = prepare_problem(tracks, sources, spans, {}, offsets=False, ramps=False)
    begin = torch.tensor(
        [[0.0, 0.0, 1000.0, 1e6, 2000.0, 2000.0, 1500.0, 1e4]], dtype=torch.float64
    )
    endless = [replace(span, low=-math.inf, high=math.inf) for span in spans]
    unneeded = unneeded_sources(
        problem, best(problem, begin), tracks, sources, endless, (0.0, 0.0), 0
    )
    assert unneeded.keys() == {"mogi_2"}


@pytest.mark.heavy
def test_draws_of_a_posterior_are_in_the_description_that_is_shown():
    truth = described("pcdm", (1, 0, 2), (1, 1, -1))
    (source,) = sources_named("pcdm", GENERATORS)
    seen = observed(size=8)
    for each in seen.tracks:
        places = np.stack([each.x - ORIGIN[0], each.y - ORIGIN[1]], axis=1)
        moved = source.kernel(torch.tensor([truth]), torch.from_numpy(places)[None])[0].numpy()
        noise = np.random.default_rng(len(each.name)).normal(0, each.error)
        each.displacement[:] = (moved * each.direction).sum(axis=1) + noise
    fixed = {"east": ORIGIN[0] + truth[0], "north": ORIGIN[1] + truth[1], "depth": truth[2] / 1e3}
    result = qexp.invert(seen, source="pcdm", starts=8, posterior=True, draws=200, fixed=fixed)
    sizes = [result.parameters[f"potency_{axis}"].value for axis in "xyz"]
    np.testing.assert_allclose(sizes, [7, 3, -1], atol=1)
    for axis in "xyz":
        rotation, low, high = (
            result.parameters[f"omega_{axis}"].value,
            *result.parameters[f"omega_{axis}"].interval95,
        )
        assert max(low, -np.pi) < rotation < min(high, np.pi)
        assert abs(result.posterior.parameters[f"omega_{axis}"].median - rotation) < np.pi
    drawn = np.stack([result.posterior.draws_of(f"potency_{axis}").ravel() for axis in "xyz"])
    assert (np.diff(drawn, axis=0) <= 0).all()
    assert any("potency_x ≥ potency_y ≥ potency_z" in remark for remark in result.remarks)
