"""A masked autoencoder of spectra: an encoder of some patches of neighbouring channels, and a
decoder of all.

On AMD's processors it is twice as fast as MKL's, which torch uses for single precision; on others
it is as fast.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from qexp.networks.layers import ONE_DNN, of_networks, product
from qexp.networks.shapes import Shape, ShapeError, written


class Linear(nn.Linear):
    """A linear layer; torch's own product where oneDNN cannot compute it, and in an export."""

    def forward(self, x: Tensor) -> Tensor:
        single_precision = x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
        if (
            ONE_DNN is None
            or torch.compiler.is_exporting()
            or x.device.type != "cpu"
            or not single_precision
        ):
            return functional.linear(x, self.weight, self.bias)
        apply: Callable[..., Tensor] = _Linear.apply
        return apply(x, self.weight, self.bias)


class _Linear(torch.autograd.Function):
    """(..., input), (output, input) and (output,) → (..., output)."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return product(x, weight, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        to_x = to_weight = to_bias = None
        rows = gradient.flatten(0, -2)
        if ctx.needs_input_grad[0]:
            to_x = product(rows, weight.T).view(x.shape)
        if ctx.needs_input_grad[1]:
            to_weight = product(rows.T, x.flatten(0, -2).T)
        if ctx.needs_input_grad[2]:
            to_bias = rows.sum(0)
        return to_x, to_weight, to_bias

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *arguments: Tensor) -> tuple[Tensor, int]:
        """The rule for `vmap`: several networks, each with weights of its own."""
        x, weight, bias = (
            of_networks(tensor, axis, info.batch_size)
            for tensor, axis in zip(arguments, in_dims, strict=True)
        )
        return torch.baddbmm(bias[:, None], x.flatten(1, -2), weight.mT).view(*x.shape[:-1], -1), 0


# Blocks of a transformer, and the positions of its tokens.

EXPANSION = 4
"""Width of a block's hidden layer, relative to the block's."""

EPSILON = 1e-6
"""Added to variances in layer normalisation."""


class TransformerBlock(nn.Module):
    """Attention, then a two-layer perceptron on each token; both on normalised values, each with a
    shortcut.

    layer_scale  initial value of the trained factors of both branches, one for each number of a
                 token; None for none. With a small one the network starts nearly linear (Touvron et
                 al. 2021, section 3: LayerScale)
    """

    def __init__(self, width: int, heads: int, layer_scale: float | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention = nn.LayerNorm(width, EPSILON)
        self.queries_keys_values = Linear(width, 3 * width)
        self.attended = Linear(width, width)
        self.before_layers = nn.LayerNorm(width, EPSILON)
        self.layers = nn.Sequential(
            Linear(width, EXPANSION * width), nn.GELU(), Linear(EXPANSION * width, width)
        )
        self.scale_of_attention, self.scale_of_layers = (
            nn.Identity() if layer_scale is None else LayerScale(width, layer_scale)
            for _ in range(2)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """(sample, token, width) → the same."""
        samples, count, width = tokens.shape
        split = self.queries_keys_values(self.before_attention(tokens)).view(
            samples, count, 3, self.heads, -1
        )
        values = functional.scaled_dot_product_attention(*split.permute(2, 0, 3, 1, 4).unbind(0))
        attended = self.attended(values.transpose(1, 2).reshape(samples, count, width))
        tokens = tokens + self.scale_of_attention(attended)
        return cast(Tensor, tokens + self.scale_of_layers(self.layers(self.before_layers(tokens))))


class LayerScale(nn.Module):
    """Multiply each number of a token by a weight of its own."""

    def __init__(self, width: int, first: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((width,), first))

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., width) → the same."""
        return self.weight * tokens


