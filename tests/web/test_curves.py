"""Learning curves of runs with folds: the median over folds, and the middle half of them as a
band.
"""

import json

import numpy as np
import pytest

import qexp as package
from qexp.store.directory import RunDirectory
from qexp.web.drawings import curves, curves_of_runs
from tests import stones


def folds(count: int, epochs: int = 5) -> dict[str, list[dict]]:
    """Folds whose losses are known numbers; the first one ends early."""
    losses = np.random.default_rng(0).lognormal(size=(count, epochs)).tolist()
    made = {
        f"{number:03d}": [
            {
                "epoch": 1 + epoch,
                "train": {"loss": loss},
                "validation": {"loss": 2 * loss, "iron": {"mae": 3 * loss}},
            }
            for epoch, loss in enumerate(of_fold)
        ]
        for number, of_fold in enumerate(losses)
    }
    made["000"] = made["000"][: epochs - 2]
    return made


def of(made: dict[str, list[dict]], epoch: int) -> list[float]:
    return [lines[epoch]["train"]["loss"] for lines in made.values() if len(lines) > epoch]


def test_a_run_of_a_comparison_is_the_median_of_its_folds_in_a_band_of_the_middle_half():
    lines = folds(9)
    loss, iron = curves_of_runs({"a": list(lines.values()), "b": [lines["001"]]}, {"iron": "wt%"})
    first, second = (
        next(series for series in loss.series if series.words == f"{run} training") for run in "ab"
    )
    for epoch in range(5):
        low, middle, high = np.percentile(of(lines, epoch), (25, 50, 75))
        assert first.values[epoch] == pytest.approx(middle)
        assert [edge[epoch] for edge in first.band] == pytest.approx([low, high])
    assert second.values == pytest.approx([lines["001"][at]["train"]["loss"] for at in range(5)])
    assert second.band is None
    assert iron.series[0].values[0] == pytest.approx(3 * np.median(of(lines, 0)))


def test_the_median_ends_when_most_folds_have_ended():
    lines = {"000": folds(3)["001"], "001": folds(3)["001"][:2], "002": folds(3)["001"][:2]}
    alone, beside = [list(lines.values())], [list(lines.values()), [lines["000"]]]
    for runs, epochs in ((alone, 2), (beside, 5)):
        panel = curves_of_runs(dict(zip("ab", runs, strict=False)), {})[0]
        series = panel.series[0]
        assert panel.x == list(range(1, epochs + 1))
        assert [value is None for value in series.values] == [False, False, True, True, True][
            :epochs
        ]
        assert [len(edge) for edge in series.band] == [epochs, epochs]


def test_the_many_folds_of_one_run_lie_behind_their_median():
    loss, _ = curves(folds(12), {})
    faint = [series for series in loss.series if series.faint]
    assert len(faint) == 2 * 12
    assert [series.words for series in loss.series[len(faint) :]] == [
        f"median of 12 folds {part}" for part in ("training", "validation")
    ]
    assert not any(series.faint for series in curves(folds(4), {})[0].series)


def test_folds_that_were_trained_without_validation_have_curves_of_training():
    lines = [{"epoch": 1, "train": {"loss": 1.0}, "validation": {"loss": None}}]
    (panel,) = curves_of_runs({"a": [lines, lines], "b": [lines]}, {})
    assert [series.words for series in panel.series] == ["a training", "b training"]


@pytest.mark.heavy
def test_a_comparison_of_cross_validated_runs_draws_each_as_the_median_of_its_folds(
    trained, open_page, tmp_path
):
    stones.write(trained, None)
    for seed in range(2):
        package.run("stones", seed=seed, device="cpu")
    page = open_page(package.report("stones_*", to=tmp_path / "stones.html"))
    legend = page.locator(".curves .of-curves").first.inner_text()
    assert "stones_0 training, median of 4 folds" in legend
    assert "mean of 2 seeds" in legend
    first = json.loads(page.locator('[data-draw="curves"] script').text_content())[0]["series"][0]
    all_folds = RunDirectory(trained / "runs/stones_0").all_folds()
    losses = [[line["train"]["loss"] for line in fold.metrics()] for fold in all_folds]
    np.testing.assert_allclose(first["values"], np.median(losses, axis=0), rtol=1e-6)
    np.testing.assert_allclose(first["band"], np.percentile(losses, (25, 75), axis=0), rtol=1e-6)
