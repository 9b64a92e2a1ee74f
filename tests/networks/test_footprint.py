"""What is counted without memory is what a processor keeps."""

import json
import math
from pathlib import Path

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from qexp.base.seeds import Seeds
from qexp.kinds.networks import network_of
from qexp.kinds.tables import BUILT_IN
from qexp.networks.network import (
    footprint_of_constants,
    footprint_of_weights,
    initialise,
    kept_per_sample,
    most_kept_per_sample,
)

MODELS = Path(__file__).resolve().parents[2] / "specs/models"


def laid_out(name, **changes):
    text = (MODELS / f"{name}.json").read_text().replace('"from dataset"', "[32, 32, 1]")
    document = json.loads(text) | changes
    return network_of(document, document["inputs"], document["outputs"], BUILT_IN)


def kept_by_processor(network, samples):
    """Bytes that a forward pass keeps for the backward pass, each memory once and weights not."""
    known = {tensor.untyped_storage().data_ptr() for tensor in [*network.parameters(), *network.buffers()]}
    kept = {}

    def note(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = tensor, storage.nbytes()
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor):
        network({name: torch.rand(samples, *shape) for name, shape in network.inputs.items()})
    return sum(size for _, size in kept.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mogi_cnn", "vdi_resnet", "ice_unet", "lunar_dlim", "msm_small"])
def test_what_a_batch_keeps_is_counted_as_a_processor_keeps_it(name):
    network = laid_out(name)
    counted = kept_per_sample(network)
    resident = sum(footprint_of_weights(network).values()) + sum(footprint_of_constants(network).values())
    assert all(tensor.is_meta for tensor in network.state_dict().values())
    initialise(network, Seeds(0))
    assert resident == sum(tensor.nbytes for tensor in [*network.parameters(), *network.buffers()])
    for samples in (2, 16):
        kept = kept_by_processor(network, samples)
        assert 0.95 * kept < samples * sum(counted.values()) <= 1.1 * kept
        assert kept <= samples * most_kept_per_sample(laid_out(name))
    assert (most_kept_per_sample(laid_out(name)) < math.inf) == (name in ("mogi_cnn", "vdi_resnet", "ice_unet"))


def test_attention_is_counted_without_a_matrix_of_all_pairs_of_tokens():
    def kept(length):
        encoder = {"module": "masked_encoder", "parameters": {"size": "tiny", "patch_size": 1}}
        pool = {"module": "token_pooling", "parameters": {"of": "mean"}}
        network = laid_out(
            "msm_small",
            inputs={"spectrum": {"size": [length]}},
            outputs=["toc"],
            operations={"encoder": encoder, "pool": pool},
            branches=[{"x_name": "spectrum", "y_name": "toc", "operations": ["encoder", "pool"]}],
        )
        return kept_per_sample(network)["encoder"]

    assert kept(8192) == pytest.approx(2 * kept(4096), rel=0.01)
