"""The benchmark of how costs grow with size: what it makes of its measurements, and one of its
directions in small.
"""

import json

import pytest

from benchmarks import scale


def written(path, *lines):
    path.write_text("".join(json.dumps({"direction": "runs", **line}) + "\n" for line in lines))
    return path


def cost(size, seconds, megabytes=100.0):
    return {
        "name": "ls",
        "size": size,
        "seconds": 2 * seconds,
        "core_seconds": seconds,
        "megabytes": megabytes,
    }


def test_medians_are_of_all_lines_of_a_file_in_whatever_order(tmp_path):
    lines = [
        cost(1_000, 4.0),
        cost(10, 1.0),
        cost(1_000, 6.0),
        cost(1_000, 50.0),
        {"fact": "files", "value": 3.0},
    ]
    measured = scale.read(written(tmp_path / "scale.jsonl", *lines))
    (line,) = measured["runs"].lines
    assert (line.sizes, line.times) == ([10, 1_000], 1)
    assert [one.core_seconds for one in line.costs] == [1.0, 6.0]
    assert measured["runs"].facts == {"files": 3.0}


def test_one_more_costs_the_difference_between_the_largest_two(tmp_path):
    measured = scale.read(
        written(tmp_path / "scale.jsonl", cost(1, 9.0), cost(100, 10.0), cost(1_100, 30.0, 350.0))
    )
    (line,) = measured["runs"].lines
    assert line.each() == pytest.approx(0.02)
    assert line.each("megabytes") == pytest.approx(0.25)
    assert line.ratio("seconds") == pytest.approx(30 / 9)


@pytest.mark.heavy
def test_runs_are_handed_to_what_stands_for_a_scheduler(tmp_path):
    file = tmp_path / "scale.jsonl"
    bench = scale.Bench(tmp_path / "workspace", {"queued": (1, 3)}, 1, "queued", file)
    bench.folder.mkdir()
    bench.qexp("init", ".")
    scale.queued(bench)
    (line,) = scale.read(file)["queued"].lines
    assert line.sizes == [1, 3]
    assert all(one.core_seconds > 0 and one.megabytes > 10 for one in line.costs)
    assert scale.read(file)["queued"].facts == {"job arrays of a round": 2.0}
    scale.draw(scale.read(file), tmp_path / "scale.png")
    assert (tmp_path / "scale.png").stat().st_size > 10_000


def test_every_direction_has_sizes_and_a_panel():
    assert scale.SIZES.keys() == scale.QUICK.keys()
    assert {name for panel in scale.PANELS for name in panel.directions} == scale.DIRECTIONS.keys()
    with pytest.raises(SystemExit):
        scale.main(["sizes"])
