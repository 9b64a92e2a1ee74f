import numpy as np
import pytest

from qexp.figures.searches import Varied, search_panels


@pytest.mark.heavy
def test_choices_that_are_numbers_are_drawn_at_their_ticks_and_words_beside_each_other():
    sizes, names = ["4", "8", "16"] * 4, ["adam", "muon", "sgd"] * 4
    keys = [
        Varied("batch_size", sizes, sizes[:3], log=False),
        Varied("optimizer", names, names[:3], log=False),
    ]
    figure = search_panels(
        "validation: loss", np.arange(12.0), [False] * 12, keys, title="12 trials"
    )
    of_sizes, of_names = (panel.lines[0].get_xdata() for panel in figure.axes[1:3])
    np.testing.assert_array_equal(of_sizes, [0, 1, 2] * 4)
    assert len(set(of_names)) == 12
