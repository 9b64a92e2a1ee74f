"""Figures of classes say what is counted independently of them."""

import re

import numpy as np
import pytest
import scipy.stats
import xarray

from qexp.base.outputs import Classes
from qexp.figures.classes import BINS, class_panels, reliability
from tests.figures.drawings import of_classes

NAMES = ["basalt", "granite", "schist"]


def panel(figure, label):
    return next(axis for axis in figure.axes if label in (axis.get_xlabel(), axis.get_ylabel()))


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def detection(own, others, rate):
    """The largest share above any threshold that at most so many of the others reach."""
    thresholds = [np.inf, *own, *others]
    return max(np.mean(own >= each) for each in thresholds if np.mean(others >= each) <= rate)


def test_cells_hold_the_samples_of_a_class_by_their_likeliest_one():
    names, codes, probabilities = of_classes(NAMES, seed=1)
    axis = panel(class_panels(names, codes, probabilities, ""), "estimated")
    written = {text.get_position(): int(text.get_text()) for text in axis.texts}
    likeliest = [max(range(3), key=list(row).__getitem__) for row in probabilities]
    pairs = list(zip(likeliest, codes.astype(int).tolist(), strict=True))
    assert written == {pair: pairs.count(pair) for pair in set(pairs)}
    shades = axis.images[0].get_array()
    for (column, row), count in written.items():
        assert shades[row, column] == pytest.approx(count / 300)
    right = np.mean(probabilities.argmax(axis=1) == codes)
    assert axis.get_title() == f"{100 * right:.1f} % of 900 right"


def test_the_legend_has_the_chance_of_the_right_order_and_detection_at_one_percent_of_false_alarms():
    names, codes, probabilities = of_classes(NAMES, seed=2)
    figure = class_panels(names, codes, probabilities, "")
    for code, line in enumerate(legend(figure)):
        own, others = probabilities[codes == code, code], probabilities[codes != code, code]
        pairs = np.sign(own[:, None] - others)
        area, rate = re.fullmatch(rf"{names[code]}: AUC (.*), (.*) % at 1 %", line).groups()
        assert float(area) == pytest.approx((pairs.mean() + 1) / 2, abs=6e-4)
        assert float(rate) == pytest.approx(100 * detection(own, others, 0.01), abs=0.51)


def test_tied_probabilities_are_detected_by_no_threshold_between_them():
    probability = np.repeat([1.0, 0.0], [60, 240])  # that of 10 others and 50 own is 1
    codes = np.repeat([0.0, 1.0, 1.0, 0.0], [50, 10, 190, 50])
    probabilities = np.column_stack([probability, 1 - probability])
    figure = class_panels(["source", "none"], codes, probabilities, "")
    assert legend(figure)[0] == "source: AUC 0.725, 0 % at 1 %"
    low = figure.axes[2]
    assert low.get_xscale() == "log"
    drawn = next(line for line in low.lines if len(line.get_xdata()) > 2)
    assert drawn.get_drawstyle() == "steps-post"


def test_few_others_tell_detection_without_any_false_alarm():
    names, codes, probabilities = of_classes(["none", "source"], 20)
    own, others = probabilities[codes == 1, 1], probabilities[codes == 0, 1]
    share = 100 * np.mean(own > others.max())
    assert legend(class_panels(names, codes, probabilities, ""))[1].endswith(
        f"{share:.0f} % at 0 of 20"
    )


def test_bins_hold_all_samples_and_their_intervals_are_clopper_and_pearsons():
    random = np.random.default_rng(3)
    stated = random.uniform(size=5000)
    right = random.uniform(size=5000) < stated
    bins = reliability(stated, right)
    assert len(bins) == BINS
    for number, (middle, share, low, high) in enumerate(bins):
        inside = (stated >= number / BINS) & (stated < (number + 1) / BINS)
        hits, count = right[inside].sum(), inside.sum()
        assert (middle, share) == pytest.approx((stated[inside].mean(), hits / count))
        ends = scipy.stats.beta.ppf(
            [0.025, 0.975], [hits, hits + 1], [count - hits + 1, count - hits]
        )
        assert [low, high] == pytest.approx(np.where(np.isnan(ends), [0, 1], ends))


@pytest.mark.parametrize("number", [1, 9, 10, 19, 20, 35])
def test_bins_of_few_samples_are_joined(number):
    stated = np.linspace(0, 1, number) ** 3
    bins = reliability(stated, stated > 0.3)
    assert 1 <= len(bins) <= max(number // 10, 1)
    assert (np.diff(bins[:, [2, 1, 3]]) >= 0).all()


@pytest.mark.heavy
def test_true_probabilities_lie_in_their_intervals():
    inside = []
    for seed in range(8):
        _, codes, probabilities = of_classes(NAMES, seed=seed)
        for code in range(3):
            middle, _, low, high = reliability(probabilities[:, code], codes == code).T
            inside.extend((low <= middle) & (middle <= high))
    assert len(inside) > 190
    assert 0.93 < np.mean(inside) <= 1


def test_samples_without_a_class_or_an_estimate_are_left_out_and_counted():
    names, codes, probabilities = of_classes(NAMES)
    codes[:7] = np.nan
    probabilities[-5:, 1] = np.nan
    figure = class_panels(names, codes, probabilities, "")
    assert any("left out: 12 without" in text.get_text() for text in figure.texts)
    rows = [text.get_text() for text in panel(figure, "estimated").get_yticklabels()]
    assert rows == ["basalt  (293)", "granite  (300)", "schist  (295)"]


@pytest.mark.parametrize("present", [[0], [0, 2]])
def test_a_class_without_samples_has_an_empty_row_and_no_curve(present):
    names, codes, probabilities = of_classes(["basalt", "$granite$", "schist"], 40)
    kept = np.isin(codes, present)
    figure = class_panels(names, codes[kept], probabilities[kept], "")
    matrix = panel(figure, "estimated")
    assert np.isnan(np.ma.filled(matrix.images[0].get_array(), np.nan)[1]).all()
    assert matrix.get_yticklabels()[1].get_text() == r"\$granite\$  (0)"
    drawn = [line.split(":")[0] for line in legend(figure)] if figure.legends else []
    assert drawn == [names[code] for code in present if len(present) > 1]


def test_of_many_classes_those_of_least_area_are_named():
    names, codes, probabilities = of_classes([f"rock {n}" for n in range(12)], 30)
    areas = []
    for code in range(12):
        own, others = probabilities[codes == code, code], probabilities[codes != code, code]
        areas.append(np.mean(own[:, None] > others))
    named = {line.split(":")[0] for line in legend(class_panels(names, codes, probabilities, ""))}
    assert named == {names[code] for code in np.argsort(areas)[:6]}


def test_a_file_of_test_predictions_gives_codes_and_probabilities_in_the_order_of_its_columns():
    truth = np.array(["schist", "basalt", "", "gneiss"], dtype=object)
    columns = {name: ("row", np.full(4, n / 3)) for n, name in enumerate(NAMES)}
    table = xarray.Dataset({f"rock_probability_{name}": one for name, one in columns.items()})
    rock = Classes("rock", names=tuple(NAMES))
    np.testing.assert_array_equal(rock.codes(truth), [2, 0, np.nan, np.nan])
    read = rock.read({str(name): table[name] for name in table}).middle
    np.testing.assert_allclose(read, np.tile([0, 1 / 3, 2 / 3], (4, 1)))
