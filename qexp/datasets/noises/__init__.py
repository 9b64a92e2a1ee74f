"""Noise models: how the noise of observations is declared, one component or several that add up."""

from __future__ import annotations

from typing import Any

from qexp.datasets.noises.correlated import ExponentialNoise, GaussianNoise, WhiteNoise
from qexp.datasets.noises.decorrelation import Decorrelation
from qexp.datasets.noises.linear import OffsetNoise, RampNoise, StratifiedNoise
from qexp.datasets.noises.power_law import PowerLawNoise
from qexp.tables import Entry

LARGEST = 1_000_000
"""Of an amplitude, in metres or its square, or per kilometre: beyond all deformation, and far from overflow."""


def _number(description: str, **limits: Any) -> dict[str, Any]:
    return {"type": "number", **limits, "description": description}


def _amplitude(description: str) -> dict[str, Any]:
    """Of an amplitude that may be left out."""
    return {
        "type": ["number", "null"],
        "exclusiveMinimum": 0,
        "maximum": LARGEST,
        "x-left-out": "default",
        "description": f"{description}; without it, unit variance is scaled by the variable `noise`",
    }


_RANGE = _number("distance at which the covariance has fallen to 1/e [km]", exclusiveMinimum=0)
_SILL = _amplitude("partial sill, the variance of the correlated part [m²]")
_NUGGET = {
    **_number(
        "nugget, the variance of the part that is independent from pixel to pixel; needs `sill` [m²]",
        minimum=0,
        maximum=LARGEST,
    ),
    "x-left-out": "default",
}

NOISES: dict[str, Entry] = {
    "white": Entry(
        build=WhiteNoise,
        parameters={"properties": {"standard_deviation": _amplitude("standard deviation [m]")}},
        help="White noise: independent from pixel to pixel.",
        example={"type": "white", "parameters": {}},
    ),
    "exponential": Entry(
        build=ExponentialNoise,
        parameters={"properties": {"range": _RANGE, "sill": _SILL, "nugget": _NUGGET}, "required": ["range"]},
        help="Spatially correlated, as by the atmosphere: covariance sill exp(-h/range) at distance h, "
        "semivariogram nugget + sill (1 - exp(-h/range)).",
        example={"type": "exponential", "parameters": {"range": 2.0}},
    ),
    "gaussian": Entry(
        build=GaussianNoise,
        parameters={"properties": {"range": _RANGE, "sill": _SILL, "nugget": _NUGGET}, "required": ["range"]},
        help="Spatially correlated and smooth: covariance sill exp(-(h/range)²) at distance h, "
        "semivariogram nugget + sill (1 - exp(-(h/range)²)).",
        example={"type": "gaussian", "parameters": {"range": 5.0, "sill": 2e-5, "nugget": 3e-6}},
    ),
    "power_law": Entry(
        build=PowerLawNoise,
        parameters={
            "properties": {
                "difference_at_1_km": _amplitude(
                    "standard deviation of the difference between two points 1 km apart [m]"
                ),
                "outer_scale": _number(
                    "length beyond which the spectrum levels off, so that the variance is finite [km]",
                    exclusiveMinimum=0,
                    maximum=10_000,
                ),
                "spectral_slope": _number(
                    "slope of the power spectrum along a line; the two-dimensional spectrum is steeper by 1",
                    exclusiveMinimum=-3,
                    exclusiveMaximum=-1,
                ),
            },
        },
        help="Turbulent atmosphere: power spectrum of slope -8/3 along a line, -11/3 in two dimensions (Kolmogorov).",
        example={"type": "power_law", "parameters": {"difference_at_1_km": 0.005}},
    ),
    "stratified": Entry(
        build=StratifiedNoise,
        parameters={
            "properties": {
                "slope": _number(
                    "standard deviation of the slope, in metres per kilometre of elevation",
                    exclusiveMinimum=0,
                    maximum=LARGEST,
                )
            },
            "required": ["slope"],
        },
        help="Stratified troposphere: linear in the elevation above the view's mean; the slope is drawn per image.",
        example={"type": "stratified", "parameters": {"slope": 0.02}},
    ),
    "ramp": Entry(
        build=RampNoise,
        parameters={
            "properties": {
                "slope": _number(
                    "standard deviation of the slope east and of the slope north [m/km]",
                    exclusiveMinimum=0,
                    maximum=LARGEST,
                ),
                "quadratic": _number(
                    "standard deviation of the coefficients of x², xy and y² [m/km²]", minimum=0, maximum=LARGEST
                ),
            },
            "required": ["slope"],
        },
        help="Orbital errors: a plane or a quadratic surface that is 0 at x = y = 0, drawn for each image.",
        example={"type": "ramp", "parameters": {"slope": 0.001}},
    ),
    "offset": Entry(
        build=OffsetNoise,
        parameters={"properties": {"standard_deviation": _amplitude("standard deviation [m]")}},
        help="A constant offset of the whole view, drawn for each image: radar displacements have no absolute zero.",
        example={"type": "offset", "parameters": {"standard_deviation": 0.02}},
    ),
    "decorrelation": Entry(
        build=Decorrelation,
        parameters={
            "properties": {
                "share": _number(
                    "expected share of hidden pixels; it differs from image to image",
                    exclusiveMinimum=0,
                    exclusiveMaximum=1,
                ),
                "patch_size": _number("mean width of a hidden patch along a line [km]", exclusiveMinimum=0),
            },
            "required": ["share", "patch_size"],
        },
        help="Random patches of hidden pixels: images are 0 there, and so is the variable `mask` (elsewhere 1).",
        example={"type": "decorrelation", "parameters": {"share": 0.2, "patch_size": 1.0}},
    ),
}
