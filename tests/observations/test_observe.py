"""Files of observatories become one observation: points, stations, units, geometry, coordinates."""

import json

import numpy as np
import pyproj
import pytest

import qexp as package
from qexp.errors import NotFoundError, QexpError
from qexp.observations import text_files
from qexp.observations.observation import read_observation

UTM = "EPSG:32633"
EAST, NORTH = np.array([426e3, 427e3, 428e3, 426.5e3]), np.array([4519e3, 4520e3, 4519.5e3, 4521e3])
LOS = np.array([0.01, -0.02, 0.03, 0.04])
VECTOR = np.array([-0.6, -0.16, np.sqrt(1 - 0.36 - 0.0256)])


def rows(*columns, separator=" "):
    texts = (
        [cell if isinstance(cell, str) else repr(float(cell)) for cell in row]
        for row in zip(*columns, strict=False)
    )
    return "".join(separator.join(row) + "\n" for row in texts)


def standard(east=EAST, north=NORTH, los=LOS, error=0.005, vector=VECTOR, separator=" "):
    return rows(
        east, north, los, np.full(4, error), *np.tile(vector, (4, 1)).T, separator=separator
    )


@pytest.fixture
def written(tmp_path):
    """`written(text, "name.txt")`: the path of a file with that text."""

    def write(text, name="track.txt"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return write


def the_track(path, **options):
    (track,) = package.observe(path, **options).observation.tracks
    return track


@pytest.mark.parametrize(
    "text",
    [
        standard(),
        standard(separator=","),
        standard(separator="\t"),
        "# made by hand\n\n" + standard(separator=" ; "),
        standard().replace("\n", " # a remark\r\n"),
        "east,north,los,error,los_east,los_north,los_up\n" + standard(separator=","),
        "# lon lat\n#Easting northing disp sigma e n u\n" + standard(separator="  "),
        "east,north,los,error,los_east,los_north,los_up,\n" + standard(separator=","),
        "%Reference (Lon,Lat): 14.1,40.8, size: 3,4\n" + standard(),
        "> track 1\n" + "\n> segment 2\n".join(standard().splitlines()),
        "east north los error e n u\n" + 40 * "*" + "\n" + standard(),
        "! two words; of a title, with marks\n" + standard(),
    ],
    ids=[
        "spaces",
        "commas",
        "tabs",
        "semicolons",
        "remarks",
        "header",
        "header in a comment",
        "comma behind a header",
        "Matlab",
        "segments of GMT",
        "ruler",
        "title",
    ],
)
def test_text_with_any_usual_separator_comment_and_header_gives_the_same_track(written, text):
    track = the_track(written(text))
    assert (track.name, track.kind) == ("track", "radar")
    np.testing.assert_array_equal(track.x, EAST)
    np.testing.assert_array_equal(track.y, NORTH)
    np.testing.assert_array_equal(track.displacement, LOS)
    np.testing.assert_array_equal(track.error, np.full(4, 0.005))
    np.testing.assert_array_equal(track.direction, np.tile(VECTOR, (4, 1)))


def test_a_file_that_is_no_table_is_shown_as_it_was_read(written):
    with pytest.raises(
        QexpError, match=r"line 2 has 2 cells, but there are 7 columns in most lines, separated by"
    ) as e:
        the_track(written(standard().replace("\n", "\n14.1 40.8\n", 1)))
    assert "line 1: 426000.0 4519000.0 0.01" in str(e.value)


def test_a_name_that_two_columns_have_is_refused_with_the_positions_that_work(written):
    path = written(
        "east,north,los,los,error,e,n,u\n"
        + rows(EAST, NORTH, LOS, -LOS, LOS + 1, *np.tile(VECTOR, (4, 1)).T, separator=",")
    )
    for columns, position in ((None, 3), ({"los": "los"}, 3)):
        with pytest.raises(QexpError) as e:
            the_track(path, columns=columns)
        assert f'columns={{"los": "{position}"}}' in str(e.value)
    np.testing.assert_array_equal(the_track(path, columns={"los": "4"}).displacement, -LOS)


def test_points_that_are_there_twice_count_once_and_that_is_said(written):
    path = written(standard() + standard() + standard(los=LOS + 0.01))
    said = package.observe(path)
    assert (
        "4 of 12 points repeat another's place, displacement and line of sight" in said.warnings[0]
    )
    assert said.observation.tracks[0].size == 8


def test_codes_for_no_data_in_tables_count_as_none_whatever_the_unit(written):
    los = 1e3 * np.where(np.arange(4) < 2, -9.999, LOS)
    seen = package.observe(written(standard(los=los, error=5)), unit="mm")
    assert seen.warnings[0].endswith(
        "2 values of column 3 are exactly -9999, far from all others; they count as without data"
    )
    assert seen.observation.tracks[0].size == 2
    rows_of = f"A,1e5,0,10,12,{14}\nB,1e5,9e3,11,12,999.9\nC,1e5,18e3,9,11,{999.9}\n"
    table = written("station,east,north,de,dn,du\n" + rows_of, "gnss.csv")
    seen = package.observe([], gnss=[table], gnss_unit="mm", error=1.0)
    assert "2 values of column 'du' are exactly 999.9" in seen.warnings[0]
    assert seen.observation.tracks[0].size == 7
    for code in (999.9, -999.99, 9999.99):  # in one row, near to the others
        far = f"A,1e5,0,10,12,14\nB,1e5,9e3,11,12,{code}\nC,1e5,18e3,9,11,122.65\n"
        seen = package.observe(
            [],
            gnss=[written("station,east,north,de,dn,du\n" + far, "far.csv")],
            gnss_unit="mm",
            error=1.0,
        )
        assert f"1 values of column 'du' are exactly {code}" in seen.warnings[0]
    named = package.observe([], gnss=[table], gnss_unit="mm", error=1.0, nodata=[14, 999.9])
    assert (named.observation.tracks[0].size, named.warnings) == (6, [])


def test_codes_are_known_in_errors_and_elevations_and_zeros_where_they_are_far_more_than_chance(
    written,
):
    random = np.random.default_rng(0)
    count = 60
    table = {
        "east": EAST[0] + 1e4 * random.random(count),
        "north": NORTH[0] + 1e4 * random.random(count),
        "los": random.normal(0, 0.02, count),
        "error": np.full(count, 0.005),
        "elevation": np.full(count, 300.0),
    }

    def observed(**changes):
        columns = {**table, **changes}
        text = (
            "|".join(columns) + "\n" + rows(*columns.values(), separator="|").replace("e-0", "D-0")
        )
        seen = package.observe(written(text, "points.txt"), incidence=35, heading=-12)
        return seen.observation.tracks[0].size, "\n".join(seen.warnings)

    first = np.arange(count) < 3
    assert observed() == (count, "")
    for column, code in (
        ("error", 9999),
        ("elevation", -9999),
        ("elevation", -99),
        ("los", -32768),
    ):
        size, said = observed(**{column: np.where(first, code, table[column])})
        assert size == count - 3
        assert f"3 values of column '{column}' are exactly {code}, far from all others" in said
    size, said = observed(los=np.where(np.arange(count) < 20, 0.0, table["los"]))
    assert size == count - 20
    assert "20 values of column 'los' are exactly 0, over 10 times as often as any other" in said
    assert observed(los=np.where(first, 0.0, table["los"])) == (count, "")
    level = written("Sta,Lon,Lat,Ve,Vn,Vu\nA,14.1,40.8,5,1,0\nB,14.2,40.9,3,2,0\n", "gnss.csv")
    said = package.observe([], gnss=[level], gnss_unit="mm", error=1.0).warnings
    assert said == [
        f"{level}: all values of column 'Vu' are 0; if this component was not measured, leave the"
        " column out"
    ]


def test_zeros_ahead_make_names_of_stations_and_a_series_of_one_is_refused(written):
    header = "station,east,north,de,dn,du,se,sn,su\n"
    row = "424075,4515000,0.01,0.01,0.02,.001,.001,.003\n"
    path = written(
        header
        + "0960,"
        + row
        + "960,"
        + row.replace("424075", "430000")
        + "0022,"
        + row.replace("4515", "4518")
    )
    track = the_track([], gnss=[path])
    assert list(dict.fromkeys(track.station)) == ["0960", "960", "0022"]
    with pytest.raises(
        QexpError,
        match="station 0960 has 3 rows, as in a time series; give one row for each station",
    ):
        the_track([], gnss=[written(header + 3 * f"0960,{row}")])


def test_columns_are_named_by_name_or_position_in_any_order(written):
    table = "id,up,Q,E (m),N (m),height\n" + rows(
        ["1", "2", "3", "4"], LOS, LOS, EAST, NORTH, LOS * 1e4, separator=","
    )
    options = {"error": 0.01, "incidence": 30, "heading": 190}
    by_name = the_track(
        written(table), columns={"los": "Q", "east": "E (m)", "north": "N (m)"}, **options
    )
    by_position = the_track(written(table), columns={"los": "3", "x": "4", "y": "5"}, **options)
    by_number = the_track(written(table), columns={"los": 3, "x": 4, "y": 5}, **options)
    for track in (by_name, by_position, by_number):
        np.testing.assert_array_equal(track.x, EAST)
        np.testing.assert_array_equal(track.displacement, LOS)
        np.testing.assert_array_equal(track.elevation, LOS * 1e4)
    in_order = the_track(written(rows(LOS, NORTH, EAST)), columns=[3, 2, 1], **options)
    np.testing.assert_array_equal(in_order.x, EAST)
    np.testing.assert_array_equal(in_order.displacement, LOS)


def test_displacements_and_errors_are_in_the_unit_of_the_option_or_of_the_header(written):
    options = {"incidence": 30.0, "heading": -10.0}
    of_option = the_track(written(rows(EAST, NORTH, LOS * 1000)), unit="mm", error=5, **options)
    header = "east north LOS_mm error_cm\n" + rows(EAST, NORTH, LOS * 1000, np.full(4, 0.5))
    of_header = the_track(written(header), **options)
    for track in (of_option, of_header):
        np.testing.assert_allclose(track.displacement, LOS, rtol=1e-15)
        np.testing.assert_allclose(track.error, 0.005, rtol=1e-15)


def test_each_file_has_its_own_unit_and_so_have_tables_of_stations(written, tmp_path):
    metres, millimetres = written(standard()), tmp_path / "mm.txt"
    millimetres.write_text(standard(EAST + 50, los=1e3 * LOS, error=np.full(4, 5.0)))
    stations = tmp_path / "gnss.txt"
    stations.write_text("G01 426100 4519100 30 20 10 1 1 2\nG02 427100 4518100 10 20 30 1 1 2\n")
    result = package.observe(
        [metres, millimetres], gnss=[stations], unit=["m", "mm"], gnss_unit="mm"
    )
    first, second, gnss = result.observation.tracks
    np.testing.assert_allclose(second.displacement, first.displacement)
    np.testing.assert_allclose(gnss.displacement[:3], [0.03, 0.02, 0.01])
    np.testing.assert_allclose(gnss.error[:3], [0.001, 0.001, 0.002])
    assert result.warnings == []
    with pytest.raises(
        QexpError,
        match=r'unit is for the files and not for the tables of gnss.*gnss_unit="UNIT", such as mm',
    ):
        package.observe([metres], gnss=[stations], unit="mm")
    stations.write_text(
        "station,east,north,ue,un,height_change\nG01,426100,4519100,30,20,10\nG02,427100,4518100,1,2,3\n"
    )
    with pytest.raises(QexpError, match=r"one number in the unit of gnss_unit, mm: error=3$"):
        package.observe([], gnss=[stations], gnss_unit="mm")
    vertical, small = package.observe([], gnss=[stations], gnss_unit="mm", error=0.003).warnings
    assert (
        "no vertical displacement is read; if one of the columns 'height_change' holds it"
        in vertical
    )
    assert (
        "the errors are 0.003 mm, less than any that are measured; they count in the unit of the"
        in small
    )
    small = package.observe(written(standard(error=np.full(4, 4e-6))), reduce="uniform:2").warnings
    assert "of variances, write the square roots" in small[0]
    with pytest.raises(
        QexpError, match="unit is given 3 times; give it once for all 2 files, or once for each"
    ):
        package.observe([metres, millimetres], unit=["m", "m", "mm"])
    for unit, complaint in (
        ("m", "is in mm, but gnss_unit says m"),
        ("inch", 'gnss_unit="inch": no unit of'),
    ):
        stations.write_text("station,east,north,de_mm,dn_mm,error_mm\nG01,426100,4519100,30,20,1\n")
        with pytest.raises(QexpError, match=complaint):
            package.observe(
                [], gnss=[stations], gnss_unit=unit, error=1 if unit == "inch" else None
            )
    with pytest.raises(QexpError, match="gnss_unit is for the tables of gnss"):
        package.observe([metres], gnss_unit="mm")
    observed = package.observe(metres)
    for sources in (observed, [metres, observed]):
        with pytest.raises(
            QexpError, match=r'by its file: write it with to="first.nc", and give that'
        ):
            package.observe(sources)


MOVED = "station,x,y,ux,uy,Up disp\nG01,426100,4519100,30,20,10\nG02,427100,4518100,10,20,30\n"


def test_each_table_takes_the_columns_that_it_has_and_only_what_none_has_is_refused(written):
    track = written("x y moved error los_e los_n los_u\n" + standard())
    stations = written(MOVED, "gnss.csv")
    columns = {
        "los": "moved",
        "displacement_east": "ux",
        "displacement_north": "uy",
        "displacement_up": "Up disp",
    }
    options = {"gnss": [stations], "gnss_unit": "mm", "error": 2}  # which the track has already
    radar, gnss = package.observe(track, columns=columns, **options).observation.tracks
    np.testing.assert_array_equal(radar.displacement, LOS)
    np.testing.assert_allclose(gnss.displacement[:3], [0.03, 0.02, 0.01])
    assert (radar.error[0], gnss.error[0]) == (0.005, 0.002)
    components = written("x y moved error e n u\n" + standard(), "like_gnss.txt")
    assert the_track(components, columns={"los": "moved"}).kind == "radar"
    for more, complaint in (
        ({"displacement_up": "uz"}, "gnss.csv has no column 'uz'"),
        ({"los": "uz"}, "track.txt has no column 'uz'"),
        ({"moves": "moved"}, "no column holds 'moves'"),
    ):
        with pytest.raises(QexpError, match=complaint):
            package.observe(track, columns=columns | more, **options)
    with pytest.raises(QexpError, match="positions alone mean others in tables of stations"):
        package.observe(track, columns=[1, 2, 3], **options)


def test_one_error_is_one_length_or_each_file_has_its_own(written):
    names = "station,x,y,de,dn,du\n"
    track = written(rows(EAST, NORTH, 1e3 * LOS))
    stations = written(MOVED.replace("station,x,y,ux,uy,Up disp\n", names), "g.csv")
    options = {"gnss": [stations], "incidence": 34, "heading": -10, "unit": "mm", "gnss_unit": "cm"}
    with pytest.raises(
        QexpError, match=r"error=2 would count in mm for .*, in cm for .*: error=\[3, 0.3\]"
    ):
        package.observe(track, error=2, **options)
    tracks = package.observe(track, error=[2, 0.3], **options).observation.tracks
    assert [track.error[0] for track in tracks] == pytest.approx([0.002, 0.003])
    (doubt,) = package.observe([], gnss=[stations], gnss_unit="mm", error=200).warnings
    assert "the errors of 'g' are 0.2 m, but its displacements only up to 0.03 m" in doubt


@pytest.mark.heavy
def test_a_station_that_is_there_twice_is_told_or_refused_with_the_same_displacements(
    written, tmp_path
):
    package.observe([], tmp_path / "obs.nc", gnss=[written(GNSS, "a.csv")])
    again = written(GNSS.replace("RITE", "SOLO").replace("14.12", "14.3"), "b.csv")
    other = written(GNSS, "c.csv")
    with pytest.raises(
        QexpError, match="station ACAE is in 'a' and in 'b', with the same displacements"
    ):
        package.observe(tmp_path / "obs.nc", gnss=[again])
    with pytest.raises(QexpError, match="stations ACAE, RITE are in"):
        package.observe(tmp_path / "obs.nc", gnss=[other])
    (warning,) = package.observe(
        tmp_path / "obs.nc", gnss=[written(GNSS.replace("0.01,", "0.02,"), "c.csv")]
    ).warnings
    assert warning.startswith(
        "stations ACAE, RITE are in 'a' and in 'c', with different displacements"
    )
    twice = written(GNSS + GNSS.splitlines()[1] + "\n", "d.csv")
    with pytest.raises(QexpError, match="station ACAE is twice in 'd'"):
        package.observe([], gnss=[twice])


def test_a_unit_that_is_not_given_is_asked_for_so_that_other_files_keep_theirs(written, tmp_path):
    millimetres, stations = tmp_path / "mm.txt", tmp_path / "gnss.txt"
    millimetres.write_text(standard(los=1e3 * LOS))
    stations.write_text("G01 426100 4519100 30 20 10 1 1 2\nG02 427100 4518100 10 20 30 1 1 2\n")
    warnings = package.observe([written(standard()), millimetres], gnss=[stations]).warnings
    assert warnings[0].endswith(
        "of up to 40 m; if they are not in metres, give their unit: `unit=mm` if all files are in"
        " it, or `unit=['m', 'mm']` if only this one is"
    )
    assert warnings[1].endswith("give their unit: `gnss_unit=mm`")
    assert warnings[2].endswith("if their units differ, give that of 'mm': `unit=['m', 'mm']`")
    tiny, *small = package.observe(written(standard(los=LOS)), unit="mm").warnings
    assert "the errors are 0.005 mm" in tiny
    assert small == [
        "all displacements are less than 0.04 mm; if they are in metres, say so: `unit=m`"
    ]


def test_centimetres_that_are_read_as_metres_are_doubted_unless_the_file_or_the_user_names_a_unit(
    written, tmp_path
):
    stations = tmp_path / "gnss.txt"
    centimetres = standard(los=1e2 * LOS)
    named = rows(EAST, NORTH, 1e2 * LOS, np.full(4, 0.5))
    stations.write_text("G01 426100 4519100 3 2 1 .1 .1 .2\nG02 427100 4518100 1 2 3 .1 .1 .2\n")
    assert package.observe(written(centimetres)).warnings[0].endswith("give their unit: `unit=cm`")
    warnings = package.observe(written(standard(los=0.1 * LOS)), gnss=[stations]).warnings
    assert warnings[0].endswith(
        "of up to 3 m; if they are not in metres, give their unit: `gnss_unit=cm`"
    )
    assert warnings[1].endswith("if their units differ, give that of 'gnss': `gnss_unit=cm`")
    assert not package.observe(written(centimetres), unit="m").warnings
    view = {"incidence": 34, "heading": -10}
    assert not package.observe(written("east north los_m error_m\n" + named), **view).warnings


def test_coordinates_that_look_like_kilometres_are_remarked_on(written):
    assert (
        "if their coordinates are in km"
        in package.observe(written(standard(EAST / 1e3, NORTH / 1e3))).warnings[0]
    )


def test_the_line_of_sight_follows_from_incidence_heading_and_look(written):
    """A descending satellite flies to the south and looks to the west if right-looking: it stands
    in the east.
    """
    path = written(rows(EAST, NORTH, LOS))
    right = the_track(path, error=0.01, incidence=30, heading=190, look="right")
    left = the_track(path, error=0.01, incidence=30, heading=190, look="left")
    heading, incidence = np.radians(190), np.radians(30)
    flight = np.array([np.sin(heading), np.cos(heading), 0])
    for track, side in ((right, 1), (left, -1)):
        np.testing.assert_allclose(track.direction @ flight, 0, atol=1e-15)
        np.testing.assert_allclose(track.direction[:, 2], np.cos(incidence))
        # Up × flight points to the left; a right-looking satellite is to the left of what it looks
        # at.
        np.testing.assert_allclose(
            track.direction @ np.cross([0, 0, 1], flight), side * np.sin(incidence)
        )
    assert right.direction[0, 0] > 0


@pytest.mark.heavy
def test_the_heading_of_a_satellite_that_looks_left_is_the_one_that_was_given(
    written, tmp_path, qexp
):
    view = {"error": 0.01, "incidence": 30, "heading": 190, "look": "left", "crs": UTM}
    package.observe(
        written(rows(EAST, NORTH, LOS)), tmp_path / "left.nc", reduce="uniform:1", **view
    )
    (again,) = package.observe(tmp_path / "left.nc", reduce="uniform:1").tracks
    assert (again.look, again.heading) == ("left", pytest.approx(-170))
    assert (
        "heading -170.0° from grid north (-170.6° from true north), looking left"
        in qexp("observe", tmp_path / "left.nc").stderr
    )
    seen = package.observe(written(standard(), "vectors.txt"))
    assert seen.tracks[0].look is None
    angled = "east,north,los,error,Inc of view,Track heading\n" + rows(
        EAST, NORTH, LOS, LOS**2, LOS, LOS, separator=","
    )
    said = qexp("observe", written(angled, "angled.csv")).stderr
    assert "say which columns hold them: --columns 'heading=Track heading'" in said
    twice = qexp(
        "observe", tmp_path / "angled.csv", "--columns", "los=A", "--columns", "los=B"
    ).stderr
    assert "--columns los is given twice; a name is for all files that have such a column" in twice
    assert (
        "Headings are from true north, where nothing tells the look of a satellite that looks right"
        in str(seen)
    )


def test_a_look_counts_for_each_file_that_has_a_heading_in_columns_or_by_options(written):
    header = "east,north,los,error,incidence,heading\n"
    angles = [np.full(4, 0.01), np.full(4, 30.0), np.full(4, -10.0)]
    named = written(header + rows(EAST, NORTH, LOS, *angles, separator=","), "named.csv")
    other = written(rows(EAST, NORTH, 2 * LOS), "other.txt")
    seen = written(standard(los=3 * LOS), "seen.txt")

    def looks(*files, look, **view):
        tracks = package.observe(files, look=look, **view).tracks
        headings = [round(track.heading) for track in tracks if track.look]
        assert headings == [-10, -170][: len(headings)]
        return [track.look for track in tracks]

    view = {"error": 0.01, "incidence": 30, "heading": 190}
    assert looks(named, look="left") == ["left"]
    assert looks(named, seen, look="left") == ["left", None]
    assert looks(named, seen, other, look=["left"], **view) == ["left", None, "left"]
    assert looks(named, seen, other, look=["left", "right"], **view) == ["left", None, "right"]
    assert looks(named, other, look=["right", "left"], error=0.01, incidence=30, heading=[190]) == [
        "right",
        "left",
    ]
    with pytest.raises(
        QexpError,
        match=r"look is given 3 times; give it once, or once for each of the 2 that need one: .*",
    ):
        looks(named, seen, other, look=["left", "right", "left"], **view)


def test_angles_may_be_columns_and_come_back_in_the_summary(written):
    header = "east,north,los,error,incidence,heading\n"
    text = header + rows(
        EAST, NORTH, LOS, np.full(4, 0.01), np.full(4, 37.5), np.full(4, -12.25), separator=","
    )
    (summary,) = package.observe(written(text)).tracks
    assert (summary.incidence, summary.heading) == pytest.approx((37.5, -12.25))


GNSS = (
    "site,lon,lat,de,dn,du,se,sn,su\nACAE,14.10,40.83,0.01,0.02,0.03,0.001,0.002,0.004\n"
    "RITE,14.12,40.82,-0.01,0.0,nan,0.001,0.001,0.002\n"
)


def test_stations_give_a_component_each_along_the_axes(written):
    track = the_track(written(GNSS, "stations.csv"))
    assert (track.name, track.kind, len(track.x), track.size) == ("stations", "gnss", 6, 5)
    np.testing.assert_array_equal(np.round(track.direction), np.tile(np.eye(3), (2, 1)))
    np.testing.assert_array_equal(track.displacement, [0.01, 0.02, 0.03, -0.01, 0.0, np.nan])
    np.testing.assert_array_equal(track.error, [0.001, 0.002, 0.004, 0.001, 0.001, 0.002])
    assert track.x[0] == track.x[1] == track.x[2] != track.x[3]


def test_stations_without_a_header_are_known_by_their_names(written):
    errors = (np.full(4, error) for error in (1, 2, 3))
    track = the_track(
        written(rows(["ACAE", "RITE", "STRZ", "IPPO"], EAST, NORTH, LOS, LOS, LOS, *errors)),
        unit="mm",
    )
    assert (track.kind, track.size) == ("gnss", 12)
    np.testing.assert_allclose(track.displacement, np.repeat(LOS, 3) / 1000)
    np.testing.assert_allclose(track.error[:3], [0.001, 0.002, 0.003])


def test_stations_may_have_horizontal_components_only(written):
    track = the_track(
        [], gnss=[written("name east north dE dN\nA 426000 4519000 0.01 0.02\n")], error=0.003
    )
    np.testing.assert_array_equal(track.direction, np.eye(3)[:2])
    np.testing.assert_array_equal(track.error, [0.003, 0.003])


def test_beside_longitude_and_latitude_the_columns_east_north_and_up_of_stations_are_displacements(
    written,
):
    for name, option in (("stations.csv", "files"), ("others.csv", "gnss")):
        path = written(GNSS.replace("de,dn,du", "east,north,up"), name)
        track = the_track(path) if option == "files" else the_track([], gnss=[path])
        np.testing.assert_array_equal(track.displacement, [0.01, 0.02, 0.03, -0.01, 0.0, np.nan])
        assert track.x[0] > 100_000


def test_beside_eastings_and_northings_they_are_too_and_columns_that_are_named_leave_x_and_y_their_places(
    written,
):
    table = "name,{},east,north,up,se,sn,su\nA,426000,4519000,0.01,0.02,0.03,0.001,0.002,0.004\n"
    asked = {"displacement_east": "east", "displacement_north": "north"}
    for places, options in (("easting,northing", {}), ("x,y", {"columns": asked})):
        track = the_track([], gnss=[written(table.format(places))], **options)
        assert (track.x[0], track.y[0]) == (426_000, 4_519_000)
        np.testing.assert_array_equal(track.displacement, [0.01, 0.02, 0.03])


def geographic(crs=UTM):
    return pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(EAST, NORTH)


def test_geographic_coordinates_are_projected_to_the_utm_zone_of_their_centre(written):
    longitude, latitude = geographic()
    plain = the_track(written(standard(longitude, latitude)), crs="EPSG:4326")
    named = "lon,lat,los,error,e,n,u\n" + standard(longitude, latitude, separator=",")
    result = package.observe(written(named, "named.csv"))
    for track in (plain, result.observation.tracks[0]):
        np.testing.assert_allclose(track.x, EAST, atol=1e-6)
        np.testing.assert_allclose(track.y, NORTH, atol=1e-6)
    assert pyproj.CRS.from_wkt(result.observation.crs).to_epsg() == 32633


def test_geographic_coordinates_south_of_the_equator_and_across_the_date_line_have_a_zone(written):
    longitude = np.array([179.9, -179.9, 179.95, -179.7])
    latitude = np.array([-15.0, -15.1, -15.05, -15.2])
    result = package.observe(written(standard(longitude, latitude)), crs="EPSG:4326")
    (track,) = result.observation.tracks
    assert pyproj.CRS.from_wkt(result.observation.crs).to_epsg() in (32701, 32760)
    assert np.ptp(track.x) < 50e3


def test_a_projected_system_is_kept_or_is_where_geographic_coordinates_go(written):
    np.testing.assert_array_equal(
        package.observe(written(standard()), crs=UTM).observation.tracks[0].x, EAST
    )
    longitude, latitude = geographic()
    columns = {"longitude": "1", "latitude": "2"}
    other = package.observe(
        written(standard(longitude, latitude)), crs="EPSG:32632", columns=columns
    )
    x, y = pyproj.Transformer.from_crs(UTM, "EPSG:32632", always_xy=True).transform(EAST, NORTH)
    np.testing.assert_allclose(other.observation.tracks[0].x, x, atol=1e-5)
    np.testing.assert_allclose(other.observation.tracks[0].y, y, atol=1e-5)


def test_two_numbers_with_a_comma_are_one_for_each_of_two_files_and_no_decimal(written, qexp):
    files = [written(rows(EAST, NORTH, LOS), name) for name in ("ascending.txt", "descending.txt")]
    angles = ["--incidence", "36,41", "--heading", "-12,-168", "--error", "0.01"]
    tracks = json.loads(qexp("observe", *files, *angles, "--json").done())["tracks"]
    assert [(round(track["incidence"]), round(track["heading"])) for track in tracks] == [
        (36, -12),
        (41, -168),
    ]
    stderr = qexp("observe", files[0], *angles).failed()
    assert "--incidence is given 2 times; give it once, a decimal with a point" in stderr


@pytest.mark.heavy
def test_several_files_are_tracks_of_one_file_in_one_system(written, tmp_path, qexp):
    first, second = written(standard(), "one.txt"), written(rows(EAST, NORTH, LOS), "other.txt")
    code, stdout, stderr = qexp(
        "observe", first, "--crs", UTM, "--to", tmp_path / "one.nc", "--no-figure"
    )
    assert (code, stdout) == (0, f"{tmp_path / 'one.nc'}\n"), stderr
    assert "one: 4 points, 2 × 2 km, incidence " in stderr
    options = [
        "--error",
        "0.01",
        "--incidence",
        "34",
        "--heading",
        "-10",
        "--crs",
        UTM,
        "--name",
        "descending",
    ]
    assert qexp("observe", second, *options, "--no-figure", "--to", tmp_path / "other.nc").code == 0
    files = [tmp_path / "one.nc", tmp_path / "other.nc", "--gnss", written(GNSS, "g.csv")]
    stdout = qexp("observe", *files, "--to", tmp_path / "all.nc", "--json", "--no-figure").done()
    assert [
        (track["name"], track["points"], track["masked"]) for track in json.loads(stdout)["tracks"]
    ] == [("one", 4, 0), ("descending", 4, 0), ("g", 5, 1)]
    observation = read_observation(tmp_path / "all.nc")
    np.testing.assert_array_equal(observation.track("one").x, EAST)
    expected = pyproj.Transformer.from_crs("EPSG:4326", UTM, always_xy=True).transform(14.10, 40.83)
    assert (observation.track("g").x[0], observation.track("g").y[0]) == pytest.approx(
        expected, abs=1e-6
    )


def test_angles_are_for_the_files_without_a_line_of_sight_in_columns(written):
    seen, first, second = (
        written(standard(), "seen.txt"),
        *(written(rows(EAST, NORTH, LOS), f"{n}.txt") for n in "ab"),
    )

    def incidences(*files, **angles):
        return [round(track.incidence, 1) for track in package.observe(files, **angles).tracks]

    own = incidences(seen)[0]
    first.write_text(rows(EAST, NORTH, 2 * LOS))
    assert incidences(seen, first, error=0.01, incidence=41, heading=190) == [own, 41]
    assert incidences(seen, first, error=0.01, incidence=[None, 41], heading=[5, 190]) == [own, 41]
    named = written("east,north,moved,error,e,n,u\n" + standard(separator=","), "named.csv")
    view = {
        "incidence": [34, 41],
        "heading": [-10, 190],
        "columns": {"los": "moved"},
        "error": 0.01,
    }
    assert incidences(first, named, second, **view) == [34, own, 41]
    with pytest.raises(QexpError, match="has the line of sight in columns; leave incidence out"):
        package.observe(seen, incidence=41)


def test_each_file_may_have_its_own_geometry_and_name(written):
    first = written(rows(EAST, NORTH, LOS), "one.txt")
    second = written(rows(EAST, NORTH, LOS), "other.txt")
    result = package.observe(
        [first, second],
        error=0.01,
        incidence=[34, 37],
        heading=[-10, 190],
        name=["ascending", "descending"],
    )
    assert [track.name for track in result.observation.tracks] == ["ascending", "descending"]
    assert [track.incidence for track in result.tracks] == pytest.approx([34, 37])
    assert [track.heading for track in result.tracks] == pytest.approx([-10, -170])


def test_points_with_missing_numbers_are_masked_and_counted(written, qexp):
    text = standard().replace("0.03", "nan").replace("427000.0 ", "NaN ")
    result = package.observe(written(text))
    assert (result.tracks[0].points, result.tracks[0].masked) == (2, 2)
    assert "2 points, 2 masked" in qexp("observe", written(text)).stderr


ANGLES = {"incidence": 30, "heading": 190}
WRONG = {
    "degrees taken for metres": (standard(EAST / 3e4, NORTH / 1e5), {}, 'give crs="EPSG:4326"'),
    "metres taken for degrees": (
        standard(),
        {"crs": "EPSG:4326"},
        "are not longitude and latitude in degrees",
    ),
    "no system of that name": (
        standard(),
        {"crs": "EPSG:1"},
        'crs="EPSG:1": not a coordinate reference system',
    ),
    "a system in feet": (
        standard(),
        {"crs": "EPSG:2263"},
        "has the unit US survey foot; choose one in metres",
    ),
    "no errors": (rows(EAST, NORTH, LOS), ANGLES, "such as error=0.005"),
    "no line of sight": (
        rows(EAST, NORTH, LOS),
        {"error": 0.01},
        "give incidence and heading in degrees",
    ),
    "an incidence in radians": (
        rows(EAST, NORTH, LOS),
        {"error": 0.01, "incidence": 0.59, "heading": 190},
        "if it is in radians, write 33.8",
    ),
    "an incidence beyond the horizon": (
        rows(EAST, NORTH, LOS),
        {"error": 0.01, "incidence": 134, "heading": 190},
        "from 0 to 90 degrees",
    ),
    "an error twice": (standard(), {"error": 0.01}, "has errors of its own; leave it out"),
    "a geometry twice": (
        standard(),
        {"heading": 10},
        "has the line of sight in columns; leave heading out",
    ),
    "a vector that points down": (standard(vector=-VECTOR), {}, "points down at 4 points"),
    "a vector that is no unit": (standard(vector=2 * VECTOR), {}, "not a unit vector at 4 points"),
    "an unknown unit": (
        standard(),
        {"unit": "inch"},
        'unit="inch": no unit of displacements; choose from m, cm, mm',
    ),
    "two units": (
        "east north los_mm error los_e los_n los_u\n" + standard(),
        {},
        "the header names the unit mm of some columns",
    ),
    "a unit that contradicts the header": (
        "east north los_mm error_mm los_e los_n los_u\n" + standard(),
        {"unit": "m"},
        "is in mm, but unit says m",
    ),
    "all missing": (standard(los=[np.nan] * 4), {}, "none of its 4 points is observed"),
    "a station without error": (
        "name,x,y,e,n,u,se,sn,su\nREF,426000,4519000,0,0,0,0,0,0\nA,427000,4519000,1,1,1,1,1,1\n",
        {},
        "the error of 3 points is not positive (REF)",
    ),
    "tabs and spaces": (
        "426000\t4519000 0.01 0.001\n1 2 3 4\n5 6\t7\n",
        {"incidence": 34, "heading": -12},
        "tabs and spaces are mixed",
    ),
    "an error of zero": (
        standard(error=0),
        {},
        "the error of 4 points is not positive (426000 east,",
    ),
    "a text among numbers": (
        standard().replace("0.03", "x"),
        {},
        "line 3, column 3: 'x' is not a number",
    ),
    "a decimal comma": (
        standard(separator="\t").replace("0.03", "0,03"),
        {},
        "(write it with a point)",
    ),
    "rows of other lengths": (
        standard() + "1 2\n",
        {},
        "line 5 has 2 cells, but there are 7 columns",
    ),
    "five columns": (rows(EAST, NORTH, LOS, LOS, LOS), {}, "5 columns without a header"),
    "an unknown column": (
        standard(),
        {"columns": {"los": "disp"}},
        "has no header with 'disp'; give its position",
    ),
    "a misspelt column": (
        "east north movement\n" + rows(EAST, NORTH, LOS),
        {"columns": {"los": "movment"}},
        "did you mean 'movement'?",
    ),
    "a column of nothing known": (
        standard(),
        {"columns": {"depth": "3"}},
        "no column holds 'depth'",
    ),
    "a column that is not there": (standard(), {"columns": {"los": "9"}}, "los is column 9, but"),
    "no column of displacements": (
        "east north movement\n" + rows(EAST, NORTH, LOS),
        ANGLES,
        "no column is known to hold los; its columns are",
    ),
    "columns of tilt": (
        "east north tilt_e tilt_n\n" + rows(EAST, NORTH, LOS, LOS),
        ANGLES,
        "the columns hold tilt or strain, not displacement: 'tilt_e', 'tilt_n'; qexp reads",
    ),
    "a column in microradians that is said to hold displacements": (
        "east,north,a_microrad\n" + rows(EAST, NORTH, LOS).replace(" ", ","),
        {**ANGLES, "columns": {"los": "a_microrad"}},
        "the column holds tilt or strain, not displacement: 'a_microrad'; qexp reads",
    ),
    "displacements of hundreds of kilometres": (
        standard(los=np.full(4, 1e308)),
        {},
        "displacements of up to 1e+308 m are impossible",
    ),
    "a column that holds nothing else yet": (
        (
            "x easting northing quality moved error incidence heading\n1 430000 4520000 good 0.01"
            " 0.001 34 -12\n"
        ),
        {},
        'such as columns={"los": "moved"}',
    ),
    "several columns that are not known": (
        (
            "id Rechtswert Hochwert moved error incidence heading\n1 430000 4520000 0.01 0.001 34"
            " -12\n"
        ),
        {},
        'such as columns={"east": "Rechtswert", "north": "Hochwert", "los": "moved"}',
    ),
    "columns that are all of something else": (
        "x easting northing error incidence heading\n1 430000 4520000 0.001 34 -12\n",
        {},
        'such as columns={"los": NAME}',
    ),
    "nothing": ("", {}, "is empty"),
    "comments only": ("# a\n# b\n", {}, "has no rows"),
    "a header only": ("east,north,los\n", {}, "has a header, but no rows"),
}


@pytest.mark.parametrize(("text", "options", "complaint"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_with_a_file_is_said_and_nothing_is_written(
    written, tmp_path, text, options, complaint
):
    with pytest.raises(QexpError) as refused:
        package.observe(written(text), tmp_path / "obs.nc", **options)
    assert complaint in str(refused.value)
    assert not (tmp_path / "obs.nc").exists()


def test_files_that_do_not_fit_together_are_refused(written, tmp_path):
    first, second = written(standard(), "one.txt"), written(standard(), "other.txt")
    longitude, latitude = geographic()
    geographic_file = written(
        "lon,lat,los,error,e,n,u\n" + standard(longitude, latitude, separator=","), "named.csv"
    )
    for sources, options, complaint in (
        (
            [first, geographic_file],
            {},
            "one.txt: names no coordinate reference system, but other files do",
        ),
        ([first, second], {"name": ["a"]}, "name is given once, but there are 2 files"),
        ([first, second], {"name": ["a", "a"]}, "2 tracks are named 'a'"),
        ([first, second], {"error": [1.0, 2.0, 3.0]}, "error is given 3 times"),
        ([first, first], {}, "is given twice"),
        (
            [first, second],
            {},
            "the tracks 'one' and 'other' hold the same 4 points, which would count twice",
        ),
        ([], {}, "name at least one file"),
    ):
        with pytest.raises(QexpError, match=complaint):
            package.observe(sources, tmp_path / "obs.nc", **options)
    assert not (tmp_path / "obs.nc").exists()


def test_files_that_are_not_there_or_of_no_known_kind_are_refused(written, tmp_path, qexp):
    with pytest.raises(NotFoundError):
        package.observe(tmp_path / "absent.txt")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\0")
    assert (
        "is of no kind that can be read; known are"
        in qexp("observe", tmp_path / "picture.png").stderr
    )
    for name, advice in (
        ("gbis.mat", "cannot be read as a file of Matlab"),
        ("scene.npz", "a scene of Kite is two files"),
        ("los.npy", "write it as GeoTIFF"),
        ("los.img", "gdal_translate"),
    ):
        (tmp_path / name).write_bytes(b"\x89PNG\0")
        assert advice in qexp("observe", tmp_path / name).stderr
    (tmp_path / "binary.txt").write_bytes(b"\0\1\2")
    assert qexp("observe", tmp_path / "binary.txt").code == 2
    (tmp_path / "latin.txt").write_bytes("Größe 1 2\n".encode("latin-1"))
    assert "is not UTF-8 text" in qexp("observe", tmp_path / "latin.txt").stderr


def test_an_observation_file_is_replaced_only_if_asked(written, tmp_path, qexp):
    path = written(standard())
    for target, code in (("obs.nc", 0), ("obs.nc", 2), ("obs.txt", 2), ("absent/obs.nc", 3)):
        assert qexp("observe", path, "--no-figure", "--to", tmp_path / target).code == code
    assert (
        qexp("observe", path, "--no-figure", "--to", tmp_path / "obs.nc", "--overwrite").code == 0
    )
    assert (
        "--columns has no effect on"
        in qexp("observe", tmp_path / "obs.nc", "--columns", "los=1").stderr
    )


def test_a_file_is_read_in_parts_that_give_the_same_points_and_lines(written, monkeypatch):
    at_once = the_track(written(standard()))
    monkeypatch.setattr(text_files, "ROWS_AT_A_TIME", 3)
    parts = the_track(written(standard()))
    np.testing.assert_array_equal(parts.displacement, at_once.displacement)
    np.testing.assert_array_equal(parts.x, at_once.x)
    with pytest.raises(QexpError, match="line 5, column 3: 'x' is not a number"):
        package.observe(written("# above\n" + standard().replace("0.04", "x")))
    with pytest.raises(QexpError, match="line 5 has 2 cells, but there are 7 columns"):
        package.observe(written(standard() + "1 2\n"))


def test_coordinates_in_a_system_that_stretches_lengths_go_to_the_utm_zone(written):
    """A degree of latitude at 40.8° north is 111 km long, but 147 km on a map in Web Mercator."""
    x, y = pyproj.Transformer.from_crs(UTM, "EPSG:3857", always_xy=True).transform(EAST, NORTH)
    result = package.observe(written(standard(x, y)), crs="EPSG:3857")
    np.testing.assert_allclose(result.observation.tracks[0].x, EAST, atol=1e-5)
    np.testing.assert_allclose(result.observation.tracks[0].y, NORTH, atol=1e-5)
    assert pyproj.CRS.from_wkt(result.observation.crs).to_epsg() == 32633
    with pytest.raises(
        QexpError,
        match=r"coordinate reference system 'RGF93 v1 / Lambert-93' the points lie around",
    ):
        package.observe(written(standard()), crs="EPSG:2154")


def test_texts_as_other_programs_write_them_are_read_or_what_is_wrong_is_said(
    written, tmp_path, qexp
):
    sheet = (
        "\ufeff" + "east;north;los;error;e;n;u\r\n" + standard(separator=";").replace("\n", "\r\n")
    )
    (tmp_path / "sheet.csv").write_bytes(sheet.encode("utf-8"))
    np.testing.assert_array_equal(the_track(tmp_path / "sheet.csv").x, EAST)
    (tmp_path / "wide.csv").write_bytes(standard(separator=",").encode("utf-16"))
    assert "save it as UTF-8" in qexp("observe", tmp_path / "wide.csv").failed()
    columns = rows(EAST, EAST, NORTH, LOS, LOS, LOS, LOS, LOS, separator=",")
    twice = written("east,east,north,los,error,e,n,u\n" + columns)
    assert "no column is known to hold east" in qexp("observe", twice).stderr
