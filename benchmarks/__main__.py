"""Run: python -m benchmarks [NAME ...], each one of MEASUREMENTS.

All but `ice` and `sbi`, which take an hour or more, if nothing is named. Writes benchmarks.json.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

from qexp.base.workspace import VARIABLE, find

RESULTS = Path("benchmarks.json")


def main() -> None:
    import torch

    chosen = sys.argv[1:] or [name for name in MEASUREMENTS if name not in ("ice", "sbi")]
    if unknown := [name for name in chosen if name not in MEASUREMENTS]:
        sys.exit(f"no benchmark {', '.join(unknown)}; known: {', '.join(MEASUREMENTS)}")
    load = os.getloadavg()[0]
    print(
        f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, load {load:.1f} at the start\n"
    )
    measured: dict[str, Any] = {
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": load,
    }
    with tempfile.TemporaryDirectory() as workspace:  # its runs are measured anew every time
        (Path(workspace) / "specs").symlink_to(find().specs)
        os.environ[VARIABLE] = workspace
        for name in chosen:
            measured[name] = MEASUREMENTS[name]()
            print()
    RESULTS.write_text(json.dumps(measured, indent=2, ensure_ascii=False) + "\n")
    print(f"written to {RESULTS}")


def generator() -> Any:
    from benchmarks.generator import measure

    return _print_comparisons(measure())


def sources() -> Any:
    from benchmarks.sources import IMAGES, measure

    compared, times = measure()
    for row in times:
        print(f"{IMAGES:,} images by {row.name:12s} {1e3 * row.seconds:9.0f} ms")
    return {"compared": _print_comparisons(compared), "times": [asdict(row) for row in times]}


def loops() -> Any:
    import qexp
    from benchmarks.loops import measure

    for name in ("mogi_cnn", "mogi_standard"):  # how well they are trained does not matter here
        qexp.run(name, name=f"{name}_brief", overrides={"epochs": 1, "sizes": [64, 32, 32]})
    return _print_comparisons(measure())


def folds() -> Any:
    from benchmarks.folds import TIMES_AS_FAST, measure

    result = measure()
    for way in result.ways:
        print(f"{way.name:48s} {way.seconds:7.2f} s")
    print(
        f"leave-one-out of one_d_cnn, {result.ratio:.1f} times as fast as the fastest plain way   "
        f"≥ {TIMES_AS_FAST:g} {_word(result.holds)}"
    )
    return asdict(result)


def startup() -> Any:
    from benchmarks.startup import measure

    rows = measure()
    for row in rows:
        print(
            f"{row.name:48s} {row.seconds:7.2f} s   python -c pass {row.python:.3f} s  "
            f" {row.megabytes:4.0f} MB   ≤ {row.limit:g} s {_word(row.seconds <= row.limit)}"
        )
    return [asdict(row) for row in rows]


def managed() -> Any:
    from benchmarks.managed import busy_slots, logged_steps, overhead

    measured = {}
    for others in (0, 10_000):
        ours, bare = overhead(others)
        limit = 1.03 * bare + 0.3
        print(
            f"a run of mogi_quick, {others:,} others beside it {ours:13.2f} s   training alone"
            f" {bare:.2f} s   ≤ {limit:.2f} s {_word(ours <= limit)}"
        )
        measured[f"overhead, {others} runs"] = {"seconds": ours, "training": bare}
    ours, bare = logged_steps()
    print(
        f"a step that a script logs {1e3 * ours:23.3f} ms   a line of a file {1e3 * bare:.3f} ms   "
        f"≤ 2 ms {_word(ours <= 2e-3)}"
    )
    measured["logged step"] = {"seconds": ours, "line of a file": bare}
    busy = busy_slots()
    print(
        f"slots of a pool of 4 over 40 short runs that are busy {busy:10.0%}   ≥ 90%"
        f" {_word(busy >= 0.9)}"
    )
    return {**measured, "busy": busy}


def prediction() -> Any:
    from benchmarks.prediction import GIGABYTE, measure, peak

    compared = _print_comparisons(measure())
    most = peak()
    print(
        f"{most.rows:,} rows of text: {most.megabytes:.0f} MB   ≤ 1 GB"
        f" {_word(1e6 * most.megabytes <= GIGABYTE)}   {most.seconds:.0f} s"
    )
    return {"rates": compared, "peak": asdict(most)}


def accuracy() -> Any:
    from benchmarks.accuracy import measure

    rows = measure()
    for row in rows:
        reached = "never" if row.seconds_to_standard is None else f"{row.seconds_to_standard:.1f} s"
        print(
            f"{row.experience:16s} {row.seconds:7.1f} s   test error {row.depth:.4f} km,"
            f" {row.delta_volume:.4f} 10⁶ m³   as good as mogi_standard after {reached}"
        )
    return [asdict(row) for row in rows]


def lunar() -> Any:
    from benchmarks.lunar import measure
    from qexp.errors import QexpError

    rows = []
    try:
        for row in measure():
            errors = ", ".join(f"{error:.3f}" for error in row.errors)
            low, high = row.demanded
            print(
                f"{row.experience:24s} RMSE {row.mean:.3f} wt% ({errors})   {low:g} to {high:g}"
                f" {_word(row.holds)}   {row.seconds:.0f} s each"
            )
            print(
                "    " + "   ".join(f"{name} {error:.2f}" for name, error in row.baselines.items()),
                flush=True,
            )
            rows.append({**asdict(row), "holds": row.holds})
    except QexpError as error:
        print(f"not measured: {error}")
    return rows


def fields() -> Any:
    from benchmarks.fields import measure, speed

    compared = _print_comparisons(measure())
    frame = speed()
    print(
        f"a frame by the solver {1e3 * frame.steps:.1f} ms, its velocities alone"
        f" {1e3 * frame.velocities:.2f} ms, coupled {1e3 * frame.coupled:.1f} ms; "
        + ", ".join(f"{name} {1e3 * seconds:.1f} ms" for name, seconds in frame.emulators.items())
    )
    return {"epochs": compared, "seconds per frame": asdict(frame)}


def ice() -> Any:
    from benchmarks.ice import TIMES_BETTER, measure

    rows = measure()
    for row in rows:
        seeds = ", ".join(f"{percent:.2f}" for percent in row.percent)
        aim = "" if row.limit is None else f"   ≤ {row.limit:g} % {_word(row.holds)}"
        print(
            f"{row.experience:24s} {row.mean:5.2f} % of the mean speed ({seeds}){aim}  "
            f" {row.seconds:.0f} s each"
        )
    by_name = {row.experience: row.mean for row in rows}
    for name in ("ice_coupled_cnn", "ice_coupled_unet"):
        times = by_name["ice_coupled_pointwise"] / by_name[name]
        print(
            f"{name}: {times:.1f} times better than cell by cell   ≥ {TIMES_BETTER:g}"
            f" {_word(times >= TIMES_BETTER)}"
        )
    return [{**asdict(row), "holds": row.holds} for row in rows]


def spectra() -> Any:
    from benchmarks.spectra import encodings, measure

    compared = _print_comparisons(measure())
    rows = encodings()
    for row in rows:
        print(
            f"a batch through the encoder, {row.mask_ratio:.0%} hidden {1e3 * row.seconds:30.1f} ms"
        )
    falls = all(encoding.seconds > following.seconds for encoding, following in pairwise(rows))
    print(f"its time falls with the share that is hidden   {_word(falls)}")
    return {"compared": compared, "encodings": [asdict(row) for row in rows]}


def sbi() -> Any:
    from itertools import groupby

    from benchmarks.sbi import MOST_TIME, MOST_WORSE, in_words, measure, row

    rows = []
    for (task, size), of_seeds in groupby(measure(), lambda one: (one.task, one.simulations)):
        compared = []
        for one in of_seeds:
            print(in_words(one), flush=True)
            compared.append(one)
        rows.append(medians := row(compared))
        print(
            f"{task}, {size:,} simulations: C2ST {medians.ours:.3f}, sbi {medians.other:.3f} (≤"
            f" {MOST_WORSE:g} more); {medians.processor_ratio:.2f} of its processor time ≤"
            f" {MOST_TIME:g}, with all around the training, {_word(medians.holds)};"
            f" {medians.ratio:.2f} of its seconds of training",
            flush=True,
        )
    return [{**asdict(one), "holds": one.holds} for one in rows]


def beside() -> Any:
    from benchmarks import fields, spectra
    from benchmarks.beside import measure

    fields.write_data()
    spectra.write_data()
    rows = []
    for row in measure():
        print(
            f"{row.name:40s} {row.alone:7.2f} s alone, {row.beside:7.2f} s beside {os.cpu_count()}"
            f" busy processes   {row.limits} {_word(row.holds)}",
            flush=True,
        )
        rows.append(asdict(row))
    return rows


def serving() -> Any:
    from benchmarks.serving import (
        CLIENTS,
        LEAST_SPEED,
        MOST_FIRST_PAGE,
        MOST_RUN_PAGE,
        MOST_START,
        RUNS,
        measure,
    )

    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder))
    for words, took, most in (
        ("until it listens", result.start, MOST_START),
        ("first page with its rows", result.first_page, MOST_FIRST_PAGE),
        ("page of a run", result.run_page, MOST_RUN_PAGE),
    ):
        print(
            f"qexp serve over {RUNS:,} runs, {words:30s} {took:7.2f} s   ≤ {most:g} s"
            f" {_word(took <= most)}"
        )
    print(
        f"a run that trains beside {CLIENTS} clients: {result.speed:.1%} of its speed   ≥"
        f" {LEAST_SPEED:.0%} {_word(result.speed >= LEAST_SPEED)}  "
        f" {sum(result.answers.values()):,} requests, {result.lost} lost {_word(not result.lost)}"
    )
    return asdict(result)


def _print_comparisons(rows: list[Any]) -> list[dict[str, Any]]:
    for row in rows:
        print(
            f"{row.name:70s} {row.ratio:7.2f} ({row.spread[0]:.2f} to {row.spread[1]:.2f})  "
            f" {row.demand} {_word(row.holds)}   {1e3 * row.ours:.1f} ms, other"
            f" {1e3 * row.other:.1f} ms"
        )
    return [asdict(row) for row in rows]


def _word(holds: bool) -> str:
    return "holds" if holds else "DOES NOT HOLD"


MEASUREMENTS = {
    "generator": generator,
    "sources": sources,
    "loops": loops,
    "folds": folds,
    "startup": startup,
    "managed": managed,
    "prediction": prediction,
    "accuracy": accuracy,
    "lunar": lunar,
    "fields": fields,
    "ice": ice,
    "spectra": spectra,
    "sbi": sbi,
    "beside": beside,
    "serving": serving,
}

if __name__ == "__main__":
    main()
