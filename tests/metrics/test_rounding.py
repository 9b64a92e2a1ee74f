import pytest

from qexp.metrics.meaning import measured, rounding


@pytest.mark.parametrize(
    ("mean", "deviation", "written"),
    [
        (0.0097182, 0.00040123, "0.00972 ± 0.00040"),
        (0.2053, 0.0573, "0.205 ± 0.057"),
        (12345.0, 567.0, "12340 ± 570"),
        (1.0, 0.0996, "1.00 ± 0.10"),
        (9.96, 9.96, "10 ± 10"),
        (0.999841, 2.3e-5, "0.999841 ± 0.000023"),
        (-0.0001, 0.05, "0.000 ± 0.050"),
        (1.234e-9, 5.6e-11, "(1.234 ± 0.056)e-09"),
        (3.2e7, 1.5e6, "(3.20 ± 0.15)e+07"),
        (0.5, 0.0, "0.5 ± 0"),
        (0.0097182, None, "0.009718"),
    ],
)
def test_a_deviation_is_written_with_two_significant_digits_and_its_mean_to_the_same_place(mean, deviation, written):
    assert measured(mean, deviation) == written


def test_the_ends_of_an_interval_are_written_to_the_same_place():
    assert rounding(1.5, 0.12).interval(1.4, 1.625) == "[1.40, 1.62]"
    assert rounding(-2e-7, 3e-8).interval(-2.31e-7, 1e-9) == "[-2.31e-07, 0.01e-07]"
