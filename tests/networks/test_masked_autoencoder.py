"""A masked autoencoder of spectra: it computes on what it sees, and what it does not see cannot
reach it.
"""

from functools import partial

import pytest
import torch
from torch.func import functional_call, stack_module_state, vmap

from qexp.base.seeds import Seeds
from qexp.networks.masked_autoencoder import (
    DECODERS,
    ENCODERS,
    Decoder,
    Encoder,
    Linear,
    Size,
    TokenPooling,
    hidden_channels,
    positions,
    visible_count,
    visible_patches,
)
from qexp.networks.modules import MODULES
from qexp.networks.network import (
    Branch,
    BranchError,
    Network,
    Operation,
    initialise,
    layers_above,
    operations_per_sample,
)
from qexp.networks.shapes import ShapeError
from tests.networks.parts import values

CHANNELS, PATCH = 64, 4
PATCHES = CHANNELS // PATCH
SMALL = {"patch_size": PATCH, "width": 8, "depth": 2, "heads": 2}
RATIO = 0.75


def random(*shape, seed=1):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def autoencoder(encoder, decoder, channels=CHANNELS, patch=PATCH):
    operations = {
        "encoder": Operation(partial(MODULES["masked_encoder"].build, **encoder), joins=True),
        "decoder": Operation(partial(MODULES["masked_decoder"].build, **decoder), joins=True),
    }
    branches = [
        Branch(("spectrum", "mask"), ("tokens",), ("encoder",)),
        Branch(("tokens", "spectrum", "mask"), ("spectrum",), ("decoder",)),
    ]
    return Network(
        {"spectrum": (channels,), "mask": (channels // patch,)}, ["spectrum"], operations, branches
    )


def small(ratio=RATIO, loss_on="masked"):
    result = autoencoder(
        {**SMALL, "mask_ratio": ratio}, {**SMALL, "mask_ratio": ratio, "loss_on": loss_on}
    )
    initialise(result, Seeds(1))
    return result.eval()


def encoder(ratio=RATIO, masked=True):
    torch.manual_seed(0)
    return Encoder(
        [(CHANNELS,), (PATCHES,)] if masked else (CHANNELS,), **SMALL, mask_ratio=ratio
    ).eval()


def block(width):
    """Weights of a transformer's block, layer by layer: norm, attention, norm, two layers, each
    with its bias.
    """
    norm = 2 * width
    attention = width * 3 * width + 3 * width + width * width + width
    layers = width * 4 * width + 4 * width + 4 * width * width + width
    return norm + attention + norm + layers


def test_base_has_as_many_weights_as_the_published_one_but_for_its_patches_of_an_image():
    """He et al. (2022), ViT-Base: encoder 768 wide, 12 blocks; decoder 512 wide, 8 blocks."""
    network = autoencoder({"size": "base"}, {"size": "base"}, 2048, 16)
    encoder_weights = 768 + 12 * block(768) + 2 * 768
    decoder_weights = (768 * 512 + 512) + 512 + 8 * block(512) + 2 * 512
    embedding, prediction = 16 * 768 + 768, 512 * 16 + 16
    counted = sum(weight.numel() for weight in network.parameters())
    assert counted == encoder_weights + decoder_weights + embedding + prediction
    # The published code has 111,907,840 weights, of which 197 x 768 and 197 x 512 are positions
    # that are not trained.
    of_images = (768 * 768 + 768) + (512 * 768 + 768)
    assert encoder_weights + decoder_weights + of_images + 197 * (768 + 512) == 111_907_840


@pytest.mark.heavy
def test_base_takes_one_step_on_two_spectra_of_2048_channels():
    network = autoencoder({"size": "base"}, {"size": "base"}, 2048, 16)
    initialise(network, Seeds(1))
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)
    samples = {"spectrum": random(2, 2048), "mask": random(2, 128, seed=2)}
    before = [weight.detach().clone() for weight in network.parameters()]
    loss = (network(samples)["spectrum"] - samples["spectrum"]).square().mean()
    loss.backward()
    optimizer.step()
    assert torch.isfinite(loss)
    assert loss > 0
    assert all(
        (weight != old).any() for weight, old in zip(network.parameters(), before, strict=True)
    )


def test_sizes_are_those_of_the_table():
    assert ENCODERS["base"] == Size(width=768, depth=12, heads=12)
    assert DECODERS["base"] == Size(width=512, depth=8, heads=16)
    for size in ("tiny", "small"):
        result = Encoder((2048,), size=size)
        assert result.norm.weight.numel() == ENCODERS[size].width
        assert len(result.blocks) == ENCODERS[size].depth


@pytest.mark.parametrize(("ratio", "seen"), [(0.0, 16), (0.5, 8), (0.75, 4)])
def test_the_encoder_computes_on_the_class_token_and_the_patches_that_are_seen_alone(ratio, seen):
    build = partial(Encoder, **SMALL, mask_ratio=ratio)
    inputs = {"spectrum": (CHANNELS,), "mask": (PATCHES,)}
    network = Network(
        inputs,
        ["y"],
        {"one": Operation(build, joins=True)},
        [Branch(tuple(inputs), ("y",), ("one",))],
    )
    assert network.shapes["y"] == (1 + seen, 8)
    # Multiplications and additions of two blocks, 8 wide.
    projections = 2 * (1 + seen) * (3 * 8**2 + 8**2 + 2 * 4 * 8**2)
    attention = 2 * 2 * (1 + seen) ** 2 * 8
    assert operations_per_sample(network) == 2 * seen * PATCH * 8 + 2 * (projections + attention)


class Calls(torch.overrides.TorchFunctionMode):
    """Counts how often torch's attention is called."""

    attention = 0

    def __torch_function__(self, function, types, arguments=(), named=None):
        self.attention += function is torch.nn.functional.scaled_dot_product_attention
        return function(*arguments, **(named or {}))


def test_attention_is_torchs_own():
    network, samples = small(), {"spectrum": random(3, CHANNELS), "mask": random(3, PATCHES)}
    with Calls() as calls:
        network(samples)
    assert calls.attention == 4  # encoder and decoder have two blocks each


@pytest.mark.parametrize("loss_on", ["masked", "all"])
def test_hidden_counts_influence_neither_tokens_nor_what_is_made_by_a_bit(loss_on):
    network, spectra, mask = small(loss_on=loss_on), random(5, CHANNELS), random(5, PATCHES, seed=2)
    others = torch.where(
        hidden_channels(mask, RATIO, PATCH), 1e6 * random(5, CHANNELS, seed=3), spectra
    )
    assert (others != spectra).float().mean() == RATIO
    with torch.no_grad():
        tokens = [network.operations["encoder"]([one, mask]) for one in (spectra, others)]
        result = [network({"spectrum": one, "mask": mask})["spectrum"] for one in (spectra, others)]
    assert torch.equal(*tokens)
    assert torch.equal(*result)


def test_each_seen_patch_influences_what_is_made_of_every_hidden_one():
    network, mask = small(0.5), random(1, PATCHES, seed=2)
    spectra = random(1, CHANNELS).requires_grad_()
    hidden = hidden_channels(mask, 0.5, PATCH)
    network({"spectrum": spectra, "mask": mask})["spectrum"][hidden].square().sum().backward()
    assert ((spectra.grad != 0) == ~hidden).all()


def test_only_which_numbers_are_smallest_matters():
    network, spectra, mask = small(), random(5, CHANNELS), random(5, PATCHES, seed=2)
    with torch.no_grad():
        result = network({"spectrum": spectra, "mask": mask})["spectrum"]
        assert torch.equal(
            result, network({"spectrum": spectra, "mask": 7 * mask.exp() - 100})["spectrum"]
        )
        # Other numbers, other orders among the seen and among the hidden, the same patches.
        shuffled = 1 + random(5, PATCHES, seed=3)
        shuffled.scatter_(1, visible_patches(mask, RATIO), random(5, 4, seed=4))
        assert torch.equal(result, network({"spectrum": spectra, "mask": shuffled})["spectrum"])
        assert not torch.equal(result, network({"spectrum": spectra, "mask": 1 - mask})["spectrum"])


def test_patches_that_trade_places_with_their_numbers_are_hidden_in_their_new_places():
    mask = random(1, PATCHES)
    order = torch.randperm(PATCHES, generator=torch.Generator().manual_seed(5))
    assert torch.equal(
        hidden_channels(mask[:, order], RATIO, 1), hidden_channels(mask, RATIO, 1)[:, order]
    )


def test_every_patch_is_hidden_equally_often_in_its_place_and_each_time_as_many_also_by_equal_numbers():
    hidden = hidden_channels(random(20_000, PATCHES), RATIO, 1)
    assert (hidden.sum(1) == RATIO * PATCHES).all()
    assert (hidden.float().mean(0) - RATIO).abs().max() < 4 * (RATIO * (1 - RATIO) / 20_000) ** 0.5
    # Nor do pairs of neighbours go together: both are hidden as often as two of 12 hidden of 16
    # would be.
    both = (hidden[:, 1:] & hidden[:, :-1]).float().mean(0)
    assert (both - 12 * 11 / (16 * 15)).abs().max() < 4 * (0.25 / 20_000) ** 0.5
    hidden = hidden_channels(torch.zeros(3, PATCHES), RATIO, 1)
    assert (hidden.sum(1) == 12).all()
    network, spectra = small(), random(3, CHANNELS)
    with torch.no_grad():
        result = network({"spectrum": spectra, "mask": torch.zeros(3, PATCHES)})["spectrum"]
    same = hidden_channels(torch.zeros(3, PATCHES), RATIO, PATCH)
    assert torch.equal(result[~same], spectra[~same])


@pytest.mark.parametrize(
    ("ratio", "seen"),
    [(0.0, 16), (0.01, 16), (0.25, 12), (0.5, 8), (0.75, 4), (0.97, 1), (0.999, 1)],
)
def test_a_ratio_hides_its_share_of_the_patches_and_leaves_at_least_one(ratio, seen):
    assert visible_count(PATCHES, ratio) == seen
    mask = random(3, PATCHES)
    assert visible_patches(mask, ratio).shape == (3, seen)
    assert (hidden_channels(mask, ratio, PATCH).sum(1) == (PATCHES - seen) * PATCH).all()
    with torch.no_grad():
        assert encoder(ratio)([random(3, CHANNELS), mask]).shape == (3, 1 + seen, 8)
        assert small(ratio)({"spectrum": random(3, CHANNELS), "mask": mask})["spectrum"].shape == (
            3,
            CHANNELS,
        )


def test_a_mask_that_hides_nothing_is_no_mask_and_without_one_every_patch_is_seen_whatever_the_ratio_to_the_last_bit():
    spectra = random(3, CHANNELS)
    with torch.no_grad():
        seen = encoder(masked=False)(spectra)
        assert torch.equal(encoder(0.0)([spectra, random(3, PATCHES)]), seen)
        assert torch.equal(encoder(0.9, masked=False)(spectra), seen)
        pretrained, fresh = small().operations["encoder"], encoder(masked=False)
        fresh.load_state_dict(pretrained.state_dict())
        assert torch.equal(fresh(spectra), pretrained(spectra))


def test_with_the_loss_on_masked_patches_what_was_seen_comes_out_as_it_went_in_and_has_no_slope():
    network, spectra, mask = small().train(), random(5, CHANNELS), random(5, PATCHES, seed=2)
    result = network({"spectrum": spectra, "mask": mask})["spectrum"]
    hidden = hidden_channels(mask, RATIO, PATCH)
    assert torch.equal(result[~hidden], spectra[~hidden])
    weights = list(network.parameters())
    slopes = torch.autograd.grad(
        result[~hidden].sum(), weights, allow_unused=True, retain_graph=True
    )
    assert all(slope is None or not slope.any() for slope in slopes)
    slopes = torch.autograd.grad(result[hidden].sum(), weights)
    assert all(slope.isfinite().all() for slope in slopes)
    assert sum(slope.any().item() for slope in slopes) > len(slopes) / 2


@pytest.mark.slow
def test_with_the_loss_on_all_patches_those_that_were_seen_are_guessed_too():
    network, spectra, mask = small(loss_on="all"), random(5, CHANNELS), random(5, PATCHES, seed=2)
    with torch.no_grad():
        result = network({"spectrum": spectra, "mask": mask})["spectrum"]
        kept = small()({"spectrum": spectra, "mask": mask})["spectrum"]
    hidden = hidden_channels(mask, RATIO, PATCH)
    assert (result[~hidden] != spectra[~hidden]).all()
    assert torch.equal(result[hidden], kept[hidden])


def test_in_bfloat16_what_was_seen_is_not_rounded_and_what_was_not_is_nearly_the_same():
    network, spectra, mask = small().train(), random(5, CHANNELS), random(5, PATCHES, seed=2)
    fine = network({"spectrum": spectra, "mask": mask})["spectrum"]
    with torch.autocast("cpu", torch.bfloat16):
        coarse = network({"spectrum": spectra, "mask": mask})["spectrum"]
    hidden = hidden_channels(mask, RATIO, PATCH)
    assert torch.equal(coarse[~hidden], spectra[~hidden])
    assert not torch.equal(coarse, fine)
    torch.testing.assert_close(coarse, fine, rtol=0, atol=0.05)
    coarse.square().sum().backward()
    assert all(weight.grad.isfinite().all() for weight in network.parameters())


def test_a_spectrum_is_encoded_as_if_it_were_alone():
    network, spectra, mask = small(), random(6, CHANNELS), random(6, PATCHES, seed=2)
    with torch.no_grad():
        together = network({"spectrum": spectra, "mask": mask})["spectrum"]
        alone = [
            network({"spectrum": spectra[[row]], "mask": mask[[row]]})["spectrum"]
            for row in range(6)
        ]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-5)


