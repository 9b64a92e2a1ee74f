"""Intervals by profile likelihood: at their ends χ² has risen by the threshold, however the
likelihood is bent.
"""

import numpy as np
import pytest
import torch

from qexp.base.options import uncounted
from qexp.base.quantities import QUANTITIES, Quantity, in_degrees
from qexp.errors import QexpError
from qexp.inference import profile
from qexp.inference.fit import at_values, best, prepare_problem, standard_errors, threshold
from qexp.inference.least_squares import starts
from qexp.inference.parameters import amplitudes, searches
from qexp.inference.profile import profile_likelihood, with_intervals
from qexp.physics.point import mctigue, mogi
from qexp.simulation.generators import GENERATORS, DeformationImages, Source
from tests.inference.tracks import EXPONENTIAL, problem_of, two_tracks

SPHERE = (150.0, -100.0, 2500.0, 900.0, 1e-3)
"""East, north, depth, radius [m], pressure over the shear modulus."""
SPHEROID = (150.0, -100.0, 2500.0, 1000.0, 900.0, 1.1, 0.5, 1e-3)
DIKE = (200.0, -300.0, 1800.0, 3000.0, 1500.0, 1.1, 1.4, 0.0, 0.0, 1.0)


def seen(source, kernel, size=12, strength=1.0, error=0.005):
    return two_tracks(
        kernel, source, strength, noise=EXPONENTIAL, error=error, size=size, spacing=700.0
    )


def fitted(name, tracks, fixed=None, bounds=None, start=None):
    problem, spans = problem_of(name, tracks, fixed, bounds, offsets=True)
    begin = (
        starts(problem.to_search(0), spans, 8, 0)
        if start is None
        else torch.tensor([start], dtype=torch.float64)
    )
    return problem, best(problem, begin)


def least_chi2(name, tracks, fit, held, fixed=None):
    """χ² with one more parameter held, followed from the estimate and from a search."""
    near = fit.values.copy()
    near[[parameter.name for parameter in fit.coordinates.parameters].index(held[0])] = held[1]
    found = []
    for start in (near.tolist(), None):
        try:
            found.append(
                fitted(name, tracks, {**(fixed or {}), held[0]: held[1]}, start=start)[1].chi2
            )
        except QexpError:  # no start is possible
            continue
    return min(found)


@pytest.mark.heavy
@pytest.mark.parametrize("strength", [1.0, -1.0])
def test_chi2_rises_by_the_threshold_at_each_end_although_pressure_and_radius_trade_off(strength):
    tracks = seen(SPHERE, mctigue, strength=strength)
    problem, fit = fitted("mctigue", tracks)
    fit, found = with_intervals(problem, fit)
    rise, errors = threshold(fit) ** 2, standard_errors(fit)
    for place, name in enumerate(problem.model.names):
        for end, is_open in ((found.low, found.open_low), (found.high, found.open_high)):
            if not is_open[place]:
                risen = least_chi2("mctigue", tracks, fit, (name, float(end[place]))) - fit.chi2
                # where radius and depth are equal, nearly
                assert risen == pytest.approx(rise, rel=0.1), name
    pressure = problem.model.names.index("pressure_over_mu")
    assert found.low[pressure] < strength * SPHERE[-1] < found.high[pressure]
    assert found.low[pressure] * found.high[pressure] > 0  # that there is a source is beyond doubt
    assert fit.at_bounds == ("radius",)  # with which held the errors to first order miss the truth
    assert abs(fit.values[pressure] - strength * SPHERE[-1]) > 1.96 * errors[pressure]


@pytest.mark.heavy
def test_an_interval_of_a_parameter_that_the_data_determine_is_that_of_first_order():
    problem, fit = fitted("mogi", seen((150.0, -100.0, 2500.0, 4e7), mogi, error=0.001))
    found = profile_likelihood(problem, fit)
    errors = standard_errors(fit)
    reach = threshold(fit)
    np.testing.assert_allclose(found.high - found.low, 2 * reach * errors, rtol=0.03)
    assert not (found.open_low | found.open_high).any()


@pytest.mark.heavy
def test_the_end_of_a_parameter_that_the_data_do_not_limit_is_open():
    """Nothing tells the pressure of a small sphere from that of a smaller one with more of it."""
    problem, fit = fitted("mctigue", seen((150.0, -100.0, 2500.0, 250.0, 4e-2), mctigue))
    fit, found = with_intervals(problem, fit)
    radius = problem.model.names.index("radius")
    assert found.open_low[radius]
    assert not found.open_high[radius]
    assert found.low[radius] == pytest.approx(1e-3 * 11 * 700.0)  # the end of the search
    assert found.high[radius] > 250


@pytest.mark.heavy
def test_bounds_end_an_interval_and_leave_it_open():
    problem, fit = fitted("mctigue", seen(SPHERE, mctigue), bounds={"radius": (600.0, 1200.0)})
    found = profile_likelihood(problem, fit)
    radius = problem.model.names.index("radius")
    assert (found.low[radius], found.high[radius]) == pytest.approx((600.0, 1200.0))
    assert found.open_low[radius]
    assert found.open_high[radius]


@pytest.mark.heavy
def test_the_interval_of_a_slip_that_is_not_there_holds_zero_and_that_of_the_opening_does_not():
    okada = GENERATORS["okada"].build().sources[0].kernel
    problem, fit = fitted("okada", seen(DIKE, okada), fixed={"dip_slip": 0.0}, start=DIKE)
    fit, found = with_intervals(problem, fit)
    names = fit.coordinates.names
    slip, opening = names.index("strike_slip"), names.index("opening")
    assert found.low[slip] < 0 < found.high[slip]
    assert 0 < found.low[opening] < 1.0 < found.high[opening]
    search, linear = profile._searches(problem, fit, threshold(fit))[0], fit.coordinates.linear
    assert profile._roots_without(search, linear[::-1]) == pytest.approx(
        profile._roots_without(search, linear)[::-1], rel=0.05
    )


