"""Fluorescence and scattering of thick samples, the tube's light, and what a detector makes of
both.
"""

import math

import numpy as np
import pytest
import xraydb

from qexp.physics.xrf import (
    AVOGADRO,
    ELECTRON_RADIUS,
    Beam,
    Detector,
    Layer,
    attenuation,
    beam,
    channel_edges,
    compton,
    compton_energy,
    efficiency,
    escape_line,
    escaping,
    fluorescence,
    full_width,
    interactions,
    lines,
    mass_fractions,
    molar_mass,
    piled_up,
    rayleigh,
    response,
    scattering,
    transmission,
    vacancies,
)

DIAGONAL = math.pi / 4
DETECTOR = Detector(channels=2048, gain=20.0, offset=0.0, noise=75.0, thickness=1.0, shelf=0.0)
MIDDLES = channel_edges(DETECTOR)[:-1] + 10


def single(energy, photons=1.0):
    return Beam(np.array([energy]), np.array([photons]))


def mixture(elements, **compounds):
    fractions = np.zeros((1, len(elements)))
    for formula, share in compounds.items():
        for element, part in mass_fractions(formula).items():
            fractions[0, elements.index(element)] += share * part
    return fractions


def counted(energy, width=0.0, detector=DETECTOR):
    return response(np.array([energy]), np.array([width]), detector)[0]


def test_a_pure_element_in_light_of_one_energy_shines_as_sherman_says():
    cross_sections = interactions(["Fe"], single(20e3, 1e6), DIAGONAL, DIAGONAL, 1000.0, 20e3)
    names = [line.name for line in cross_sections.lines]
    photons = dict(zip(names, fluorescence(np.ones((1, 1)), cross_sections)[0], strict=True))
    # All from xraydb, by hand and in cm2 g-1, which cancel; both sines are the same and cancel,
    # too.
    line = xraydb.xray_lines("Fe", "K")["Ka1"]
    edge = xraydb.xray_edge("Fe", "K")
    absorbed = xraydb.mu_elam("Fe", 20e3, kind="photo") * (1 - 1 / edge.jump_ratio)
    both = xraydb.mu_elam("Fe", 20e3) + xraydb.mu_elam("Fe", line.energy)
    by_hand = 1e6 / (4 * math.pi) * edge.fyield * line.intensity * absorbed / both
    assert photons["Ka1"] == pytest.approx(by_hand, rel=1e-9)


def test_a_thick_sample_shines_as_the_sum_of_all_its_depths():
    elements, incidence, exit = ["O", "Si", "Ca", "C"], math.radians(30), math.radians(70)
    shares = mixture(elements, SiO2=0.4, CaCO3=0.6)
    cross_sections = interactions(
        elements, Beam(np.array([5e3, 9e3]), np.array([1.0, 2.0])), incidence, exit, 1000.0, 9e3
    )
    index = [line.name for line in cross_sections.lines].index(
        "Ka1", [line.element for line in cross_sections.lines].index("Ca")
    )
    depths = np.linspace(0, 10, 400_001)  # kg m-2
    energies = np.array([5e3, 9e3, cross_sections.lines[index].energy])
    into, again, out = (shares @ attenuation(elements, energies))[0]
    direct = (
        vacancies("Ca", energies[:2])["K"]
        * cross_sections.lines[index].photons
        * shares[0, elements.index("Ca")]
    )
    at_depth = sum(
        photons
        * vacancy
        * np.exp(-depths * (entering / math.sin(incidence) + out / math.sin(exit)))
        for photons, vacancy, entering in zip((1.0, 2.0), direct, (into, again), strict=True)
    )
    by_sum = np.trapezoid(at_depth, depths) / math.sin(incidence) / (4 * math.pi)
    assert fluorescence(shares, cross_sections)[0, index] == pytest.approx(by_sum, rel=1e-6)


