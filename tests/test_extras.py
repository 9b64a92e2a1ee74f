"""What is installed: the core works alone, and an error names the extra whose library is
missing.
"""

import json
import re
import tomllib
from pathlib import Path

import pytest

from qexp.errors import EXTRAS, MissingExtraError, extra
from tests.source import PACKAGE
from tests.test_imports import CALL_AND_LOOK, said_by_a_new_process

PROJECT = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]

WITHOUT = """
import sys
from importlib.machinery import PathFinder

class WithoutExtras(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in json.loads(sys.argv[1]) else PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = WithoutExtras
"""
"""Libraries are found as where they are not installed."""

LIBRARIES = sorted(library for libraries in EXTRAS.values() for library in libraries)

POINTS = "east north displacement los_east los_north los_up\n" + "".join(
    f"{x} {y} {0.01 / (1 + (x**2 + y**2) / 9e6):.5f} 0 0 1\n"
    for x in (-2000, 300, 2500)
    for y in (-1900, 100, 2600, 4000)
)

OF_THE_CORE = [
    ["run", "sound", "--seed", "4"],
    ["matrix", "sound_0", "--dataset", "sound", "--refine"],
    ["evaluate", "sound_0", "--dataset", "sound"],
    ["compare", "sound_0", "sound_4"],
    ["figures", "sound_0"],
    ["report", "sound_0", "--to", "sound.html"],
    ["export", "sound_0", "--to", "sound.zip"],
    ["observe", "points.txt", "--error", "0.005", "--to", "observation.nc"],
    ["invert", "observation.nc", "--source", "mogi", "--to", "inverted"],
    ["tables"],
    ["doctor"],
]

OF_EXTRAS = {
    "remote": ["push", "s3://bucket/of_us"],
    "geo": [
        "observe",
        "points.txt",
        "--error",
        "0.005",
        "--crs",
        "EPSG:32633",
        "--to",
        "in_utm.nc",
    ],
    "export": ["export", "sound_0", "--format", "onnx", "--to", "network"],
    "spectra": ["data", "xrf", "--out", "cores"],
    "page": ["serve"],
    "qanat": ["import-runs", "experiment.yaml"],
    "mlflow": ["export", "sound_0", "--format", "mlflow", "--to", "mlflow.db"],
    "tune": ["tune", "sound", "--space", "learning_rate=log:1e-4:1e-2"],
    "htcondor": ["run", "sound", "--seeds", "7:9", "--launcher", "htcondor"],
    "zarr": ["validate", "specs/datasets/store.json"],
    "posterior": ["invert", "observation.nc", "--source", "mogi", "--posterior"],
}
"""A command that needs the extra."""

REFUSED = """
import contextlib, io, json
from qexp.cli import app
for name, arguments in json.loads(sys.argv[3]).items():
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.redirect_stderr(said):
        try:
            app(arguments, prog_name="qexp")
        except SystemExit as ended:
            loaded[name] = [ended.code, said.getvalue()]
print(json.dumps(loaded))
"""


def test_the_extras_of_errors_are_those_that_pip_installs():
    declared = PROJECT["optional-dependencies"]
    named = {
        name: {re.split("[>=<]", text)[0].replace("-", "_") for text in declared[name]}
        for name in EXTRAS
    }
    named["mlflow"] = {name.removesuffix("_skinny") for name in named["mlflow"]}
    named["qanat"] = {"yaml"}  # what PyYAML is called in programs
    named["htcondor"] = {"htcondor2"}  # what that distribution's current package is called
    assert named == {name: set(libraries) for name, libraries in EXTRAS.items()}
    assert declared["all"] == [f"qexp[{','.join(EXTRAS)}]"]
    core = {re.split("[>=<]", text)[0].replace("-", "_") for text in PROJECT["dependencies"]}
    assert not core & set(LIBRARIES)


def test_an_extra_s_error_is_about_its_own_libraries_alone():
    with (
        pytest.raises(MissingExtraError, match=r"rasterio.*pip install 'qexp\[geo\]'"),
        extra("geo"),
    ):
        raise ModuleNotFoundError(name="rasterio.io")
    with pytest.raises(ModuleNotFoundError, match="numbers"), extra("geo"):
        raise ModuleNotFoundError("no numbers", name="numbers")


@pytest.mark.heavy
def test_the_core_works_alone_and_loads_no_library_of_an_extra(here):
    Path("points.txt").write_text(POINTS)
    loaded = said_by_a_new_process(CALL_AND_LOOK, json.dumps(LIBRARIES), json.dumps(OF_THE_CORE))
    assert loaded == {" ".join(command): [] for command in OF_THE_CORE}


@pytest.mark.heavy
def test_without_the_extras_the_core_works_and_other_commands_name_what_to_install(here):
    Path("points.txt").write_text(POINTS)
    Path("data/all.zarr").mkdir(parents=True)
    store = {
        "type": "simulated",
        "path": "all.zarr",
        "observations": ["displacement"],
        "varyings": {"depth": []},
    }
    Path("specs/datasets/store.json").write_text(json.dumps(store))
    program = f"import json{WITHOUT}{CALL_AND_LOOK}{REFUSED}"
    said = said_by_a_new_process(
        program, json.dumps(LIBRARIES), json.dumps(OF_THE_CORE), json.dumps(OF_EXTRAS)
    )
    for name in EXTRAS:
        code, text = said[name]
        assert (code, f"pip install 'qexp[{name}]'" in text) == (2, True), (name, text)