def test_positions_matter_are_pairs_of_a_sine_and_a_cosine_and_are_neither_trained_nor_kept():
    """Without positions the class token would be the same for patches in another order."""
    spectra = random(1, CHANNELS)
    turned = spectra.view(PATCHES, PATCH).flip(0).reshape(1, -1)
    result = encoder(masked=False)
    with torch.no_grad():
        assert not torch.allclose(result(spectra)[:, 0], result(turned)[:, 0], atol=1e-4)
        result.positions.zero_()
        torch.testing.assert_close(result(spectra)[:, 0], result(turned)[:, 0])
    table = positions(128, 32)
    assert table.shape == (128, 32)
    torch.testing.assert_close(table[:, :16].square() + table[:, 16:].square(), torch.ones(128, 16))
    torch.testing.assert_close(table[:, 0], torch.arange(128.0).sin())
    torch.testing.assert_close(table[:, 31], torch.cos(torch.arange(128) / 10000 ** (30 / 32)))
    assert table.unique(dim=0).shape == table.shape
    network = small()
    names = [*network.state_dict(), *(name for name, _ in network.named_parameters())]
    assert not any("positions" in name for name in names)


@pytest.mark.parametrize(
    ("of", "expected"), [("class", lambda x: x[:, 0]), ("mean", lambda x: x[:, 1:].mean(1))]
)
def test_pooling_takes_the_class_token_or_the_mean_of_the_patches(of, expected):
    tokens = random(3, 5, 8)
    assert torch.equal(TokenPooling((5, 8), of=of)(tokens), expected(tokens))