def test_calcium_takes_light_from_silicon():
    elements = ["C", "O", "Si", "Ca"]
    cross_sections = interactions(elements, single(10e3), DIAGONAL, DIAGONAL, 1000.0, 10e3)
    silicon = [line.element for line in cross_sections.lines].index("Si")
    shares = np.linspace(0.1, 1, 10)
    samples = np.concatenate([mixture(elements, SiO2=share, CaCO3=1 - share) for share in shares])
    per_silicon = fluorescence(samples, cross_sections)[:, silicon] / shares
    assert (np.diff(per_silicon) > 0).all()
    assert per_silicon[0] < 0.8 * per_silicon[-1]


def test_samples_do_not_see_each_other_and_light_adds_up():
    elements = ["C", "O", "Si", "Ca"]
    samples = np.concatenate(
        [mixture(elements, SiO2=share, CaCO3=1 - share) for share in (0.2, 0.5, 0.9)]
    )
    lights = single(8e3, 2.0), single(12e3, 3.0), Beam(np.array([8e3, 12e3]), np.array([2.0, 3.0]))
    soft, hard, both = (
        interactions(elements, light, DIAGONAL, DIAGONAL, 1000.0, 12e3) for light in lights
    )
    np.testing.assert_allclose(
        fluorescence(samples, both), fluorescence(samples, soft) + fluorescence(samples, hard)
    )
    np.testing.assert_allclose(fluorescence(samples, both)[1:2], fluorescence(samples[1:2], both))
    np.testing.assert_allclose(scattering(samples, both)[1:2], scattering(samples[1:2], both))


def test_no_line_is_excited_by_light_below_its_edge():
    cross_sections = interactions(["Fe"], single(7111.0), DIAGONAL, DIAGONAL, 1000.0, 30e3)
    assert not fluorescence(np.ones((1, 1)), cross_sections).any()
    assert not lines("Fe", 1000.0, 7111.0)
    assert {line.shell for line in lines("Pb", 1000.0, 14e3)} == {"L3"}


def test_vacancies_jump_at_the_edge_by_the_jump_ratio():
    energies = np.array([7111.0, 7113.0])
    below, above = xraydb.mu_elam("Fe", energies, kind="photo") / 10
    direct = vacancies("Fe", energies)["K"]
    assert direct[0] == 0
    assert direct[1] == pytest.approx(above * (1 - 1 / 7.893))
    assert direct[1] == pytest.approx(above - below, rel=0.02)


def test_coster_kronig_transitions_move_vacancies_to_outer_shells_only():
    photoelectric = xraydb.mu_elam("Pb", 20e3, kind="photo") / 10
    jumps = {shell: xraydb.xray_edge("Pb", shell).jump_ratio for shell in ("L1", "L2", "L3")}
    direct = {shell: values[0] for shell, values in vacancies("Pb", np.array([20e3])).items()}
    first = photoelectric * (1 - 1 / jumps["L1"])
    second = photoelectric / jumps["L1"] * (1 - 1 / jumps["L2"])
    assert direct["K"] == 0
    assert direct["L1"] == pytest.approx(first)
    assert direct["L2"] == pytest.approx(second + first * xraydb.ck_probability("Pb", "L1", "L2"))


def test_light_scattered_forwards_without_loss_sees_all_electrons_of_an_atom():
    electrons = {"C": 6, "Si": 14, "Ca": 20}
    for element, counts in zip(
        electrons, rayleigh(list(electrons), np.array([10e3]), 1e-6)[:, 0], strict=True
    ):
        per_mass = AVOGADRO / molar_mass(element)
        assert counts == pytest.approx(
            electrons[element] ** 2 * ELECTRON_RADIUS**2 * per_mass, rel=2e-3
        )


def test_inelastic_scattering_over_all_angles_is_the_cross_section_of_the_tables():
    angles = np.linspace(0, math.pi, 361)
    energies = np.array([5e3, 20e3])
    over_angles = np.stack(
        [compton(["O"], energies, angle)[0] * math.sin(angle) for angle in angles]
    )
    integral = 2 * math.pi * np.trapezoid(over_angles, angles, axis=0)
    np.testing.assert_allclose(
        integral, xraydb.mu_elam("O", energies, kind="incoh") / 10, rtol=1e-3
    )


