"""Samples that were never measured or computed are told from those that are constant, or equal, by
their nature.
"""

import re

import numpy as np
import pytest

from qexp.rows.unmeasured import in_words, targets_among, unmeasured

COUNT, SIDE = 600, 12
random = np.random.default_rng(0)
DEPTH, VOLUME = random.uniform(1, 5, COUNT), random.uniform(1, 10, COUNT)
RATE = np.exp(random.normal(0, 3, COUNT))
X, Y = np.meshgrid(np.arange(SIDE) - SIDE / 2, np.arange(SIDE) - SIDE / 2)
IMAGES = (
    VOLUME[:, None, None] * DEPTH[:, None, None] / (DEPTH[:, None, None] ** 2 + X**2 + Y**2) ** 1.5
)
COUNTS = random.poisson(RATE[:, None] * [1, 0.5, 2])
CLIPPED = np.round(VOLUME[:, None] * np.clip(1 - np.linspace(0, 3, 8) / DEPTH[:, None], 0, None), 3)
RAIN = np.maximum(random.normal(DEPTH - 3, 1), 0)[:, None]
ORDER = np.argsort(RATE)


def changed(values, where, new=0.0):
    values = np.array(values, float)
    values[where] = new
    return values


def bordered(widths):
    return np.stack(
        [changed(image, slice(width)) for image, width in zip(IMAGES, widths, strict=True)]
    )


def said(values, *parameters):
    values, usable = np.asarray(values, np.float32), np.ones(len(values), bool)
    found = unmeasured(lambda rows: values[rows], len(values))
    return list(
        in_words(
            found, "'x'", "simulations", usable, np.stack(parameters or (DEPTH, VOLUME), axis=1)
        )
    )


LAST = slice(450, None)
THROUGHOUT = r"'x' is 0 throughout in 15\d of 600 simulations \(4\d\d to 599\)"

NEVER = {
    "the last images": (changed(IMAGES, LAST), THROUGHOUT),
    "the last images, with borders": (changed(bordered([3] * COUNT), LAST), THROUGHOUT),
    "every eighth image": (
        changed(IMAGES, slice(None, None, 8)),
        r"0 throughout in 75 of 600 simulations \(the first: 0",
    ),
    "one image": (changed(IMAGES, 7), "0 throughout in 1 of 600"),
    "another value": (
        changed(IMAGES, slice(7, 9), -1),
        r"-1 throughout in 2 of 600 simulations \(7 to 8",
    ),
    "counts, of which many are 0": (changed(COUNTS, LAST), THROUGHOUT),
    "one number, often 0": (changed(RAIN, LAST), THROUGHOUT),
    "series that end with 0": (changed(CLIPPED, LAST), THROUGHOUT),
    "a constant each": (
        changed(IMAGES, slice(40), DEPTH[:40, None, None]),
        "'x' is constant in 40 of 600",
    ),
    "an earlier image": (
        changed(IMAGES, slice(50, 90), IMAGES[3]),
        r"another one in 40 of 600 simulations \(the first: that of 50",
    ),
    "a rounded image": (
        changed(np.round(90 * IMAGES), slice(50, 90), np.round(90 * IMAGES[3])),
        "that of another one in",
    ),
}


@pytest.mark.parametrize("case", NEVER)
def test_samples_that_were_never_written_are_counted(case):
    values, words = NEVER[case]
    (sentence,) = said(values)
    assert re.search(words, sentence)


NATURAL = {
    "images": (IMAGES,),
    "noise": (IMAGES + random.normal(0, 0.01, IMAGES.shape),),
    "the same border": (bordered([3] * COUNT),),
    "borders of several widths": (bordered(random.integers(0, 9, COUNT)),),
    "a sensor that saturates": (np.minimum(30 * IMAGES, 1),),
    "a camera of eight bits": (np.round(90 * IMAGES).clip(0, 255),),
    "counts, of which many are 0": (COUNTS, RATE),
    "counts in the order of their rate": (COUNTS[ORDER], RATE[ORDER]),
    "hardly any counts": (random.poisson(0.03, (COUNT, 3)),),
    "two counts": (random.poisson(VOLUME[:, None], (COUNT, 2)),),
    "one number, often 0": (RAIN,),
    "series that end with 0": (CLIPPED,),
    "whole numbers of a noise-free model": (np.round(1e3 * CLIPPED / 9),),
    "one of five": (np.eye(5)[random.integers(0, 5, COUNT)],),
    "rounded pairs": (np.round(random.normal(DEPTH[:, None], 0.1, (COUNT, 2)), 1),),
    "a constant for all": (np.repeat(DEPTH[:, None], 9, axis=1),),
    "the parameters are the same, too": (
        np.repeat(IMAGES[:300], 2, axis=0),
        np.repeat(DEPTH[:300], 2),
    ),
}


@pytest.mark.parametrize("case", NATURAL)
def test_what_is_constant_or_equal_by_nature_is_not_said(case):
    assert not said(*NATURAL[case])


def test_a_copy_of_the_target_is_told_from_what_only_predicts_it_well():
    target = {"iron": DEPTH}
    leaks = {"same": DEPTH.round(4), "scaled": 3 - 1e-3 * DEPTH}
    predictors = {"noisy": DEPTH + 0.01 * VOLUME, "square": DEPTH**2, "constant": 0 * DEPTH}
    assert [text.partition(",")[0] for text in targets_among({**leaks, **predictors}, target)] == [
        "'same' is the output 'iron'",
        "'scaled' is a linear function of the output 'iron'",
    ]
    assert not list(targets_among({"few": DEPTH[:2]}, {"iron": VOLUME[:2]}))