def test_layers_are_told_by_the_encoder_from_the_embedding_up_to_its_last_block():
    above = layers_above(small())
    assert set(above) == {f"operations.encoder.{name}" for name, _ in encoder().named_parameters()}
    expected = {"class_token": 3, "embedding.weight": 3, "embedding.bias": 3, "norm.weight": 0}
    expected |= {"blocks.0.attended.weight": 2, "blocks.1.layers.2.bias": 1}
    assert {name: above[f"operations.encoder.{name}"] for name in expected} == expected


def test_first_weights_depend_on_the_seed_alone():
    one, same, other = (small() for _ in range(3))
    initialise(other, Seeds(2))
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, same.state_dict()[name])
    for token in ("operations.encoder.class_token", "operations.decoder.mask_token"):
        values = one.state_dict()[token]
        assert not torch.equal(values, other.state_dict()[token])
        assert 0 < values.std() < 0.1


MASKED = [(CHANNELS,), (PATCHES,)]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: Encoder((100,), patch_size=16),
            "16 channels do not divide a spectrum of 100; 20 would",
        ),
        (
            lambda: Encoder((64,), patch_size=100),
            "100 channels do not divide a spectrum of 64; 64 would",
        ),
        (
            lambda: Encoder([(64,), (8,)]),
            r"has 4 patches of 16, but its mask is \[8\].*same patch_size",
        ),
        (lambda: Encoder((2, 64)), r"takes a spectrum \[channels\], but its input is \[64, 2\]"),
        (lambda: Encoder([*MASKED, (4,)], patch_size=4), "16 patches of 4, but its mask is"),
        (
            lambda: Encoder([*MASKED, (16,)], patch_size=4),
            "random numbers of its mask, but has 3 inputs",
        ),
        (
            lambda: Encoder((64,), width=60, heads=8),
            "8 heads cannot share a width of 60; a width of 64 would",
        ),
        (
            lambda: Encoder((64,), width=9, heads=3),
            "3 heads cannot share a width of 9; a width of 12 would",
        ),
        (
            lambda: Encoder((64,), width=1, heads=3),
            "3 heads cannot share a width of 1; a width of 6 would",
        ),
        (lambda: Decoder((5, 8)), "takes three inputs"),
        (lambda: Decoder([(5, 8), *MASKED]), "4 patches of 16, but its mask is"),
        (
            lambda: Decoder([(5, 8), *MASKED], patch_size=4, mask_ratio=0.5),
            r"mask_ratio of 0.5 leaves a class token and 8 of 16 patches, but its first input is"
            r" \[8, 5\]; give "
            "encoder and decoder the same mask_ratio and patch_size",
        ),
        (lambda: Decoder([(5,), *MASKED], patch_size=4), r"its first input is \[5\]"),
        (lambda: TokenPooling((8,)), r"takes the tokens of an encoder, but its input is \[8\]"),
    ],
)
def test_what_does_not_fit_is_an_error_that_says_what_would(build, message):
    with pytest.raises(ShapeError, match=message):
        build()


