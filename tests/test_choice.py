"""Of the heavy tests, continuous integration runs those that a change touches, and each of the
others in some turn.
"""

import pytest

from tests.choice import TURNS, Choice, all_files
from tests.source import reads_all_modules


def of_change(*changed, commit="0" * 40):
    return Choice(frozenset(changed), commit)


@pytest.mark.heavy
@reads_all_modules
def test_a_change_chooses_the_tests_of_its_room_and_of_those_that_import_it():
    choice = of_change("qexp/physics/xrf.py")
    assert choice.touches("tests/physics/test_xrf.py")
    assert choice.touches("tests/examples/test_xrf_folders.py")  # qexp.examples.xrf imports it
    assert not choice.touches("tests/tuning/test_tune.py")
    assert of_change("qexp/web/static/page.css").touches("tests/web/test_report.py")
    assert of_change("tests/slurm/cluster.py").touches("tests/slurm/test_arrays.py")
    assert of_change("tests/tuning/test_tune.py").touches("tests/tuning/test_tune.py")


@reads_all_modules
def test_what_all_tests_need_touches_them_all():
    assert all(of_change("constraints.txt").touches(file) for file in all_files())


@pytest.mark.heavy
@reads_all_modules
def test_each_of_the_other_files_has_its_turn():
    turns = [
        {file for file in all_files() if of_change(commit=f"{turn:08x}").takes(file)}
        for turn in range(TURNS)
    ]
    assert len(all_files()) > 100
    assert set.union(*turns) == set(all_files())
    assert sum(map(len, turns)) == len(all_files())