@pytest.mark.heavy
def test_a_lower_minimum_on_the_way_becomes_the_estimate():
    tracks = seen(DIKE, GENERATORS["okada"].build().sources[0].kernel)
    problem, lowest = fitted(
        "okada", tracks, fixed={"dip_slip": 0.0, "strike_slip": 0.0}, start=DIKE
    )
    elsewhere = torch.tensor([DIKE], dtype=torch.float64) + torch.tensor(
        [60.0, 0, 0, 0, 0, 0.03, 0, 0, 0, 0]
    )
    fit, _ = with_intervals(problem, at_values(problem, elsewhere))
    assert fit.chi2 == pytest.approx(lowest.chi2, rel=1e-3)


@pytest.mark.heavy
def test_all_likely_sources_that_were_met_lie_in_all_intervals_and_no_angle_turns_twice():
    """χ² of what may as well be a sphere rises and falls again as its axis turns and its size
    changes.
    """
    kernel = GENERATORS["yang"].build().sources[0].kernel
    problem, fit = fitted("yang", seen(SPHEROID, kernel, size=10, error=0.002), start=SPHEROID)
    ends = profile._Ends.found(problem, fit, uncounted)
    found, likely = ends.profile(fit), ends.met(threshold(fit))[:, fit.coordinates.free].numpy()
    narrow = 1e-3 * (found.high - found.low)
    assert (likely >= found.low - narrow).all()
    assert (likely <= found.high + narrow).all()
    turning = [problem.model.names.index(name) for name in ("strike", "plunge")]
    np.testing.assert_allclose((found.high - found.low)[turning], np.pi)
    assert (found.open_low & found.open_high)[turning].all()


@pytest.mark.heavy
def test_signals_in_a_basis_give_the_intervals_of_all_points(monkeypatch):
    problem, fit = fitted("mctigue", seen(SPHERE, mctigue, size=24))
    few = profile._Ends.found(problem, fit, uncounted)
    assert few.searches[0].problem.model.points < problem.model.points / 4
    monkeypatch.setattr(profile._Ends, "span", lambda ends, sources: None)
    whole = profile._Ends.found(problem, fit, uncounted)
    assert whole.searches[0].problem.model.points == problem.model.points
    few, whole = few.profile(fit), whole.profile(fit)
    width = whole.high - whole.low
    np.testing.assert_allclose(few.low, whole.low, atol=0.02 * width.max(), rtol=0.05)
    np.testing.assert_allclose(few.high, whole.high, atol=0.02 * width.max(), rtol=0.05)


EXPECTED = {
    "mogi": ["delta_volume"],
    "mctigue": ["pressure_over_mu"],
    "penny": ["pressure_over_mu"],
    "yang": ["pressure_over_mu"],
    "pcdm": ["potency_x", "potency_y", "potency_z"],
    "cdm": ["opening"],
    "okada": ["strike_slip", "dip_slip", "opening"],
}


@pytest.mark.heavy
def test_amplitudes_are_the_variables_to_which_displacements_are_proportional():
    made = {name: entry.build() for name, entry in GENERATORS.items()}
    found = {name: one for name, one in made.items() if isinstance(one, DeformationImages)}
    for quantities in (QUANTITIES, in_degrees(QUANTITIES)):
        assert {
            name: amplitudes(one.sources[0], quantities) for name, one in found.items()
        } == EXPECTED


def of_area_and_slip(source, stations):
    """A point source whose volume change is an area times a slip."""
    return mogi(torch.cat([source[:, :3], source[:, 3:4] * source[:, 4:5]], dim=1), stations)


def refused(source, stations):
    raise ValueError("no such source")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (Source(("x", "y", "depth", "swelling"), mogi), ["swelling"]),
        (Source(("x", "y", "depth", "area", "slip"), of_area_and_slip), ["slip"]),
        (Source(("x", "y", "depth", "slip"), refused), []),
    ],
)
def test_amplitudes_of_a_source_of_one_s_own_are_found_whatever_they_are_called(source, expected):
    assert amplitudes(source, {**QUANTITIES, "swelling": Quantity("10⁶ m³", 1e6, "")}) == expected


def of_mass(source, stations):
    """A point source that is not linear in its last variable."""
    return mogi(torch.cat([source[:, :3], source[:, 3:4] ** 2], dim=1), stations)


@pytest.mark.heavy
def test_a_parameter_of_which_nothing_tells_where_it_may_lie_is_refused_unless_bounds_or_limits_do():
    source = Source(("x", "y", "depth", "mass"), of_mass)
    tracks = seen((150.0, -100.0, 2500.0, 2e6), mogi)
    stations = np.array([[-4e3, -4e3], [4e3, 4e3]])
    unknown, limited = (
        Quantity("kg", 1.0, "", **limits) for limits in ({}, {"at_least": 0.0, "at_most": 1e4})
    )

    def begin(of, bounds):
        wanted = searches([source], stations, {**QUANTITIES, "mass": of}, bounds)
        problem = prepare_problem(tracks, [source], wanted, {}, offsets=False, ramps=False)
        return best(problem, starts(problem, wanted, 8, 0))

    with pytest.raises(
        QexpError, match=r'mass is neither an amplitude.*bounds=\{"mass": \(LOW, HIGH\)\}'
    ):
        begin(unknown, {})
    for fit in (begin(unknown, {"mass": (10.0, 1e4)}), begin(limited, {})):
        assert fit.values[3] ** 2 == pytest.approx(2e6, rel=0.2)