def test_an_encoder_and_a_decoder_of_different_ratios_are_an_error_at_the_decoder():
    with pytest.raises(BranchError, match="same mask_ratio") as error:
        autoencoder({**SMALL, "mask_ratio": 0.5}, {**SMALL, "mask_ratio": 0.75})
    assert (error.value.branch, error.value.position) == (1, 0)


def test_patches_of_their_own_have_weights_that_no_other_touches_and_are_alike_where_those_are_the_same():
    encoder = Encoder((64,), size="tiny", patches="own")
    spectra = torch.randn(3, 64)
    encoder.embedding(spectra.unflatten(1, (4, 16)))[:, 2].square().sum().backward()
    touched = encoder.embedding.weight.grad.unflatten(1, (4, 16)).abs().sum(dim=(0, 2)) > 0
    assert touched.tolist() == [False, False, True, False]
    assert encoder.layer_of("embedding.weight") == 0
    alike, own = (Encoder((64,), size="tiny", patches=patches) for patches in ("alike", "own"))
    state = alike.state_dict()
    state["embedding.weight"] = state["embedding.weight"].repeat(1, 4)
    state["embedding.bias"] = state["embedding.bias"].expand(4, 1, -1)
    own.load_state_dict(state)
    spectra, numbers = torch.randn(5, 64), torch.rand(5, 4)
    torch.testing.assert_close(own(spectra), alike(spectra), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        own([spectra, numbers]), alike([spectra, numbers]), rtol=1e-4, atol=1e-5
    )


