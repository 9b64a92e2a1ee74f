"""Results of experiences over several seeds: mean and standard deviation of the test error, and the
training time.

Run: python -m benchmarks.seeds [EXPERIENCE ...] [--seeds 5]
Runs that are done already are not trained again.
"""

from __future__ import annotations

import argparse
import statistics

import qexp


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "experiences",
        nargs="*",
        default=[
            "mogi_standard_as_published",
            "mogi_standard",
            "mogi_quick",
            "mogi_cnn",
            "mogi_noisy",
        ],
    )
    parser.add_argument("--seeds", type=int, default=5, help="seeds 0 to this number")
    arguments = parser.parse_args()
    for experience in arguments.experiences:
        runs = [qexp.run(experience, seed=seed) for seed in range(arguments.seeds)]
        errors = []
        for output in ("depth", "delta_volume"):
            values = [run.results["test"][output]["mae"] for run in runs]
            errors.append(f"{output} {written(values)} {runs[0].record['units'][output]}")
        seconds = statistics.median(run.record["seconds"] for run in runs)
        print(
            f"{experience:16s} {', '.join(errors)}; {seconds:.1f} s of training (median)",
            flush=True,
        )


def written(values: list[float]) -> str:
    return f"{statistics.mean(values):.4f} ± {statistics.stdev(values):.4f}"


if __name__ == "__main__":
    main()