def test_rhodiums_light_loses_768_ev_to_an_electron_at_a_right_angle():
    # Compton (1923): the wavelength grows by 0.02426 Å.
    scattered = compton_energy(np.array([20216.0]), math.pi / 2)[0]
    assert 12398.42 / scattered - 12398.42 / 20216 == pytest.approx(0.02426, abs=1e-5)
    assert 20216 - scattered == pytest.approx(769, abs=1)


def test_light_matter_scatters_more_and_with_more_loss_than_heavy_matter():
    elements = ["H", "C", "O", "Fe", "Ca"]
    cross_sections = interactions(elements, single(20216.0), DIAGONAL, DIAGONAL, 1000.0, 25e3)
    water, chalk, rust = (
        scattering(mixture(elements, **{name: 1.0}), cross_sections)[0]
        for name in ("H2O", "CaCO3", "Fe2O3")
    )
    assert water.sum() > chalk.sum() > rust.sum()
    assert water[1] / water[0] > chalk[1] / chalk[0] > rust[1] / rust[0]
    assert cross_sections.scattered_energies.tolist() == pytest.approx([20216.0, 19446.8], abs=0.5)


def test_the_tube_has_a_continuum_up_to_its_voltage_and_lines_that_its_electrons_can_excite():
    low, high = (beam("Rh", voltage, math.radians(20), 900.0, 50.0) for voltage in (20e3, 30e3))
    assert low.energies.max() < 20e3
    assert not np.isin(20216.0, low.energies)
    assert np.isin(20216.0, high.energies)
    assert np.isin(2696.8, low.energies)
    for light in (low, high):
        assert (light.photons > 0).all()
        assert np.isfinite(light.photons).all()