def decoder_of(reads, **parameters):
    return Decoder(
        [(3, 24), (64,), (4,)],
        size="tiny",
        mask_ratio=0.5,
        reads=reads,
        loss_on="all",
        **parameters,
    )


@pytest.mark.parametrize("reads", ["class", "mean"])
def test_a_decoder_makes_nothing_of_the_tokens_that_it_does_not_read_and_the_mean_of_others_in_any_order(
    reads,
):
    decoder, tokens = decoder_of(reads), torch.randn(5, 3, 24)
    spectra, numbers = torch.randn(5, 64), torch.rand(5, 4)
    others = {
        "class": torch.cat([tokens[:, :1], torch.randn(5, 2, 24)], dim=1),
        "mean": torch.cat([torch.randn(5, 1, 24), tokens[:, 1:].flip(1)], dim=1),
    }
    result = decoder([tokens, spectra, numbers])
    tolerance = 0.0 if reads == "class" else 1e-5
    torch.testing.assert_close(
        decoder([others[reads], spectra, numbers]), result, rtol=0, atol=tolerance
    )
    assert not torch.allclose(decoder([2 * tokens, spectra, numbers]), result)


@pytest.mark.parametrize("patches", ["alike", "own"])
def test_a_decoder_without_a_block_is_linear(patches):
    decoder = decoder_of("mean", depth=0, patches=patches)
    spectra, numbers = torch.randn(5, 64), torch.rand(5, 4)
    one, two = torch.randn(5, 3, 24), torch.randn(5, 3, 24)
    result = [
        decoder([tokens, spectra, numbers])
        for tokens in (one, two, one + two, torch.zeros(5, 3, 24))
    ]
    torch.testing.assert_close(
        result[2] - result[3], result[0] + result[1] - 2 * result[3], rtol=1e-4, atol=1e-4
    )


