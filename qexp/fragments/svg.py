"""Drawings as SVG, in the colour of the text around them: they need no script and no style."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markupsafe import Markup

LETTER = 7.2
"""Mean width of a letter at 12 px."""

COLOURS = ("#2a86c9", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#8c6d31", "#7f7f7f")
"""Of lines and points: distinct for colour-blind readers, and visible on white and on black (after Okabe and Ito)."""

STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True)
class Drawn:
    """A drawing and its title."""

    title: str
    drawing: Markup


def element(name: str, *children: Markup | str, **attributes: object) -> Markup:
    """An element: `text_anchor="end"` gives text-anchor; None leaves an attribute out. Texts are escaped."""
    from markupsafe import Markup, escape

    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_written(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{given}>{''.join(map(escape, children))}</{name}>")


def _written(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def drawing(width: float, height: float, label: str, *children: Markup) -> Markup:
    """A drawing that shrinks with the page.

    label  what it shows, for those who do not see it
    """
    return element(
        "svg", *children,
        xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {width:.6g} {height:.6g}", width=width, height=height,
        role="img", aria_label=label, font_family="system-ui, sans-serif", font_size=12, fill="currentColor",
    )  # fmt: skip


def fitted(text: str, width: float) -> str:
    """A text that is cut in its middle to a width in pixels."""
    most = max(math.floor(width / LETTER + 1e-6), 2)
    start = (most - 1) // 2
    return text if len(text) <= most else f"{text[:start]}…{text[len(text) - (most - 1 - start) :]}"


def width_of(text: str) -> float:
    return LETTER * len(text)


def ticks(low: float, high: float, count: int) -> list[float]:
    """About `count` round numbers between two ends."""
    rough = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(one * power for one in STEPS if one * power >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [float(f"{index * step:.12g}") for index in range(first, last + 1)]


def logarithmic_ticks(low: float, high: float) -> list[float]:
    """Powers of ten between two positive ends, with 2 and 5 times these where there would be few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 3), (1, 2, 5), (1, 2, 3, 4, 5, 6, 7, 8, 9)):
        found = [factor * 10.0**power for power in powers for factor in factors]
        inside = [value for value in found if low <= value <= high]
        if len(inside) >= 3:
            break
    return inside


def number(value: float) -> str:
    """A number at a tick."""
    if value == 0:
        return "0"
    text = f"{value:.4g}" if 1e-4 <= abs(value) < 1e6 else f"{value:.3g}"
    return text.replace("-", "−")
