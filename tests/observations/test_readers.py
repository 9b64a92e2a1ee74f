"""A format is a line in the table of readers, and nothing outside asks for one by its name."""

import ast
from collections.abc import Iterable, Iterator

import numpy as np
import pytest

import qexp as package
from qexp.cli import completion
from qexp.errors import QexpError
from qexp.observations.observation import Track
from qexp.observations.readers import READERS, Reader, sight_of_vectors
from qexp.observations.reading import Reading, direction_toward
from qexp.testing import check_reader
from tests.conftest import call
from tests.source import MODULES, imports_of, nodes_of, reads_all_modules


def read_velocities(path, options):
    """Name of a station, east, north, and the velocities east, north and up [mm/yr], in a line
    each.
    """
    try:
        rows = [line.split() for line in path.read_text().splitlines()]
        east, north, *moved = np.array([row[1:6] for row in rows], float).reshape(-1, 5).T
    except ValueError:
        raise QexpError(
            f"{path}: write STATION EAST NORTH and three velocities in each line"
        ) from None
    x, y, names = (np.repeat(values, 3) for values in (east, north, [row[0] for row in rows]))
    directions, every = np.tile(np.eye(3), (len(rows), 1)), np.ones(3 * len(rows))
    displacement = np.stack(moved, axis=1).ravel() / 1000
    name = options.name or path.stem
    return Reading(
        (
            Track(
                name,
                "gnss",
                x,
                y,
                displacement,
                0.001 * every,
                directions,
                every > 0,
                station=names,
            ),
        )
    )


VELOCITIES = Reader(
    lambda path: path.suffix == ".sites",
    read_velocities,
    ("name", "crs"),
    "velocities of stations",
    stations=True,
)


@pytest.fixture
def velocities(tmp_path, monkeypatch):
    monkeypatch.setitem(READERS.own, "velocities", VELOCITIES)
    (tmp_path / "network.sites").write_text(
        "ACAE 426000 4519000 10 20 -30\nRITE 427000 4520000 1 2 3\n"
    )
    return tmp_path / "network.sites"


def test_stations_of_a_new_format_are_read_as_a_file_and_as_a_table_of_gnss(velocities):
    check_reader(VELOCITIES, velocities)
    for track in (
        *package.observe(velocities).observation.tracks,
        *package.observe([], gnss=[velocities]).observation.tracks,
    ):
        assert (track.name, track.kind, track.station.tolist()) == (
            "network",
            "gnss",
            ["ACAE"] * 3 + ["RITE"] * 3,
        )
        np.testing.assert_allclose(track.displacement, [0.01, 0.02, -0.03, 0.001, 0.002, 0.003])
    assert (
        "6 components of GNSS stations ACAE, RITE" in call("observe", "--gnss", velocities).stderr
    )
    with pytest.raises(QexpError, match=r"error has no effect on .*network\.sites; leave it out"):
        package.observe([], gnss=[velocities], error=0.01)


def test_a_look_alone_is_for_other_files_than_those_of_a_new_format_with_vectors(
    tmp_path, monkeypatch
):
    """Beside incidence or heading, it is for them as well: these replace the vectors."""
    asked = []

    def read(path, options):
        asked.append((options.incidence, options.heading, options.look))
        x, y, ones = np.array([426e3, 427e3]), np.array([4519e3, 4520e3]), np.ones(2)
        return Reading(
            (
                Track(
                    "scene",
                    "radar",
                    x,
                    y,
                    0.02 * ones,
                    ones,
                    direction_toward(34 * ones, ones),
                    ones > 0,
                ),
            )
        )

    takes = ("name", "incidence", "heading", "look")
    scenes = Reader(
        lambda path: path.suffix == ".vec", read, takes, "scenes", sight=sight_of_vectors
    )
    monkeypatch.setitem(READERS.own, "scenes", scenes)
    (tmp_path / "one.vec").touch()
    header = "east,north,los,error,incidence,heading\n"
    (tmp_path / "points.csv").write_text(
        f"{header}426000,4519000,0.01,0.001,30,-10\n427000,4520000,0.02,0.001,30,-10\n"
    )
    (tmp_path / "bare.csv").write_text(
        "east,north,los,error\n426000,4519000,0.03,0.001\n427000,4520000,0.02,0.001\n"
    )
    files = [tmp_path / name for name in ("one.vec", "points.csv", "bare.csv")]
    first = package.observe(files[:2], look="left")
    assert [track.look for track in first.tracks] == [None, "left"]
    view = {"incidence": [40, 41], "heading": [-10, 190], "look": ["left", "right", "left"]}
    assert [track.look for track in package.observe(files, **view).tracks] == [
        None,
        "right",
        "left",
    ]
    assert asked == [(None, None, None), (40, -10, "left")]


@pytest.mark.slow
def test_the_help_of_observe_names_every_format():
    said = " ".join(call("observe", "--help").stdout.replace("│", " ").split())
    assert [reader.help for reader in READERS.values() if reader.help not in said] == []
    assert len(completion.written_names()["choices"]["formats of observations"]) == len(READERS)


def readers_named(nodes: Iterable[ast.AST]) -> Iterator[ast.Constant]:
    """Texts in a module that are the name of a reader."""
    return (node for node in nodes if isinstance(node, ast.Constant) and node.value in READERS)


@reads_all_modules
def test_no_module_beside_the_table_asks_for_a_reader_by_its_name():
    near = [name for name, path in MODULES.items() if "readers" in path.read_text(encoding="utf-8")]
    outside = [name for name in near if "observations.readers" in imports_of(name)]
    assert "deformation.per_file" in outside
    asked = [
        f"{name}, line {node.lineno}: {node.value}"
        for name in outside
        for node in readers_named(nodes_of(name))
    ]
    assert asked == []


@pytest.mark.parametrize(
    "question",
    [
        "reader is READERS['gnss']",
        "READERS.get('points')",
        "OF_VECTORS = ('licsar', 'isce')",
        "{'grid': {'los': ()}}[name]",
    ],
)
def test_such_questions_are_found(question):
    assert len(list(readers_named(ast.walk(ast.parse(question))))) == 1