def test_the_continuum_falls_to_nothing_at_the_voltage_and_grows_with_it():
    low, high = (beam("Rh", voltage, math.radians(20), 5e3, 50.0) for voltage in (20e3, 22e3))
    shared = len(low.photons)
    assert (high.photons[:shared] > low.photons[:shared]).all()
    # Kramers' law: as far below the voltage, in proportion to it.
    assert low.photons[shared - 1] < 0.02 * low.photons[shared // 2]


def test_rhodiums_l_alpha_is_stronger_than_its_l_beta():
    light = beam("Rh", 10e3, math.radians(20), 900.0, 50.0)
    strength = dict(zip(light.energies, light.photons, strict=True))
    assert 0.3 < strength[2834.1] / (strength[2696.8] + strength[2692.1]) < 0.7


def test_manganeses_k_alpha_line_is_between_130_and_160_ev_wide():
    assert 130 < full_width(np.array([5895.0]), 75.0)[0] < 160
    peak = counted(5895.0, detector=Detector(20480, 2.0, 0.0, 75.0, 1.0, 0.0))
    high = np.flatnonzero(peak > peak.max() / 2)
    assert 2 * (high[-1] - high[0]) == pytest.approx(full_width(np.array([5895.0]), 75.0)[0], abs=4)


@pytest.mark.parametrize("element", ["Si", "K", "Ca", "Ti", "Mn", "Fe", "Br", "Sr"])
def test_a_line_is_counted_in_the_channel_of_its_energy(element):
    line = xraydb.xray_lines(element, "K")["Ka1"]
    assert abs(np.argmax(counted(line.energy)) - line.energy // 20) <= 1
    drifted = Detector(2048, 20.1, -35.0, 75.0, 1.0, 0.0)
    assert abs(np.argmax(counted(line.energy, detector=drifted)) - (line.energy + 35) // 20.1) <= 1


def test_every_photon_is_counted_once_whatever_becomes_of_its_energy():
    energies = np.linspace(1500, 38e3, 50)
    for shelf in (0.0, 0.01):
        detector = Detector(2048, 20.0, 0.0, 75.0, 1.0, shelf)
        np.testing.assert_allclose(
            response(energies, np.zeros(50), detector).sum(axis=1), 1, atol=1e-6
        )


def test_an_escape_peak_lies_a_silicon_photon_below_its_parent_and_takes_its_counts_from_it():
    parent, share = 6400.0, escaping(np.array([6400.0]))[0]
    peak = counted(parent)
    near = np.abs(MIDDLES - (parent - 1740)) < 300
    assert MIDDLES[near][np.argmax(peak[near])] == pytest.approx(parent - 1740, abs=20)
    assert peak[near].sum() == pytest.approx(share, rel=1e-3)
    assert peak[np.abs(MIDDLES - parent) < 400].sum() == pytest.approx(1 - share, rel=1e-6)
    assert escape_line() == pytest.approx(1740, abs=1)


def test_some_escape_at_calcium_few_at_iron_and_none_below_the_edge_of_silicon():
    below, calcium, iron, strontium = escaping(np.array([1838.0, 3692.0, 6404.0, 14165.0]))
    assert below == 0
    assert 0.005 < calcium < 0.015
    assert 0.002 < iron < calcium / 2
    assert strontium < iron / 5


def test_a_sum_peak_lies_at_twice_the_energy_of_its_parent():
    for offset in (0.0, -33.0, 47.0):
        detector = Detector(2048, 20.0, offset, 75.0, 1.0, 0.0)
        middles = channel_edges(detector)[:-1] + 10
        counts = piled_up(3e4 * counted(6400.0, detector=detector)[None], 3e-7, detector)[0]
        peak = np.abs(middles - 12800) < 600
        assert (counts * middles)[peak].sum() / counts[peak].sum() == pytest.approx(12800, abs=5)


def test_pile_up_keeps_photons_and_energy():
    detector = Detector(512, 20.0, 13.0, 75.0, 1.0, 0.0)
    rates = np.zeros((4, 512))
    rates[:, 40:250] = np.random.default_rng(0).uniform(0, 400, (4, 210)) * np.array(
        [[0.1], [1], [3], [0]]
    )
    counts = piled_up(rates, 1e-6, detector)
    middles = channel_edges(detector)[:-1] + 10
    double = 1 - np.exp(-rates.sum(axis=1) * 1e-6)
    np.testing.assert_allclose(counts.sum(axis=1) * (1 + double), rates.sum(axis=1))
    np.testing.assert_allclose(counts @ middles, rates @ middles)
    assert (counts >= 0).all()


def test_pile_up_goes_with_the_square_of_the_rate_and_is_nothing_without_time():
    rates = counted(6400.0)[None] * np.array([[1e3], [2e3]])
    np.testing.assert_allclose(piled_up(rates, 0.0, DETECTOR), rates, atol=1e-9)
    doubles = piled_up(rates, 1e-7, DETECTOR)[:, 600:680].sum(axis=1)
    assert doubles[1] / doubles[0] == pytest.approx(4, rel=1e-3)
    assert doubles[0] == pytest.approx(
        1e3 * 1e3 * 1e-7 * (1 - escaping(np.array([6400.0]))[0]) ** 2, rel=0.01
    )


def test_windows_take_soft_light_and_silicon_lets_hard_light_through():
    energies = np.array([1000.0, 1740.0, 6400.0, 30e3])
    through = transmission([Layer("Be", 1848 * 25e-6)], energies)
    assert (np.diff(through) > 0).all()
    assert through[3] > 0.99
    # Beer's law for 25 µm of beryllium, 0.0046 g cm-2, by hand.
    assert through[1] == pytest.approx(
        math.exp(-1.848 * 25e-4 * xraydb.mu_elam("Be", 1740.0)), rel=1e-9
    )
    stopped = efficiency(energies, 2330 * 450e-6)
    assert stopped[2] > 0.999
    assert 0.1 < stopped[3] < 0.3


def test_line_energies_are_those_of_the_tables():
    cross_sections = interactions(["Fe", "Pb"], single(20e3), DIAGONAL, DIAGONAL, 1000.0, 20e3)
    assert [line.energy for line in cross_sections.lines] == [
        xraydb.xray_line(line.element, line.name).energy for line in cross_sections.lines
    ]
    assert {"Ka1", "Ka2", "Kb1", "La1"} <= {line.name for line in cross_sections.lines}