def positions(count: int, width: int) -> Tensor:
    """Sines and cosines of positions, (position, width): Vaswani et al. (2017), section 3.5."""
    wavelengths = 10000 ** (torch.arange(width // 2, dtype=torch.float64) * 2 / width)
    angles = torch.arange(count, dtype=torch.float64)[:, None] / wavelengths
    return torch.cat([angles.sin(), angles.cos()], dim=1).float()


# Patches of neighbouring channels of a spectrum: which of them a mask hides, and linear layers on
# each.


def visible_patches(numbers: Tensor, mask_ratio: float) -> Tensor:
    """Random numbers, (sample, patch) → ascending indices of visible patches."""
    count = visible_count(numbers.shape[1], mask_ratio)
    return numbers.topk(count, dim=1, largest=False).indices.sort(dim=1).values


def visible_count(patches: int, mask_ratio: float) -> int:
    """The number of visible patches; at least one."""
    return max(patches - round(mask_ratio * patches), 1)


def hidden_channels(numbers: Tensor, mask_ratio: float, patch_size: int) -> Tensor:
    """Random numbers, (sample, patch) → whether each channel is masked, (sample, channel)."""
    hidden = torch.ones_like(numbers, dtype=torch.bool)
    hidden.scatter_(1, visible_patches(numbers, mask_ratio), False)
    return hidden.repeat_interleave(patch_size, dim=1)


def picked_patches(patches: Tensor, which: Tensor) -> Tensor:
    """(sample, patch, channel) and (sample, picked patch) → (sample, picked patch, channel)."""
    return patches.gather(1, which[..., None].expand(-1, -1, patches.shape[-1]))


class AlikePatches(Linear):
    """One linear layer for all patches."""

    def __init__(self, patches: int, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)

    def forward(self, values: Tensor, picked: Tensor | None = None) -> Tensor:
        """(sample, patch, input) → (sample, patch, output); only of the patches `picked`."""
        return super().forward(values if picked is None else picked_patches(values, picked))


class OwnPatches(nn.Module):
    """A linear layer for each patch, for spectra whose patches always cover the same energies; one
    matrix for all.

    Relations between the lines of one element are then nearly linear in the input, and learned
    early. The matrix is (output, channel of the spectrum) if it `embeds`, which is from the
    channels of each patch to its token; else, from tokens to channels, it is (channel of the
    spectrum, input).
    """

    def __init__(self, embeds: bool, patches: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.embeds, self.patches = embeds, patches
        bound = math.sqrt(6 / (inputs + outputs))  # Glorot's bound of each layer
        shape = (outputs, patches * inputs) if embeds else (patches * outputs, inputs)
        matrix = torch.empty(shape)
        self.weight = nn.Parameter(matrix.uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(patches, 1, outputs))

    def forward(self, values: Tensor, picked: Tensor | None = None) -> Tensor:
        """(sample, patch, input) → (sample, patch, output); only of the patches `picked`."""
        if self.embeds:
            layers = self.weight.unflatten(1, (self.patches, -1)).permute(1, 2, 0)
        else:
            layers = self.weight.unflatten(0, (self.patches, -1)).mT
        results = torch.baddbmm(self.bias, values.transpose(0, 1), layers).transpose(0, 1)
        return results if picked is None else picked_patches(results, picked)


Patches = Callable[[int, int, int], nn.Module]
"""Makes a layer for some patches, by its inputs and outputs."""

EMBEDDINGS: dict[str, Patches] = {"alike": AlikePatches, "own": partial(OwnPatches, True)}
CHANNELS: dict[str, Patches] = {"alike": AlikePatches, "own": partial(OwnPatches, False)}


# The mask comes as an input, a random number for each patch, (sample, patch): the patches with the
# smallest numbers are visible. Networks draw no random numbers themselves, so that a mask can be
# reproduced, stored, and used in evaluation.
#
# After He et al. (2022), Masked autoencoders are scalable vision learners, in one dimension.


@dataclass(frozen=True)
class Size:
    """The size of a transformer."""

    width: int
    depth: int
    heads: int

    def blocks(self, layer_scale: float | None) -> nn.Sequential:
        return nn.Sequential(
            *(TransformerBlock(self.width, self.heads, layer_scale) for _ in range(self.depth))
        )


ENCODERS = {"tiny": Size(32, 2, 2), "small": Size(64, 3, 4), "base": Size(768, 12, 12)}
DECODERS = {"tiny": Size(32, 1, 2), "small": Size(64, 1, 2), "base": Size(512, 8, 16)}


class Encoder(nn.Module):
    """A transformer on the patches of a spectrum; with a mask as second input, on its visible
    patches alone.

    Spectra → tokens: a class token, and one for each patch that is not masked by random numbers.

    mask_ratio  fraction of the patches that is masked, if random numbers are given with the spectra
    patches     "alike": all are embedded with the same weights; "own": each has its own
    last_norm   whether a last layer norm is applied; without it the tokens' mean is nearly linear
                in the spectrum as long as the blocks change little
    Raises ShapeError if the patches do not divide a spectrum.
    """

    positions: Tensor

    def __init__(
        self,
        shape: Shape | list[Shape],
        /,
        size: str = "small",
        patch_size: int = 16,
        mask_ratio: float = 0.75,
        patches: str = "alike",
        layer_scale: float | None = None,
        last_norm: bool = True,
        width: int | None = None,
        depth: int | None = None,
        heads: int | None = None,
    ) -> None:
        super().__init__()
        spectrum, numbers = (shape[0], shape[1:]) if isinstance(shape, list) else (shape, [])
        count = _number_of_patches(spectrum, patch_size, numbers)
        if len(numbers) > 1:
            raise ShapeError(
                f"takes a spectrum and the random numbers of its mask, but has {1 + len(numbers)}"
                " inputs"
            )
        of_size = _size(ENCODERS[size], width, depth, heads)
        self.patch_size, self.mask_ratio = patch_size, mask_ratio
        self.embedding = EMBEDDINGS[patches](count, patch_size, of_size.width)
        self.class_token = nn.Parameter(torch.randn(1, 1, of_size.width) * 0.02)
        self.register_buffer("positions", positions(count, of_size.width), persistent=False)
        self.blocks = of_size.blocks(layer_scale)
        self.layers = 1 + len(self.blocks)  # the embedding, and one for each block
        self.norm = nn.LayerNorm(of_size.width, EPSILON) if last_norm else nn.Identity()

    def forward(self, inputs: Tensor | Sequence[Tensor]) -> Tensor:
        """(sample, length), alone or with random numbers, (sample, patch) → (sample, 1 + visible
        patch, width).
        """
        spectra, numbers = (inputs, None) if isinstance(inputs, Tensor) else inputs
        patches = spectra.unflatten(-1, (-1, self.patch_size))
        visible = None if numbers is None else visible_patches(numbers, self.mask_ratio)
        tokens = self.embedding(patches, visible) + (
            self.positions if visible is None else self.positions[visible]
        )
        tokens = torch.cat([self.class_token.expand(tokens.shape[0], -1, -1), tokens], dim=1)
        return cast(Tensor, self.norm(self.blocks(tokens)))

    def layer_of(self, weight: str) -> int:
        """0 for the embedding, then one layer for each block; the last norm belongs to the
        operation that follows.
        """
        first, *rest = weight.split(".")
        if first == "blocks":
            return 1 + int(rest[0])
        return self.layers if first == "norm" else 0


class Decoder(nn.Module):
    """A light transformer that predicts masked patches from an encoder's tokens, the spectrum and
    its mask.

    Tokens of the visible patches, the spectrum, random numbers → the whole spectrum. Without blocks
    it is linear in the tokens.

    loss_on  "masked": visible patches are copied to the output, so that only masked ones contribute
             to the loss
    patches  "alike": the channels of all patches are made with the same weights; "own": each has
             its own
    reads    "tokens": the tokens of all visible patches; "class": the class token alone; "mean":
             the mean of the other tokens alone
    Raises ShapeError if the inputs do not fit each other.
    """

    positions: Tensor

    def __init__(
        self,
        shape: Shape | list[Shape],
        /,
        size: str = "small",
        patch_size: int = 16,
        mask_ratio: float = 0.75,
        loss_on: str = "masked",
        reads: str = "tokens",
        patches: str = "alike",
        layer_scale: float | None = None,
        width: int | None = None,
        depth: int | None = None,
        heads: int | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(shape, list) or len(shape) != 3:
            raise ShapeError(
                "takes three inputs: an encoder's tokens, the spectrum, and the random numbers of"
                " its mask"
            )
        tokens, spectrum, numbers = shape
        count = _number_of_patches(spectrum, patch_size, [numbers])
        visible = visible_count(count, mask_ratio)
        if len(tokens) != 2 or tokens[0] != 1 + visible:
            raise ShapeError(
                f"a mask_ratio of {mask_ratio:g} leaves a class token and {visible} of {count}"
                f" patches, but its first input is {written(tokens)}; give encoder and decoder the"
                " same mask_ratio and patch_size"
            )
        of_size = _size(DECODERS[size], width, depth, heads)
        self.patch_size, self.mask_ratio, self.reads = patch_size, mask_ratio, reads
        self.keeps_visible = loss_on == "masked"
        self.embedding = Linear(tokens[1], of_size.width)
        self.mask_token = nn.Parameter(torch.randn(1, 1, of_size.width) * 0.02)
        self.register_buffer("positions", positions(count, of_size.width), persistent=False)
        self.blocks = of_size.blocks(layer_scale)
        self.norm = nn.LayerNorm(of_size.width, EPSILON) if of_size.depth else nn.Identity()
        self.channels = CHANNELS[patches](count, of_size.width, patch_size)

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Tokens, spectra (sample, length), random numbers (sample, patch) → (sample, length)."""
        tokens, spectra, numbers = inputs
        tokens = self.embedding(tokens)
        visible = visible_patches(numbers, self.mask_ratio)
        of_class = tokens[:, :1]
        of_patches = tokens[:, 1:]
        if self.reads == "mean":
            of_class = of_patches.mean(dim=1, keepdim=True)
        patches = self.mask_token.to(tokens.dtype).expand(tokens.shape[0], numbers.shape[1], -1)
        if self.reads == "tokens":
            patches = patches.scatter(1, visible[..., None].expand_as(of_patches), of_patches)
        else:
            patches = patches + of_class
        tokens = self.blocks(torch.cat([of_class, patches + self.positions], dim=1))
        spectrum: Tensor = self.channels(self.norm(tokens[:, 1:]))
        spectrum = spectrum.to(spectra.dtype)  # bfloat16 would round the patches that are copied
        if self.keeps_visible:
            originals = picked_patches(spectra.unflatten(-1, (-1, self.patch_size)), visible)
            spectrum = spectrum.scatter(1, visible[..., None].expand_as(originals), originals)
        return spectrum.flatten(1)


class TokenPooling(nn.Module):
    """An encoder's tokens pooled to one vector, as the input of a regression head.

    of  "class": the class token; "mean": the mean of the patches'
    """

    def __init__(self, shape: Shape, /, of: str = "class") -> None:
        super().__init__()
        if len(shape) != 2:
            raise ShapeError(f"takes the tokens of an encoder, but its input is {written(shape)}")
        self.of = of

    def forward(self, tokens: Tensor) -> Tensor:
        """(sample, token, width) → (sample, width)."""
        return tokens[:, 0] if self.of == "class" else tokens[:, 1:].mean(dim=1)


def _size(of_name: Size, width: int | None, depth: int | None, heads: int | None) -> Size:
    size = Size(
        width or of_name.width, of_name.depth if depth is None else depth, heads or of_name.heads
    )
    shared = math.lcm(2, size.heads)  # positions are pairs of a sine and a cosine
    if size.width % shared:
        nearest = max(round(size.width / shared), 1) * shared
        raise ShapeError(
            f"{size.heads} heads cannot share a width of {size.width}; a width of {nearest} would do"
        )
    return size


def _number_of_patches(spectrum: Shape, patch_size: int, numbers: Sequence[Shape]) -> int:
    if len(spectrum) != 1:
        raise ShapeError(f"takes a spectrum [channels], but its input is {written(spectrum)}")
    if spectrum[0] % patch_size:
        dividing = [size for size in range(1, 2 * patch_size) if spectrum[0] % size == 0]
        nearest = min(dividing, key=lambda size: abs(size - patch_size))
        raise ShapeError(
            f"patches of {patch_size} channels do not divide a spectrum of {spectrum[0]}; {nearest}"
            " would"
        )
    for of_mask in numbers:
        if of_mask != (spectrum[0] // patch_size,):
            raise ShapeError(
                f"a spectrum of {spectrum[0]} channels has {spectrum[0] // patch_size} patches of"
                f" {patch_size}, but its mask is {written(of_mask)}; give the dataset and the model"
                " the same patch_size"
            )
    return spectrum[0] // patch_size
