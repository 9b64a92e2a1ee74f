"""Figures of finished runs of each kind of dataset, drawn again from the files in their
directories.
"""

import json
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import xarray

import qexp as package
from qexp.errors import InterruptedRunError, QexpError, RunFailedError
from qexp.kinds.figures import draw
from qexp.store.directory import RunDirectory
from tests import cores, domes, stones
from tests.conftest import Specs, call, copied, drawing, shared_folder
from tests.runs.conftest import Interrupting

FRAMES = {f"d0/frame_00{number}" for number in range(2)}

DRAWN = {
    "sound_0": {"learning_curve", "test_estimates", "matrix"},
    "stones_0": {"held_out", "residuals", "coverage", "fold_curves"},
    "domes_0": {"learning_curve", "errors_by_thickness", *FRAMES},
    "masked_0": {"learning_curve", "errors_by_energy", "reconstructions"},
    "scratch_0": {"learning_curve", "estimates_by_core", "down_core", "saliency"},
}
"""Run → its figures, without the endings of the files."""

STYLE = ("--style", "my.mplstyle")

LARGER = "font.size: 13\nsvg.fonttype: none\n"


@shared_folder
def all_kinds(root: Path) -> None:
    """A workspace with a finished run of each kind of dataset, and a matrix; for reading only."""
    Specs(root)
    cores.write(root)
    domes.write_folders(root / "data/domes", test=1, frames=2)
    for experience in (domes, stones):
        experience.write(root)
    with drawing():
        for name in DRAWN:
            package.run(name.removesuffix("_0"), device="cpu", workspace=root)
        call("matrix", "sound_0", "--dataset", "sound", "--workspace", root).done()