def test_what_blocks_change_is_in_proportion_to_the_layer_scale_that_they_begin_with():
    """And without a last norm, the mean of tokens that nothing changes is linear in the
    spectrum.
    """
    spectra, changes = torch.randn(5, CHANNELS, dtype=torch.float64), {}
    for scale in (1e-4, 1e-3, None, 1.0):
        torch.manual_seed(0)
        result = Encoder(
            (CHANNELS,), **SMALL, patches="own", layer_scale=scale, last_norm=False
        ).double()
        with torch.no_grad():
            tokens = result(spectra)
            patches = result.embedding(spectra.unflatten(1, (-1, PATCH))) + result.positions
        changes[scale] = tokens[:, 1:] - patches
    small = 1e-3 * changes[1e-3].abs().max().item()
    torch.testing.assert_close(changes[1e-3], 10 * changes[1e-4], rtol=0.05, atol=small)
    assert torch.equal(changes[None], changes[1.0])
    assert changes[1e-4].abs().max() < 1e-3 < changes[1.0].abs().max()


def test_layer_scales_are_weights_of_their_block_two_for_each_number_of_a_token():
    plain, scaled = (Encoder((CHANNELS,), **SMALL, layer_scale=scale) for scale in (None, 0.1))
    added = {name for name, _ in scaled.named_parameters()} - {
        name for name, _ in plain.named_parameters()
    }
    assert len(added) == 2 * SMALL["depth"]
    assert all(scaled.get_parameter(name).shape == (SMALL["width"],) for name in added)
    assert {scaled.layer_of(name) for name in added} == {1, 2}
    bare = Encoder((CHANNELS,), **SMALL, last_norm=False)
    assert plain.state_dict().keys() - bare.state_dict().keys() == {"norm.weight", "norm.bias"}


# A linear layer by another product is a linear layer


def layers():
    """Ours, and torch's with the same weights."""
    ours, torchs = Linear(7, 6), torch.nn.Linear(7, 6)
    torchs.load_state_dict(ours.state_dict())
    return ours, torchs


@pytest.mark.parametrize("turned", [False, True], ids=["in rows", "turned"])
@pytest.mark.parametrize("shape", [(1, 7), (5, 7), (3, 4, 7), (2, 3, 4, 7)])
def test_values_and_slopes_are_those_of_torchs_layer_whatever_their_order_in_memory(shape, turned):
    ours, torchs = layers()

    def laid_out(*shape, seed=2):
        return (
            values(*shape[::-1], seed=seed).permute(*range(len(shape))[::-1])
            if turned
            else values(*shape, seed=seed)
        )

    x, other = (laid_out(*shape).requires_grad_() for _ in range(2))
    made, expected = ours(x), torchs(other)
    torch.testing.assert_close(made, expected)
    for result in (made, expected):
        result.backward(laid_out(*shape[:-1], 6, seed=3))
    torch.testing.assert_close(x.grad, other.grad)
    for one, same in zip(ours.parameters(), torchs.parameters(), strict=True):
        torch.testing.assert_close(one.grad, same.grad)


def test_slopes_are_those_of_finite_differences():
    ours, _ = layers()
    x, step = values(4, 7).requires_grad_(), 1e-2 * values(4, 7, seed=3)
    ours(x).square().sum().backward()
    with torch.no_grad():
        change = ours(x + step).square().sum() - ours(x - step).square().sum()
    assert (2 * (x.grad * step).sum()).item() == pytest.approx(change.item(), rel=1e-3)


def test_the_same_product_has_the_same_bits_with_slopes_and_without_and_frozen_weights_get_none():
    ours, _ = layers()
    x = values(33, 7)
    with torch.no_grad():
        expected = ours(x)
    assert torch.equal(ours(x), expected)
    ours.requires_grad_(False)
    x = values(4, 7).requires_grad_()
    ours(x).sum().backward()
    assert x.grad is not None
    assert ours.weight.grad is None


def test_layers_side_by_side_are_each_as_if_alone():
    alone = [layers()[0] for _ in range(3)]
    stacked, _ = stack_module_state(alone)
    x = values(3, 5, 4, 7)
    made = vmap(lambda weights, x: functional_call(alone[0], weights, (x,)))(stacked, x)
    made.square().sum().backward()
    for row, one in enumerate(alone):
        torch.testing.assert_close(made[row], one(x[row]))
        one(x[row]).square().sum().backward()
        torch.testing.assert_close(stacked["weight"].grad[row], one.weight.grad)


def test_bfloat16_and_double_precision_are_torchs():
    ours, torchs = layers()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ours(values(4, 7)), torchs(values(4, 7)))
    assert torch.equal(ours.double()(values(4, 7).double()), torchs.double()(values(4, 7).double()))
