"""The progress of what is counted, where no terminal shows it."""

import re

from qexp.api import progress


def test_where_no_bar_can_be_drawn_a_line_now_and_then_tells_how_long_it_will_take(monkeypatch, capsys):
    monkeypatch.setattr(progress, "SECONDS_OF_LINE", 0.0)
    with progress.bar("integrating") as show:
        show(0.5, "10 of 20 samples")
        show(1.0, "20 of 20 samples")
    assert re.fullmatch(r"integrating: 10 of 20 samples, about \d+ s left\n", capsys.readouterr().err)
