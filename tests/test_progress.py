"""The progress of what is counted, where no terminal shows it."""

import logging
import re

from qexp.api import progress
from qexp.api.progress import LOG, PoolDisplay, TrainingDisplay, notices
from qexp.store.record import State


def test_where_no_bar_can_be_drawn_a_line_now_and_then_tells_how_long_it_will_take(
    monkeypatch, capsys
):
    monkeypatch.setattr(progress, "SECONDS_OF_LINE", 0.0)
    with progress.bar("integrating") as show:
        show(0.5, "10 of 20 samples")
        show(1.0, "20 of 20 samples")
    assert re.fullmatch(
        r"integrating: 10 of 20 samples, about \d+ s left\n", capsys.readouterr().err
    )


def test_a_script_without_logging_sees_the_warnings_of_its_runs_and_one_with_logging_once(
    capsys, monkeypatch
):
    monkeypatch.setattr(LOG, "propagate", False)  # as pytest listens above
    with notices() as tell:
        LOG.warning("the intervals are too narrow")
        tell("a second one")
    assert (
        capsys.readouterr().err == "warning: the intervals are too narrow\nwarning: a second one\n"
    )
    handler = logging.NullHandler()
    LOG.addHandler(handler)
    try:
        with notices():
            LOG.warning("said by the program's own logging")
    finally:
        LOG.removeHandler(handler)
    assert capsys.readouterr().err == ""


def test_epochs_are_counted_among_those_planned_if_a_program_says_how_many(capsys):
    line = {"epoch": 1, "train": {"loss": 0.5}, "validation": {"loss": None}}
    for planned in (2, 0):
        display = TrainingDisplay()
        display.start("run_0", planned, 0)
        display.epoch(line, 0.25)
    first, second = capsys.readouterr().err.splitlines()
    assert first == "epoch 1/2  loss 0.5  0.25 s/epoch"
    assert second == "epoch 1  loss 0.5  0.25 s/epoch"


def test_runs_that_a_pool_did_not_know_of_are_counted_once_they_start(capsys):
    display = PoolDisplay()
    display.start([])
    for run in ("a", "b"):
        display.run_started(run)
        display.run_ended(run, State.DONE, 1.0)
    display.stop()
    assert re.findall(r"\((.+)\)", capsys.readouterr().err) == ["1 of 1", "2 of 2"]
