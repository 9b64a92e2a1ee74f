import subprocess
import sys

import numpy as np
import pytest
import torch

from qexp.base.seeds import Seeds


def test_a_number_is_the_same_on_every_machine():
    # blake2b (RFC 7693) of "3\x1ftrain\x1f1", 8 bytes, big-endian, without its last bit:
    # printf '3\037train\0371' | b2sum -l 64
    assert Seeds(3).number("train", 1) == 0x99510EF248BB187F >> 1


@pytest.mark.slow
def test_a_number_does_not_depend_on_the_process():
    command = [
        sys.executable,
        "-c",
        "from qexp.base.seeds import Seeds; print(Seeds(7).number('weights', 'conv'))",
    ]
    numbers = {
        int(
            subprocess.run(
                command, env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
            ).stdout
        )
        for seed in ("1", "2")
    }
    assert numbers == {Seeds(7).number("weights", "conv")}


def test_streams_differ_by_seed_purpose_and_epoch():
    numbers = [
        Seeds(seed).number(purpose, epoch)
        for seed in range(20)
        for purpose in ("train", "test")
        for epoch in range(50)
    ]
    assert len(set(numbers)) == len(numbers)


def test_purposes_are_not_glued_together():
    seeds = Seeds(1)
    different = [("ab", "c"), ("a", "bc"), ("abc",), ("a", "b", "c"), (1, 23), (12, 3), (123,)]
    assert len({seeds.number(*purpose) for purpose in different}) == len(different)
    assert Seeds(1).number(23) != Seeds(12).number(3)


def test_numbers_fill_sixty_three_bits_evenly():
    numbers = np.array([Seeds(0).number(index) for index in range(4000)], dtype=np.uint64)
    assert numbers.max() < 2**63
    for bit in range(63):
        share = ((numbers >> np.uint64(bit)) & np.uint64(1)).mean()
        assert share == pytest.approx(0.5, abs=0.04)  # five standard errors


def test_a_stream_begins_anew_each_time_it_is_asked_for():
    seeds = Seeds(5)
    assert (
        seeds.numpy("split", "depth").uniform(size=3).tolist()
        == seeds.numpy("split", "depth").uniform(size=3).tolist()
    )
    first, again = (torch.rand(3, generator=seeds.torch("cpu", "noise")) for _ in range(2))
    assert torch.equal(first, again)
    assert seeds.numpy("split", "depth").uniform() != seeds.numpy("split", "x").uniform()
    assert torch.rand(1, generator=seeds.torch("cpu", "noise")) != torch.rand(
        1, generator=seeds.torch("cpu", "other")
    )


def test_neighbouring_seeds_give_unrelated_streams():
    streams = np.array([Seeds(seed).numpy("train").normal(size=2000) for seed in range(10)])
    correlation = np.corrcoef(streams) - np.eye(10)
    assert np.abs(correlation).max() < 0.1


def test_streams_leave_the_global_random_states_alone():
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    Seeds(1).torch("cpu", "a"), Seeds(1).numpy("a").normal()
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()
