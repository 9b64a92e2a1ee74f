"""The main pages look as they did, on a wide screen and on a phone: beside stored pictures.

`make pictures` stores them anew; look at each before you commit it.
"""

import json
import math
import os
import shutil
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import xarray
from PIL import Image

import qexp as package
from tests.conftest import call, shared_folder
from tests.figures.test_pictures import pixels_that_differ
from tests.web.conftest import CELLS

PICTURES = Path(__file__).parent / "pictures"

REDUCED = {1400: 4, 400: 2}
"""Width of the window → by what a picture is reduced to be stored."""

COLOURS, MOST = 96, 0.01
"""Colours of a stored picture, and the largest share of its pixels that may differ, as with other
fonts' hinting.
"""

SELECTED = "run=slow_0&run=slow_1&run=quick_0&run=quick_1"

PAGES = {
    "start": "",
    "runs": "runs",
    "run": "runs/quick_0",
    "compare": f"compare?{SELECTED}",
    "launches": "launches",
    "launch": "launches/20260101-120000",
    "studies": "studies",
    "workspace": "workspace",
    "report": "quick_0.html",
    "report_of_several": "several.html",
}
"""Name of a picture → path of its page on the server, or file of the report."""

DRAWN = """() => [...document.images].every((one) => one.complete && one.naturalWidth)
    && ![...document.querySelectorAll("[role=status]")].some((one) => one.textContent.includes("…"))
    && (!document.querySelector(".scroller") || document.querySelector(".sparkline"))"""
"""That all of a page is there."""

CHANGING = ".date, [data-disk] dd, [data-disk] td, main > .facts dd, td.steady"
"""What is another day by day."""

SHORT_PATHS = """root => document.querySelectorAll("dd").forEach((one) => {
    if (one.textContent.includes(root)) one.textContent = "path"; })"""
"""Paths of the tests' folders are as long as it happens."""


