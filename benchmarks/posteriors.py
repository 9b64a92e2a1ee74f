"""Posteriors of a point source in white and in correlated noise: of a network's head, and by the
likelihood, in `qexp calibrate` and as a user has them.

Run: python -m benchmarks.posteriors [--draws 2000] [--exact 50] [--tested 500]
Trains `mogi_posterior` twice, on one core each; runs that are done already are not trained again.
"""

from __future__ import annotations

import argparse
import os
import time
from typing import Any

import numpy as np
import torch

import qexp
from qexp.base.seeds import Seeds
from qexp.inference.image_posteriors import Likelihoods, approximated, posteriors
from qexp.inference.integration import grid_of
from qexp.kinds.images.experiment import generated_of
from qexp.kinds.networks import load_model
from qexp.kinds.tables import tables_of
from qexp.metrics.calibration import distinguished
from qexp.simulation.dataset import GeneratedDataset
from qexp.trust.limit import by_integration, exact_likelihoods

IMAGES = ["displacement"]

NOISES: dict[str, dict[str, Any]] = {
    "white": {"noise_model": {"type": "white"}, "epochs": 225},
    "correlated": {
        "noise_model": {"type": "exponential", "parameters": {"range": 2.0}},
        "epochs": 110,
    },
}
"""Noise of 0.01 m → what is changed in the experience: epochs are cheaper without correlation."""

STRONGER = (1.0, 1.5, 3.0)
"""Noise of images over the declared noise."""