@pytest.fixture
def here(all_kinds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that, which is the current directory and may be changed."""
    monkeypatch.delenv("QEXP_DATA", raising=False)
    return copied(all_kinds, tmp_path, monkeypatch)


def pictures(run: Path, ending: str = "png") -> dict[str, bytes]:
    """Pictures of a run and of its matrices, by their names without the ending."""
    figures = run / "results/figures"
    found = {
        path.relative_to(figures).with_suffix("").as_posix(): path
        for path in figures.rglob(f"*.{ending}")
    }
    found |= {path.stem: path for path in run.glob(f"matrices/*/*.{ending}")}
    return {name: path.read_bytes() for name, path in found.items()}


def numbers(run: Path) -> dict[Path, bytes]:
    """All files of a run but its pictures."""
    files = [
        path
        for path in run.rglob("*")
        if path.is_file() and path.suffix not in (".png", ".pdf", ".svg")
    ]
    return {path: path.read_bytes() for path in files}


def drawn_by(*arguments: str | Path) -> set[str]:
    """The names of the pictures that `qexp figures ARGUMENTS...` says it wrote, with endings."""
    paths = [Path(line) for line in call("figures", *arguments).done().splitlines()]
    assert all(path.is_file() for path in paths)
    return {path.name for path in paths}


@pytest.mark.heavy
def test_a_run_leaves_its_figures_for_later_where_the_environment_says_so(specs, monkeypatch):
    run = specs.root / "runs/sound_0"
    monkeypatch.setenv("QEXP_FIGURES", "later")
    assert "QEXP_FIGURES=later: 'yes' or 'no'" in call("run", "sound", "--device", "cpu").failed()
    monkeypatch.setenv("QEXP_FIGURES", "no")
    assert (
        call("run", "sound", "--device", "cpu", *(["--resume"] if run.exists() else [])).code == 0
    )
    assert not pictures(run)
    assert "qexp figures sound_0 draws them" in call("logs", "sound_0").stdout
    drawn_by("sound_0")
    assert pictures(run).keys() == DRAWN["sound_0"] - {"matrix"}
    assert "QEXP_FIGURES" not in (run / "environment.json").read_text(), "it changes no result"


@pytest.mark.heavy
@pytest.mark.parametrize("name", DRAWN)
def test_figures_are_valid_pdf_and_svg_and_the_same_bytes_each_time(here, name):
    run = here / "runs" / name
    twice = []
    for _ in range(2):
        drawn_by(name, "--format", "pdf", "--format", "svg")
        twice.append((pictures(run, "pdf"), pictures(run, "svg")))
    assert twice[0] == twice[1]
    of_pdf, of_svg = twice[0]
    assert of_svg.keys() == DRAWN[name]
    assert of_pdf.keys() - {"Learning-curve"} == DRAWN[name]
    for content in of_pdf.values():
        assert content.startswith(b"%PDF")
        assert content.rstrip().endswith(b"%%EOF")
        assert b"CreationDate" not in content
    for content in of_svg.values():
        assert ElementTree.fromstring(content).tag.endswith("svg")
        assert b"<dc:date>" not in content


@pytest.mark.heavy
@pytest.mark.parametrize("name", DRAWN)
def test_a_style_changes_every_picture_and_no_number_and_figures_that_are_gone_come_back_as_the_run_drew_them(
    here, name
):
    run = here / "runs" / name
    before, of_numbers = pictures(run), numbers(run)
    assert before.keys() == DRAWN[name]
    (here / "larger.mplstyle").write_text(LARGER)
    drawn_by(name, "--style", "larger.mplstyle")
    after = pictures(run)
    assert after.keys() == before.keys()
    assert [figure for figure in before if after[figure] == before[figure]] == []
    shutil.rmtree(run / "results/figures")
    for path in run.glob("matrices/*/*.png"):
        path.unlink()
    drawn_by(name)
    assert pictures(run) == before
    assert numbers(run) == of_numbers


@pytest.mark.heavy
def test_a_figure_is_drawn_by_its_name_and_the_others_stay_as_they_are(here):
    run = here / "runs/domes_0"
    shutil.rmtree(run / "results/figures")
    assert drawn_by("domes_0", "--only", "frames") == {f"{Path(name).name}.png" for name in FRAMES}
    assert pictures(run).keys() == FRAMES
    assert drawn_by("domes_0", "--only", "learning_curve") == {
        "learning_curve.png",
        "Learning-curve.pdf",
    }


@pytest.mark.heavy
def test_a_name_that_a_run_does_not_have_is_refused_with_those_that_it_has(here):
    for name, words in (
        (
            "frames",
            "scratch_0 has no figure 'frames'; its figures are learning_curve, estimates_by_core",
        ),
        ("reconstructions", "'reconstructions' is not drawn: the run has no numbers for it"),
    ):
        assert words in call("figures", "scratch_0", "--only", name).refused()


@pytest.mark.heavy
def test_of_several_runs_each_is_drawn_that_can_be(here):
    (here / "runs/stones_0/results/test_predictions.nc").unlink()
    code, stdout, stderr = call("figures", "s*_0", "--only", "learning_curve")
    assert (code, len(stdout.splitlines())) == (4, 2)
    assert (
        "stones_0 has no figure 'learning_curve'; its figures are held_out, residuals, coverage,"
        " fold" in stderr
    )
    code, stdout, stderr = call("figures", "sound_0", "stones_0", "scratch_0")
    assert code == 4
    assert {Path(line).parts[1] for line in stdout.splitlines()} == {"sound_0", "scratch_0"}
    assert (
        "stones_0 is done, but results/test_predictions.nc is gone; run it again: qexp run stones"
        " --seed 0" in stderr
    )


@pytest.mark.heavy
def test_an_unfinished_run_has_no_figures_and_the_error_says_how_to_finish_it(here):
    with pytest.raises(InterruptedRunError):
        package.run("sound", seed=7, name="cut", device="cpu", display=Interrupting(1, 1))
    stderr = call("figures", "cut").refused()
    assert "cut is interrupted" in stderr
    assert "qexp run sound --seed 7 --name cut --resume" in stderr


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("name", "figure", "older"),
    [
        ("domes_0", "frames", lambda run: shutil.rmtree(run / "results/frames")),
        ("masked_0", "reconstructions", lambda run: (run / "results/reconstructions.nc").unlink()),
        ("scratch_0", "saliency", lambda run: (run / "results/saliency.nc").unlink()),
        ("sound_0", "matrix", lambda run: drop_key(run / "matrices/sound/record.json", "held_out")),
    ],
)
def test_of_a_run_of_an_older_version_what_can_be_drawn_is_and_the_rest_is_named(
    here, name, figure, older
):
    run = here / "runs" / name
    older(run)
    code, stdout, stderr = call("figures", name)
    assert code == 0, stderr
    assert f"warning: {name}: '{figure}' is not drawn" in stderr
    assert "older versions of qexp did not write that" in stderr
    assert "learning_curve.png" in stdout
    assert f"'{figure}' is not drawn" in call("figures", name, "--only", figure).refused()


def drop_key(record: Path, key: str) -> None:
    document = json.loads(record.read_text())
    del document[key]
    record.write_text(json.dumps(document))


@pytest.mark.heavy
@pytest.mark.parametrize("lacking", ["depth_error", "depth", "axes"])
def test_a_matrix_that_lacks_a_part_is_damaged_for_figures_and_reports(here, lacking):
    folder = here / "runs/sound_0/matrices/sound"
    if lacking == "axes":
        drop_key(folder / "record.json", "axes")
    else:
        table = xarray.load_dataset(folder / "matrix.nc", engine="h5netcdf")
        table.drop_vars(lacking).to_netcdf(folder / "matrix.nc", engine="h5netcdf")
    for command in (
        ("figures", "sound_0", "--only", "matrix"),
        ("report", "sound_0", "--to", "made.html"),
    ):
        assert f"is damaged: it has no '{lacking}'" in call(*command).failed(5)


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("options", "style", "code", "said"),
    [
        (
            STYLE,
            "lines.linewidth: 2\nfont.sise: 9",
            2,
            "Bad key font.sise in file my.mplstyle, line 2 ('font.sise: 9'); did",
        ),
        (
            STYLE,
            "font.size: large red",
            2,
            "Bad value in file 'my.mplstyle', line 1 ('font.size: large red')",
        ),
        (
            STYLE,
            "# fonts\n\nfont.size 9",
            2,
            "Missing colon in file 'my.mplstyle', line 3 ('font.size 9')",
        ),
        (
            STYLE,
            "text.usetex: True\n",
            2,
            "text.usetex needs LaTeX, and there is no program 'latex'; leave that line out",
        ),
        (STYLE, None, 3, "--style my.mplstyle: there is no such file"),
        (("--format", "gif"), None, 2, "no format 'gif' for figures; choose from png, pdf, svg"),
    ],
)
def test_a_mistake_in_a_style_or_a_format_is_said_and_nothing_is_drawn(
    here, monkeypatch, options, style, code, said
):
    monkeypatch.setenv("PATH", "")  # without LaTeX
    if style is not None:
        (here / "my.mplstyle").write_text(style)
    before = pictures(here / "runs/sound_0")
    assert said in call("figures", "sound_0", *options).refused(code)
    assert pictures(here / "runs/sound_0") == before


@pytest.mark.heavy
def test_a_file_of_numbers_that_is_damaged_is_named(here):
    for name, file in (
        ("sound_0", "results/test_predictions.nc"),
        ("domes_0", "results/frames/d0.nc"),
    ):
        (here / "runs" / name / file).write_bytes(b"none")
        assert f"{file} cannot be read" in call("figures", name).failed(5)


@pytest.mark.heavy
@pytest.mark.usefixtures("drawn")
def test_a_figure_that_cannot_be_written_costs_no_results(here):
    """The folder of the figures is a file; the run says that it failed, has its results, and can be
    finished.
    """
    with pytest.raises(InterruptedRunError):
        package.run("sound", seed=8, device="cpu", display=Interrupting(2, 1))
    run = RunDirectory(here / "runs/sound_8")
    run.results.mkdir(exist_ok=True)
    (run.results / "figures").write_text("in the way")
    with pytest.raises(RunFailedError, match="figures"):
        package.run("sound", seed=8, device="cpu", resume=True)
    assert run.evaluation_file().is_file()
    results = run.record().results
    assert results["test"]["depth"]["mae"] > 0
    (run.results / "figures").unlink()
    assert {path.name for path in draw(run)} == {"learning_curve.png", "test_estimates.png"}
    assert package.run("sound", seed=8, device="cpu", resume=True).state == "done"
    assert run.record().results == results


@pytest.mark.heavy
def test_figures_are_drawn_from_python(here):
    run = package.open_run("stones_0")
    paths = run.figures(formats=("svg",), only=("held_out",))
    assert [path.relative_to(run.path).as_posix() for path in paths] == [
        "results/figures/held_out.svg"
    ]
    with pytest.raises(QexpError, match="has no figure 'frames'"):
        run.figures(only=["frames"])