def made_up(run: Path, name: str, rate: float, seed: int) -> None:
    """Everything in a run that depends on its training, the machine or the time is replaced by
    made-up numbers.
    """
    record = json.loads((run / "run.json").read_text())
    scale = (0.02 + rate) * (1 + 0.1 * seed)
    errors = {
        "mae": scale,
        "rmse": 1.4 * scale,
        "bias": -0.2 * scale,
        "r2": 1 - scale**2,
        "mre": 60 * scale,
    }
    of_outputs = {
        "depth": errors,
        "delta_volume": {key: 0.7 * value for key, value in errors.items()},
    }
    attempt = {
        **record["attempts"][0],
        "process": {**record["attempts"][0]["process"], "host": "host"},
    }
    record |= {
        "name": name,
        "seed": seed,
        "seconds": 8.0,
        "state": "done",
        "overrides": [f"learning_rate={rate}"],
        "results": {"validation": of_outputs, "test": of_outputs},
        "created": f"2026-01-01T12:0{seed}:00+00:00",
        "ended": f"2026-01-01T12:1{seed}:00+00:00",
        "attempts": [attempt],
        "epochs": {"done": 8, "of": 8, "best": 8},
        "launch": "20260101-120000",
        "code": {"commit": None, "dirty": None},
    }
    (run / "run.json").write_text(json.dumps(record))
    (run / "environment.json").write_text('{"python": "3.11", "packages": {}}')
    lines = [
        {
            "epoch": epoch,
            "train": {"loss": math.exp(-epoch * rate * 100)},
            "best": True,
            "learning_rate": rate,
        }
        | {"validation": {"loss": 1.2 * math.exp(-epoch * rate * 90) + scale, **of_outputs}}
        for epoch in range(1, 9)
    ]
    (run / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    for log in run.glob("attempts/*/log.txt"):
        log.write_text("epoch 8: done\n")
    for file in (run / "results/test_predictions.nc", run / "matrices/mogi_test/matrix.nc"):
        with xarray.open_dataset(file, engine="h5netcdf", decode_timedelta=False) as table:
            numbers = table.load()
        for output in ("depth", "delta_volume"):
            truth = (
                numbers[output]
                if "sample" not in numbers.dims
                else numbers[output] * 0 + np.linspace(1, 4, numbers.sizes["sample"])
            )
            error = scale * np.sin(7 * truth + seed) + 0 * numbers[f"{output}_estimate"]
            numbers = numbers.assign({output: truth}) if "sample" in numbers.dims else numbers
            new = {
                f"{output}_estimate": truth + error,
                f"{output}_error": error,
                f"{output}_relative_error": error / truth,
            }
            for variable, values in new.items():
                if variable in numbers:
                    numbers[variable].values[...] = values.transpose(*numbers[variable].dims).values
        numbers.to_netcdf(file, engine="h5netcdf")
    Image.linear_gradient("L").resize((640, 400)).save(run / "matrices/mogi_test/matrix.png")


@shared_folder
def pictured(root: Path) -> None:
    """Four runs of two groups, a failed one, a launch, a study and two reports, of which no number
    was computed.
    """
    assert call("init", root).code == 0
    small = {"epochs": 1, "sizes": [64, 32, 64]}
    for group, rate in (("quick", 0.004), ("slow", 0.001)):
        changes = {**small, "learning_rate": rate}
        package.run(
            "mogi_quick", name=f"{group}_0", overrides=changes, device="cpu", workspace=root
        )
        package.matrix(f"{group}_0", "mogi_test", axes=CELLS, workspace=root)
        shutil.copytree(root / f"runs/{group}_0", root / f"runs/{group}_1")
        for seed in (0, 1):
            made_up(root / f"runs/{group}_{seed}", f"{group}_{seed}", rate, seed)
    failed = json.loads((root / "runs/quick_0/run.json").read_text())
    failed |= {
        "name": "broken_0",
        "state": "failed",
        "error": "no such file: displacement.nc",
        "results": {},
        "seed": 0,
    }
    shutil.copytree(root / "runs/quick_0", root / "runs/broken_0")
    for part in ("results", "matrices"):
        shutil.rmtree(root / "runs/broken_0" / part)
    (root / "runs/broken_0/run.json").write_text(
        json.dumps({**failed, "ended": "2026-01-01T12:20:00+00:00"})
    )
    runs = ["quick_0", "quick_1", "slow_0", "slow_1", "broken_0"]
    launch = root / "runs/.launches/20260101-120000"
    launch.mkdir(parents=True)
    record = {"id": launch.name, "created": "2026-01-01T12:00:00+00:00", "argv": ["qexp", "run", "mogi_quick"],
              "launcher": "local", "settings": {"jobs": 2}, "runs": runs}  # fmt: skip
    (launch / "launch.json").write_text(json.dumps(record))
    study = root / "studies/rates"
    study.mkdir(parents=True)
    shutil.copy(root / "runs/quick_0/matrices/mogi_test/matrix.png", study / "study.png")
    (study / "study.csv").write_text(
        "experience,run,state\n" + "".join(f"m,{run},done\n" for run in runs[:4])
    )
    assert call("--workspace", root, "reindex").code == 0


@pytest.mark.heavy
@pytest.mark.parametrize("width", REDUCED)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_looks_as_it_is_stored(name, width, pictured, serve, visit, open_page, tmp_path):
    if PAGES[name].endswith(".html"):
        runs = ["quick_*", "slow_*"] if "several" in name else ["quick_0"]
        words = {
            "title": "A first look",
            "text": "The **remarks** of an author.",
            "to": tmp_path / PAGES[name],
        }
        page = open_page(package.report(*runs, **words, workspace=pictured), width=width)
    else:
        page = visit(serve(pictured).address + PAGES[name], width=width)
    page.wait_for_function(DRAWN)
    page.evaluate(SHORT_PATHS, str(pictured))
    mask = [page.locator(CHANGING)]
    shown = page.screenshot(full_page=True, animations="disabled", mask=mask, mask_color="#dddddd")
    picture = Image.open(BytesIO(shown)).convert("RGB").reduce(REDUCED[width])
    path = PICTURES / f"{name}_{width}.png"
    if os.environ.get("QEXP_PICTURES") == "write":
        path.parent.mkdir(exist_ok=True)
        picture.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    differs = pixels_that_differ(Image.open(path).convert("RGB"), picture).mean()
    if differs > MOST:
        picture.save(path.with_suffix(".new.png"))
    assert differs <= MOST, f"{path.with_suffix('.new.png')} shows how it looks now"


def test_no_picture_of_a_page_is_left_over_and_all_are_small():
    files = [file for file in PICTURES.glob("*.png") if not file.name.endswith(".new.png")]
    assert {file.stem for file in files} == {
        f"{name}_{width}" for name in PAGES for width in REDUCED
    }
    assert max(file.stat().st_size for file in files) <= 70_000
    assert sum(file.stat().st_size for file in files) <= 1_000_000