HELD_OUT = {"depth": [[0.2, 0.4], [0.85, 0.95]], "delta_volume": [[0.2, 0.4], [0.85, 0.95]]}
"""Quantile intervals in which `mogi_noisy` and others are tested."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--draws", type=int, default=2000, help="new observations on which posteriors are tested"
    )
    parser.add_argument(
        "--exact", type=int, default=50, help="of these, compared with exact posteriors"
    )
    parser.add_argument("--tested", type=int, default=500, help="samples in held-out intervals")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for noise, changes in NOISES.items():
        overrides = {"dataset.noise_model": changes["noise_model"], "epochs": changes["epochs"]}
        busy = processor_time()
        run = qexp.run(
            "mogi_posterior", seed=0, name=f"mogi_posterior_{noise}", overrides=overrides
        )
        busy = processor_time() - busy
        print(
            f"{noise} noise: {run.record['seconds']:.0f} s of training ({busy:.0f} s of processor"
            f" time with all around it), −log p {likelihood(run, 4000)}",
            flush=True,
        )
        for refined in (False, True):
            began = time.perf_counter()
            calibration = qexp.calibrate(
                run, observations=arguments.draws, exact=arguments.exact, refined=refined
            )
            print(f"  {'by the likelihood' if refined else 'head'}: {in_words(calibration)}; "
                  f"{time.perf_counter() - began:.0f} s", flush=True)  # fmt: skip
        print(f"  as a user has them: {of_a_user(run, arguments.exact)}", flush=True)
        print(
            f"  in noise that was not declared: {in_other_noise(run, arguments.tested)}", flush=True
        )
        print(
            f"  medians in held-out intervals, of {arguments.tested} samples:"
            f" {medians(run, arguments.tested)}",
            flush=True,
        )


def processor_time() -> float:
    """Of this process and of those that it has waited for [s]."""
    return sum(os.times()[:4])


def likelihood(run: qexp.Run, count: int) -> str:
    """The mean of −log p over draws from the prior, in normal scores, which are logarithms here."""
    source = dataset_of(run, {})
    samples = source.sample(
        {name: [(0.0, 1.0)] for name in source.test}, count, Seeds(1), ("likelihood",), CPU
    )
    posterior = load_model(run.directory, CPU).posterior(samples)
    truth = torch.cat([samples[name] for name in posterior.names], dim=1)
    values = -(posterior.log_prob(truth) + truth.log().sum(dim=1))
    return f"{values.mean():.2f} ± {values.std() / count**0.5:.2f}"


def in_words(calibration: Any) -> str:
    """p-values of uniform ranks, and the comparison with exact posteriors."""
    ranks = ", ".join(
        f"{name} {output.p_value:.2g}" for name, output in calibration.outputs.items()
    )
    inside = ", ".join(f"{share.share:.3f}" for output in calibration.outputs.values() for share in output.coverage
                       if share.probability == 0.9)  # fmt: skip
    ratios = ", ".join(
        f"{output.width_ratio.median:.3f}"
        for output in calibration.outputs.values()
        if output.width_ratio
    )
    exact = calibration.exact
    c2st = "" if exact is None else f"; C2ST {exact.accuracy:.3f}, at most {exact.largest:.3f}"
    return f"p of ranks {ranks}; in 90 % intervals {inside}; widths over exact ones {ratios}{c2st}"


def of_a_user(run: qexp.Run, count: int, draws: int = 1000) -> str:
    """Draws of `Run.posterior(refined=True)` for new images, told from those of exact posteriors by
    a classifier; and the time for a batch of 100.
    """
    source = dataset_of(run, {})
    samples = source.sample(
        {name: [(0.0, 1.0)] for name in source.test}, max(count, 100), Seeds(2), ("user",), CPU
    )
    images = samples["displacement"][:, 0].numpy()
    began = time.process_time()
    run.posterior(displacement=images[:100], draws=draws, refined=True)
    each = (time.process_time() - began) / 100
    refined = run.posterior(displacement=images[:count], draws=draws, refined=True)
    names, random = list(source.test), np.random.default_rng(1)
    few, exact = {name: values[:count] for name, values in samples.items()}, {}
    for posterior in approximated(exact_likelihoods(source, IMAGES, ()), few, random):
        scores = grid_of(posterior.density, posterior.proposal).draws(draws, random)
        exact[posterior.observation] = posterior.values(scores, names)
    accuracies = []
    for index in range(count):
        drawn = np.stack([refined[name].values[0, :, index] for name in names], axis=1)
        accuracies.append(distinguished(np.log(exact[index]), np.log(drawn), seed=0))
    return (
        f"C2ST {np.mean(accuracies):.3f}, at most {np.max(accuracies):.3f}; {1e3 * each:.0f} ms of"
        " processor time for each of 100"
    )


def in_other_noise(run: qexp.Run, count: int) -> str:
    """The share of 90 % intervals by the likelihood that hold the truth of images whose noise is
    not the declared.
    """
    declared = run.directory.training_spec()["dataset"]
    noise = declared["fixed"]["noise"]
    everything = {name: [(0.0, 1.0)] for name in declared["varyings"]}
    others: dict[str, dict[str, Any]] = {
        f"{factor:g} times as strong": {"fixed": {**declared["fixed"], "noise": factor * noise}}
        for factor in STRONGER
    }
    if declared["noise_model"]["type"] == "white":
        others["correlated"] = {"noise_model": NOISES["correlated"]["noise_model"]}
    parts = []
    for words, changes in others.items():
        source = generated_of({**declared, **changes}, tables_of(run.directory))
        samples = source.sample(everything, count, Seeds(3), ("other",), CPU)
        posterior = run.posterior(
            displacement=samples["displacement"][:, 0].numpy(), draws=500, refined=True
        )
        shares = []
        for name in posterior:
            low, high = np.quantile(posterior[name].values[0], [0.05, 0.95], axis=0)
            truth = samples[str(name)][:, 0].numpy()
            shares.append(f"{np.mean((low <= truth) & (truth <= high)):.2f}")
        parts.append(f"{words} {', '.join(shares)}")
    return "; ".join(parts)


def medians(run: qexp.Run, count: int) -> str:
    """Mean absolute errors in held-out intervals over those of the exact posterior medians of the
    same samples.
    """
    source = dataset_of(run, HELD_OUT)
    samples = source.sample(source.test, count, Seeds(0), ("test",), CPU)
    (_, exact), _ = by_integration(exact_likelihoods(source, IMAGES, ()), {}, samples)
    model = load_model(run.directory, CPU)
    started = {
        name: estimates[:, 0].double().numpy()
        for name, estimates in model.estimate(samples).items()
    }
    began = time.perf_counter()
    refined = posteriors(Likelihoods(source, IMAGES), samples, started)
    each = (time.perf_counter() - began) / count
    sentences = []
    for column, name in enumerate(refined.names):
        truth = samples[name][:, 0].double().numpy()
        least, head, by_likelihood = (
            np.abs(medians - truth).mean()
            for medians in (
                exact[:, column],
                started[name],
                np.median(refined.values[..., column], axis=1),
            )
        )
        sentences.append(
            f"{name} {least:.4f}, head {head / least:.3f} times that, by the likelihood"
            f" {by_likelihood / least:.3f}"
        )
    return f"{'; '.join(sentences)}; {1e3 * each:.0f} ms for each posterior by the likelihood"


def dataset_of(run: qexp.Run, held_out: dict[str, Any]) -> GeneratedDataset:
    """The run's dataset, with intervals that are held out."""
    document = run.directory.training_spec()["dataset"]
    return generated_of(
        {**document, "varyings": held_out or document["varyings"]}, tables_of(run.directory)
    )


CPU = torch.device("cpu")

if __name__ == "__main__":
    main()
