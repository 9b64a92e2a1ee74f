"""Pictures of fields over time."""

import numpy as np
import pytest

from qexp.figures.fields import Extent, Moment, draw_moments, extent, thinned
from qexp.figures.writing import save
from qexp.kinds.fields.figures import errors_by_thickness


def pixels(path):
    import matplotlib.image

    return matplotlib.image.imread(path)


CELLS = Extent(0, 5, 0, 3, "cells")


@pytest.mark.parametrize(
    ("x", "y", "edges"),
    [
        (np.arange(5) * 100.0 + 50, np.arange(3) * 200.0 + 1100, Extent(0, 0.5, 1.0, 1.6, "km")),
        (None, None, CELLS),
        ([1.0], [1.0, 2.0], CELLS),
        (None, [0.0, 1.0], CELLS),
    ],
)
def test_the_edges_of_a_field_lie_half_a_cell_beyond_its_outer_centres_or_are_counted_in_cells(
    x, y, edges
):
    assert extent(x, y, (3, 5)) == edges


def test_no_panel_gets_more_cells_than_it_can_show_and_small_fields_stay_as_they_are():
    assert max(thinned(np.zeros((1900, 700), np.float32)).shape) <= 600
    small = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.testing.assert_array_equal(thinned(small), small)


@pytest.mark.heavy
def test_one_scale_holds_for_all_times_so_that_faster_ice_looks_faster(tmp_path):
    slow, fast = (np.full((20, 30), value, np.float32) for value in (1.0, 2.0))
    moments = [Moment("t", {"speed": field}, {"speed": field}) for field in (slow, fast, slow)]
    files = [tmp_path / f"{number}.png" for number in range(3)]
    for made, file in zip(
        draw_moments(moments, {"speed": "m a-1"}, [], Extent(0, 3, 0, 2, "km")), files, strict=True
    ):
        save(made, file)
    first, second, third = map(pixels, files)
    height, width = first.shape[:2]
    of_truth = (slice(height // 2, height // 2 + 5), slice(width // 5, width // 5 + 5))
    np.testing.assert_array_equal(first, third)
    assert not np.array_equal(first[of_truth], second[of_truth])


@pytest.mark.heavy
def test_cells_without_ice_are_grey_and_a_field_without_any_ice_is_drawn(tmp_path):
    empty = np.full((20, 20), np.nan, np.float32)
    moment = Moment("t", {"u": empty, "v": empty}, {"u": empty, "v": empty})
    (made,) = draw_moments([moment], {}, [("u", "v")], Extent(0, 20, 0, 20, "cells"))
    save(made, tmp_path / "a.png")
    assert (np.abs(pixels(tmp_path / "a.png")[..., :3] - 0.88).max(axis=-1) < 0.01).mean() > 0.4


def test_a_share_that_is_too_large_to_be_shown_is_written_above_its_class():
    classes, shares = ["1–25 m", "25–50 m", "50–100 m"], {"u, v": [813.0, 30.0, float("nan")]}
    errors = {"u": {"rmse": [1.0, 2.0, 3.0]}}
    of_output, of_vector = errors_by_thickness(
        classes, [1, 2, 3], errors, shares, {"u": "m a-1"}
    ).axes
    assert of_output.get_ylabel() == "error (m a⁻¹)"
    assert of_vector.get_ylim()[1] < 40
    assert [(text.get_text(), text.get_position()[0]) for text in of_vector.texts] == [("813 ↑", 0)]
