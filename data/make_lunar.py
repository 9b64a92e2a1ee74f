"""Stand-ins for the tables of returned lunar samples under Kaguya's Multiband Imager: `python
data/make_lunar.py`.

Nothing here is measured, and nothing is taken from a measured table but the names of its columns.
What is known of lunar soil is put together, so that the same inversion is possible, with the same
kinds of trouble:

Composition. The soil of a station is a mixture of highland soil and of the mare soil of its
mission, by a share that varies from station to station. Both are plagioclase (CaAl2Si2O8), pyroxene
((Ca, Mg, Fe)SiO3) and ilmenite (FeTiO3), and the oxides follow from the formulas: ilmenite holds
all the TiO2, 52.6 % of its weight. Missions differ in their mare soil, as landing sites do, so that
samples of one mission resemble each other.

Reflectance. A grain of refractive index n scatters as Hapke's equivalent slab: what is reflected at
its surface, and what comes back from within, weakened by exp(-absorption x path). Plagioclase
hardly absorbs. Pyroxene does at 0.95 and 2 µm and below 0.5 µm, in proportion to its iron. Ilmenite
lets nothing through: dark, and flat where all else rises with the wavelength. Space weathering
covers grains with iron of nanometres, which absorbs as 1/wavelength (Hapke 2001): soil becomes
darker and redder as it matures. Single-scattering albedos are averaged by the grains' cross
sections, and Hapke's formula for isotropic scatterers makes a reflectance factor of the mean, at
30° incidence.

Angles. ThetaFe and ThetaTi are what Lucey et al. (2000, JGR 105, 20297) use against maturity, with
the origins that Otake et al. (2012, LPSC 43, 1905) give for this camera.

Noise. Brightness varies by 3 % with relief, each band by 0.5 %, and a sample is not the pixel: its
minerals' shares differ from it by 5 % of themselves.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np

SEED = 1969
BANDS = np.array([414, 749, 901, 950, 1001, 1049, 1248, 1548])  # nm
# g/mol
MOLAR_MASSES = {
    "SiO2": 60.08,
    "TiO2": 79.87,
    "Al2O3": 101.96,
    "FeO": 71.84,
    "MgO": 40.30,
    "CaO": 56.08,
}

MISSIONS = {
    # ilmenite in mare soil, by weight; magnesium of the pyroxene's Mg + Fe; shares of mare soil:
    # mean, between stations
    "Apollo12": (["-1", "-2", "-3", "-4", "-5", "-6", "-7", "-8"], 0.060, 0.52, 0.85, 0.08),
    "Apollo14": (["LM", "G", "H"], 0.045, 0.58, 0.45, 0.10),
    "Apollo15": (["LM", "S1", "S2", "S3", "S4", "S6", "S7", "S8", "S9"], 0.040, 0.55, 0.60, 0.20),
    "Apollo16": (
        ["LM", "S1", "S2", "S4", "S5", "S6", "S8", "S9", "S10", "S11"],
        0.030,
        0.62,
        0.08,
        0.05,
    ),
    "Apollo17": (
        [
            "LM",
            *(f"S{number}" for number in range(1, 10)),
            *(f"LRV{number}" for number in range(1, 12)),
        ],
        0.170,
        0.54,
        0.55,
        0.28,
    ),
    "Luna": (["16", "20", "24"], 0.050, 0.45, 0.60, 0.30),
    "Chang'E": ([" 5"], 0.100, 0.42, 0.95, 0.03),
}

GRAIN = 45.0  # µm
INDEX = np.array([1.57, 1.72, 2.30])  # of plagioclase, pyroxene, ilmenite
DENSITY = np.array([2.73, 3.40, 4.72])  # g/cm3
OPAQUE = 1e3  # 1/µm


def main(folder: Path) -> None:
    random = np.random.default_rng(SEED)
    sites, minerals, magnesium = stations(random)
    maturity = random.uniform(0.0, 1.0, len(sites))
    seen = reflectance(minerals, magnesium, maturity)
    seen *= (
        1
        + 0.03 * random.standard_normal((len(sites), 1))
        + 0.005 * random.standard_normal(seen.shape)
    )
    seen = seen.round(5)
    samples = minerals * (1 + 0.05 * random.standard_normal(minerals.shape))
    samples /= samples.sum(axis=1, keepdims=True)
    for name, column in zip(MOLAR_MASSES, oxides(samples, magnesium).round(2).T, strict=True):
        features = {f"{band}nm": values for band, values in zip(BANDS, seen.T, strict=True)}
        with_angles = features | angles(seen)
        if name == "TiO2":
            features = with_angles
        write(folder / "lunar" / f"stand_in_{name}.csv", {"Site": sites, **features, name: column})
        if name == "TiO2":
            older = {"Site": sites, **features, name: column}
            known = [site != "Chang'E 5" for site in sites]
            for title, values in older.items():
                older[title] = [value for value, kept in zip(values, known, strict=True) if kept]
            write(folder / "lunar" / f"stand_in_{name}_before_chang_e_5.csv", older)
        if name == "FeO":  # DL-IM estimates FeO from the angles, too
            write(
                folder / "lunar" / f"stand_in_{name}_angles.csv",
                {"Site": sites, **with_angles, name: column},
            )


def stations(random: np.random.Generator) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names; weight shares of plagioclase, pyroxene and ilmenite, (station, mineral); magnesium of
    the pyroxene.
    """
    sites, minerals, magnesium = [], [], []
    for mission, (names, ilmenite, of_mare, mean, between) in MISSIONS.items():
        for name in names:
            share = np.clip(mean + between * random.standard_normal(), 0.02, 1.0)
            dark = ilmenite * np.exp(0.15 * random.standard_normal())
            plagioclase = 0.36 + 0.03 * random.standard_normal()
            mare = np.array([plagioclase, 1 - plagioclase - dark, dark])
            light = 0.76 + 0.03 * random.standard_normal()
            highland = np.array([light, 0.995 - light, 0.005])
            sites.append(mission + name)
            minerals.append(share * mare + (1 - share) * highland)
            magnesium.append(of_mare * share + 0.70 * (1 - share))
    return sites, np.array(minerals), np.array(magnesium)


