"""Images of samples in which not every pixel is seen."""

import numpy as np
import pytest

from qexp.figures.fields import NO_DATA, Extent
from qexp.kinds.images.figures import ImageSample, sample_images

EXTENT = Extent(-1.0, 1.0, -1.0, 1.0, "km")


def drawn(*images):
    samples = [
        ImageSample(["depth 1 km"], {"displacement": image}, {"displacement": EXTENT})
        for image in images
    ]
    return sample_images(samples, {"displacement": "m"}, "holes")


def limits(figure):
    return [axis.images[0].get_clim() for axis in figure.axes if axis.images]


@pytest.mark.parametrize(
    "hidden", [np.full((4, 4), np.nan), np.where(np.eye(4) > 0, np.nan, 0.2)], ids=["all", "some"]
)
def test_what_is_not_seen_is_grey_and_has_no_part_in_the_colour_scale(hidden):
    whole = np.linspace(-0.1, 0.3, 16).reshape(4, 4)
    figure = drawn(whole, hidden)
    assert limits(figure) == [(-0.3, 0.3)] * 2
    assert "grey: not seen" in figure.get_suptitle() + "".join(
        text.get_text() for text in figure.texts
    )
    assert figure.axes[0].get_facecolor()[:3] == (float(NO_DATA),) * 3
    alone = drawn(whole)
    assert "grey" not in alone.get_suptitle() + "".join(text.get_text() for text in alone.texts)


def test_samples_of_which_nothing_is_seen_at_all_are_drawn():
    assert np.isfinite(limits(drawn(np.full((4, 4), np.nan)))).all()


def test_the_names_of_views_stand_above_their_images():
    image = np.eye(4)
    images = {"displacement": image, "displacement_1": image}
    extents = {"displacement": EXTENT, "displacement_1": EXTENT}
    units, sample = dict.fromkeys(images, "m"), ImageSample(["depth 1 km"], images, extents)
    above = [
        [
            axis.get_title().splitlines()[-1]
            for axis in sample_images([sample], units, "two", views).axes[:2]
        ]
        for views in ([], ["", "track_44"])
    ]
    assert above == [["displacement", "displacement 1"], ["displacement", "track_44 displacement"]]
