"""The depth of a point source from the half-width of its uplift: a program without qexp, network or
packages.

Uplift over a point source at the depth d falls with the distance r as (1 + (r/d)²)^(-3/2): Mogi
(1958), Bull. Earthq. Res. Inst. Univ. Tokyo 36, 99-134. At the half-width it is half of its largest
value, so that d is r / 0.766.
"""

import argparse
import json
import math
import random
from pathlib import Path

HALF_WIDTH = math.sqrt(2 ** (2 / 3) - 1)
"""Half-width of the uplift in depths."""


def estimated_depth(profile: list[float], spacing: float) -> float:
    """The depth [km] from uplift at the distances 0, spacing, 2 spacing … [km]."""
    half = profile[0] / 2
    beyond = next(
        (index for index, uplift in enumerate(profile) if uplift < half), len(profile) - 1
    )
    before, after = profile[beyond - 1], profile[beyond]
    share = (before - half) / (before - after) if before != after else 0.0
    return (beyond - 1 + share) * spacing / HALF_WIDTH


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--seed", type=int, required=True)
    options.add_argument(
        "--noise",
        type=float,
        required=True,
        help="standard deviation, relative to the largest uplift",
    )
    options.add_argument("--samples", type=int, required=True)
    options.add_argument("--results", type=Path, required=True)
    given = options.parse_args()
    draw, spacing = random.Random(given.seed), 0.1
    errors = []
    for _ in range(given.samples):
        depth = draw.lognormvariate(0.0, 0.5)
        exact = [(1 + (index * spacing / depth) ** 2) ** -1.5 for index in range(100)]
        errors.append(
            estimated_depth([uplift + draw.gauss(0.0, given.noise) for uplift in exact], spacing)
            - depth
        )
    print(f"{len(errors)} depths estimated")
    mae = sum(map(abs, errors)) / len(errors)
    rmse = math.sqrt(sum(error**2 for error in errors) / len(errors))
    given.results.write_text(json.dumps({"test": {"depth": {"mae": mae, "rmse": rmse}}}))


if __name__ == "__main__":
    main()