def oxides(minerals: np.ndarray, magnesium: np.ndarray) -> np.ndarray:
    """Weight percent in the order of MOLAR_MASSES, (station, oxide)."""
    nothing, ones = np.zeros_like(magnesium), np.ones_like(magnesium)
    calcium = 0.2  # of the pyroxene's cations besides silicon
    moles = {  # SiO2, TiO2, Al2O3, FeO, MgO, CaO in a formula
        0: [2 * ones, nothing, ones, nothing, nothing, ones],
        1: [
            ones,
            nothing,
            nothing,
            (1 - calcium) * (1 - magnesium),
            (1 - calcium) * magnesium,
            calcium * ones,
        ],
        2: [nothing, ones, nothing, ones, nothing, nothing],
    }
    total = np.zeros((len(magnesium), len(MOLAR_MASSES)))
    for mineral, formula in moles.items():
        mass = np.stack(formula, axis=1) * list(MOLAR_MASSES.values())
        total += minerals[:, mineral, None] * mass / mass.sum(axis=1, keepdims=True)
    return 100 * total


def reflectance(minerals: np.ndarray, magnesium: np.ndarray, maturity: np.ndarray) -> np.ndarray:
    """Reflectance factor, (station, band)."""
    wavelength = BANDS / 1000  # µm

    def band(centre: float, width: float) -> np.ndarray:
        return np.exp(-0.5 * ((wavelength - centre) / width) ** 2)

    iron = (1 - magnesium)[:, None]
    charge_transfer = np.exp(-(wavelength - 0.414) / 0.12)
    absorption = np.stack(  # 1/µm
        [
            np.broadcast_to(
                0.0006 + 0.0004 * band(1.25, 0.15) + 0.002 * charge_transfer,
                (len(iron), len(BANDS)),
            ),
            0.002
            + iron * (0.012 * band(0.95, 0.09) + 0.010 * band(2.0, 0.28) + 0.025 * charge_transfer),
            np.full((len(iron), len(BANDS)), OPAQUE),
        ],
        axis=1,
    )
    # 0.1: what the optical constants of iron in silicate come to
    of_surface_iron = 36 * np.pi * 0.1 / wavelength
    volume_share = (4e-4 + 6e-4 * maturity)[:, None, None]
    absorption = absorption + volume_share * of_surface_iron

    path = 2 / 3 * (INDEX**2 - (INDEX**2 - 1) ** 1.5 / INDEX) * GRAIN
    outside = ((INDEX - 1) / (INDEX + 1)) ** 2 + 0.05
    inside = 1 - 4 / (INDEX * (INDEX + 1) ** 2)
    passed = np.exp(-absorption * path[:, None])
    outside, inside = outside[:, None], inside[:, None]
    albedo = outside + (1 - outside) * (1 - inside) * passed / (1 - inside * passed)
    cross_section = minerals / DENSITY
    mean = np.einsum("sm,smb->sb", cross_section / cross_section.sum(axis=1, keepdims=True), albedo)

    from_above, from_sun = 1.0, np.cos(np.radians(30))

    def multiple(cosine: float) -> np.ndarray:
        return (1 + 2 * cosine) / (1 + 2 * cosine * np.sqrt(1 - mean))

    return mean / 4 * multiple(from_above) * multiple(from_sun) / (from_above + from_sun)


def angles(seen: np.ndarray) -> dict[str, np.ndarray]:
    violet, red, infrared = (seen[:, list(BANDS).index(band)] for band in (414, 749, 950))
    return {
        "ThetaFe": -np.arctan((infrared / red - 1.250) / (red - 0.037)).round(9),
        "ThetaTi": np.arctan((violet / red - 0.208) / (red + 0.108)).round(9),
    }


def write(path: Path, columns: dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
