"""Mixtures of generators: what samples of each class are."""

import copy

import numpy as np
import pytest
import torch
from scipy.stats import norm

from qexp.base.seeds import Seeds
from qexp.errors import DatasetError
from qexp.kinds.images.experiment import DATA, generated_of
from qexp.kinds.tables import BUILT_IN
from qexp.networks.heads import GaussianHead
from qexp.networks.losses import OfPresent, huber, negative_log_likelihood
from qexp.spec.kinds import filled_in
from tests.conftest import put
from tests.inference.test_classes import DOCUMENT

CPU = torch.device("cpu")


def drawn(document, count=400):
    dataset = generated_of(document, BUILT_IN)
    return dataset, dataset.sample(dataset.whole, count, Seeds(3), ("x",), CPU)


def test_classes_have_their_probabilities_and_lack_the_variables_of_others():
    dataset, samples = drawn(DOCUMENT, 4000)
    codes = samples["kind"][:, 0].numpy()
    shares = np.bincount(codes.astype(int)) / len(codes)
    assert shares == pytest.approx([0.3, 0.2, 0.5], abs=0.025)  # three standard errors
    assert dataset.absent == {"depth", "delta_volume", "x", "y"}
    for name in dataset.absent:
        assert (np.isnan(samples[name][:, 0].numpy()) == (codes == 2)).all()
    middles = [np.log(samples["depth"].numpy()[codes == code]).mean() for code in (0, 1)]
    assert middles == pytest.approx([0.4, 1.6], abs=0.04)


def test_an_image_is_that_of_its_own_source_and_one_without_a_source_is_noise():
    _, quiet = drawn(put(DOCUMENT, "fixed.noise", 0.0))
    of_class = generated_of(DOCUMENT, BUILT_IN).members["deep"]
    rows = quiet["kind"][:, 0] == 1
    values = {name: quiet[name][rows, 0].double().numpy() for name in ("depth", "delta_volume")}
    alone = of_class.signals(values)["displacement"]
    assert torch.allclose(quiet["displacement"][rows], alone, rtol=1e-5)
    assert (quiet["displacement"][quiet["kind"][:, 0] == 2] == 0).all()
    _, noisy = drawn(DOCUMENT)
    noise = noisy["displacement"] - quiet["displacement"]
    assert float(noise.std()) == pytest.approx(0.01, rel=0.02)


def test_held_out_intervals_of_a_class_are_its_own_and_kept_from_training():
    document = put(DOCUMENT, "classes.kind.deep.varyings.depth", [[0.4, 0.6]])
    dataset = generated_of(document, BUILT_IN)
    parts = dataset.parts([0.8, 0.2], Seeds(0))
    low, high = np.exp(1.6 + 0.3 * norm.ppf([0.4, 0.6]))
    for part, inside in (("train", False), ("validation", False), ("test", True)):
        samples = dataset.sample(parts[part], 300, Seeds(0), (part,), CPU)
        depth = samples["depth"][samples["kind"] == 1].numpy()
        slack = 1e-5 if inside else -1e-5
        assert (((depth > low - slack) & (depth < high + slack)) == inside).all()
        compared = {name: samples[name][:, 0].double().numpy() for name in dataset.compared}
        seen = dataset.seen(compared, parts)
        assert not seen[compared["kind"] == 2].any()
        assert (seen[compared["kind"] == 1] == (not inside)).all()
        assert seen[compared["kind"] == 0].all()  # nothing is held out there


def complaint(document):
    document = filled_in(copy.deepcopy(document))
    with pytest.raises(DatasetError) as error:
        DATA.checked_dataset(document, BUILT_IN, None)
    return error.value.findings


@pytest.mark.parametrize(
    ("path", "value", "where", "words"),
    [
        ("fixed.dip", 0.5, ("fixed", "dip"), "no class has a variable 'dip'"),
        ("fixed.incidence", ..., ("classes", "kind", "shallow", "fixed"), "'incidence' has no"),
        (
            "classes.kind.none.fixed", {"depth": 1.0},
            ("classes", "kind", "none", "fixed", "depth"), "this dataset has no 'depth'",
        ),
        (
            "classes.kind.deep.distributions.depth", {"type": "normal", "parameters": {"mu": 1, "sigma": 1}},
            ("classes", "kind", "deep", "distributions", "depth"), "reaches down to",
        ),
    ],
)  # fmt: skip
def test_a_wrong_class_is_told_where_it_is(path, value, where, words):
    found = complaint(put(DOCUMENT, path, value))
    assert any(place == where and words in message for place, message in found), found


def test_probabilities_that_do_not_add_up_and_a_name_of_another_variable_are_said(specs, problems):
    document = put(DOCUMENT, "classes.kind.none.probability", 0.6)
    path = specs.write("dataset", document)
    words = "probabilities must add up to 1, but their sum is 1.1"
    assert words in str(problems(path))
    renamed = {**DOCUMENT, "classes": {"depth": DOCUMENT["classes"]["kind"]}}
    assert any("have a variable of this name" in message for _, message in complaint(renamed))


def test_a_loss_of_samples_that_have_an_output_is_that_of_these_alone_with_their_gradients():
    torch.manual_seed(0)
    estimate = torch.randn(7, 1, requires_grad=True)
    truth = torch.randn(7, 1)
    lacking = torch.tensor([1, 4])
    there = torch.tensor([0, 2, 3, 5, 6])
    for loss in (torch.nn.functional.mse_loss, huber(0.3)):
        expected = torch.autograd.grad(loss(estimate[there], truth[there]), estimate)[0]
        gaps = truth.clone()
        gaps[lacking] = torch.nan
        value = OfPresent(loss)(estimate, gaps)
        assert value.item() == pytest.approx(loss(estimate[there], truth[there]).item(), rel=1e-5)
        assert torch.allclose(torch.autograd.grad(value, estimate)[0], expected, atol=1e-6)
        assert OfPresent(loss)(estimate, torch.full_like(truth, torch.nan)).item() == 0
    head = GaussianHead((3,), 2)
    features, pairs = torch.randn(7, 3), torch.randn(7, 2)
    expected = negative_log_likelihood(head.density(features[there]), pairs[there])
    pairs[lacking, 1] = torch.nan
    value = OfPresent(negative_log_likelihood)(head.density(features), pairs)
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)
    value.backward()
    assert all(torch.isfinite(weight.grad).all() for weight in head.parameters())
