"""Networks of the layouts of other programs, of torch and numpy alone, and files as those programs
write them.
"""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor, nn

from tests.cores import CHANNELS, PATCH_SIZE

Array = np.ndarray

PATCHES = CHANNELS // PATCH_SIZE


# MAX: a masked autoencoder with the names of timm, and the regressor that is made of its encoder


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        samples, count, width = x.shape
        queries, keys, values = self.qkv(x).chunk(3, dim=-1)
        queries, keys, values = (
            each.reshape(samples, count, self.heads, -1).transpose(1, 2)
            for each in (queries, keys, values)
        )
        scores = queries @ keys.transpose(-2, -1) / (width // self.heads) ** 0.5
        return self.proj(
            (scores.softmax(-1) @ values).transpose(1, 2).reshape(samples, count, width)
        )


class Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(nn.functional.gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn, self.mlp = Attention(width, heads), Mlp(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PatchEmbed(nn.Module):
    def __init__(self, patch: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv1d(1, width, kernel_size=patch, stride=patch)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x[:, None]).transpose(1, 2)


def sines_and_cosines(count: int, width: int) -> Tensor:
    """(1, 1 + count, width); zeros for the class token."""
    angles = np.arange(count, dtype=np.float32)[:, None] / 10000 ** (
        np.arange(width // 2) / (width / 2)
    )
    waves = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    return torch.from_numpy(np.concatenate([np.zeros((1, width)), waves])).float()[None]


class Max(nn.Module):
    """MAX's masked autoencoder of the spectra of `tests.cores`; with `head`, its regressor."""

    def __init__(self, *, head: bool, width: int = 16) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(PATCH_SIZE, width)
        self.cls_token = nn.Parameter(torch.randn(1, 1, width))
        self.pos_embed = nn.Parameter(sines_and_cosines(PATCHES, width), requires_grad=False)
        self.blocks = nn.ModuleList(Block(width, 2) for _ in range(2))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        if head:
            self.fc = nn.Linear(width, 1)
            return
        self.decoder_embed = nn.Linear(width, width)
        self.mask_token = nn.Parameter(torch.randn(1, 1, width))
        self.decoder_pos_embed = nn.Parameter(
            sines_and_cosines(PATCHES, width), requires_grad=False
        )
        self.decoder_blocks = nn.ModuleList(Block(width, 2) for _ in range(2))
        self.decoder_norm, self.decoder_pred = (
            nn.LayerNorm(width, eps=1e-6),
            nn.Linear(width, PATCH_SIZE),
        )

    def encoded(self, spectra: Tensor, seen: Tensor | None = None) -> Tensor:
        """Tokens of the patches whose indices are `seen`, (sample, seen), after the class token."""
        x = self.patch_embed(spectra) + self.pos_embed[:, 1:]
        if seen is not None:
            x = torch.stack([tokens[of_one] for tokens, of_one in zip(x, seen, strict=True)])
        first = (self.cls_token + self.pos_embed[:, :1]).expand(len(x), -1, -1)
        x = torch.cat([first, x], dim=1)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def regressed(self, spectra: Tensor) -> Tensor:
        return self.fc(self.encoded(spectra)[:, 0])

    def reconstructed(self, spectra: Tensor, seen: Tensor) -> Tensor:
        """(sample, patch, channel), also of the patches that are seen."""
        tokens = self.decoder_embed(self.encoded(spectra, seen))
        patches = self.mask_token.repeat(len(tokens), PATCHES, 1)
        for index, of_one in enumerate(seen):
            patches[index, of_one] = tokens[index, 1:]
        x = torch.cat([tokens[:, :1], patches], dim=1) + self.decoder_pos_embed
        for block in self.decoder_blocks:
            x = block(x)
        return self.decoder_pred(self.decoder_norm(x))[:, 1:]


# DL-IM: five convolutions along the features


class OneDCNN(nn.Module):
    def __init__(self, channels: Sequence[int] = (64, 64, 128, 128, 256)) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        before = 1
        for count in channels:
            stride = 2 if before == 64 and count == 128 else 1
            convolution = nn.Conv1d(before, count, 3, stride, padding=1, bias=False)
            blocks.append(nn.Sequential(convolution, nn.BatchNorm1d(count), nn.ReLU()))
            before = count
        self.feature = nn.Sequential(*blocks, nn.AdaptiveAvgPool1d(1))
        self.fc = nn.Linear(before, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.feature(x[:, None]).flatten(1))


# VDI: Keras' residual network, in numpy, channels last


def convolved(image: Array, kernel: Array, bias: Array) -> Array:
    """(height, width, channel) with a kernel (height, width, channel, filter), zeros beyond the
    edges.
    """
    rows, columns = kernel.shape[:2]
    padded = np.pad(image, ((rows // 2,) * 2, (columns // 2,) * 2, (0, 0)))
    made = np.zeros((*image.shape[:2], kernel.shape[3]))
    for row in range(rows):
        for column in range(columns):
            made += (
                padded[row : row + image.shape[0], column : column + image.shape[1]]
                @ kernel[row, column]
            )
    return made + bias


def halved(image: Array) -> Array:
    height, width, channels = image.shape
    return image.reshape(height // 2, 2, width // 2, 2, channels).max(axis=(1, 3))


def leaky(values: Array) -> Array:
    return np.where(values > 0, values, 0.2 * values)


Shapes = dict[str, dict[str, tuple[int, ...]]]
"""Group of the file → weight → shape."""


def vdi_weights(random: np.random.Generator) -> dict[str, dict[str, Array]]:
    """Group of the file → weight → array: two blocks, an attention, and two heads, for images of 8
    x 8 pixels.
    """
    attention: Shapes = {
        "sequential": {
            "look_dense_0/kernel": (6, 2), "look_dense_0/bias": (2,),
            "look_dense_1/kernel": (2, 6), "look_dense_1/bias": (6,),
        }
    }  # fmt: skip
    heads = _vdi_head("to_depth", 2 * 2 * 6, 5) | _vdi_head("to_volume", 2 * 2 * 6, 5)
    return _drawn(
        _vdi_block("block_1", 1, 4, 3) | _vdi_block("block_2", 6, 4, 3) | attention | heads, random
    )


def published_vdi_weights(random: np.random.Generator) -> dict[str, dict[str, Array]]:
    """The same of VDI's published network, the model `vdi_resnet`, for images of 64 x 64 pixels."""
    shapes = _vdi_head("denses_1", 4 * 4 * 32, 8) | _vdi_head("denses_2", 4 * 4 * 32, 8)
    for number, (before, filters) in enumerate([(1, 8), (16, 8), (16, 16), (32, 16)], start=1):
        shapes |= _vdi_block(f"resnet_block_{number}", before, filters, filters)
    return _drawn(shapes, random)


def _vdi_block(name: str, before: int, first: int, second: int) -> Shapes:
    """Two convolutions and the shortcut beside them."""
    deep = f"{name}_convolutions"
    return {
        name: {
            f"{deep}_0/kernel": (3, 3, before, first),
            f"{deep}_0/bias": (first,),
            f"{deep}_1/kernel": (3, 3, first, second),
            f"{deep}_1/bias": (second,),
        },
        f"{name}_shortcut": {
            f"{name}_shortcut/kernel": (1, 1, before, second),
            f"{name}_shortcut/bias": (second,),
        },
    }


def _vdi_head(name: str, before: int, hidden: int) -> Shapes:
    return {
        name: {f"{name}_dense_0/kernel": (before, hidden), f"{name}_dense_1/kernel": (hidden, 1)}
    }


def _drawn(shapes: Shapes, random: np.random.Generator) -> dict[str, dict[str, Array]]:
    return {
        group: {
            name: random.normal(size=shape).astype(np.float32) for name, shape in of_group.items()
        }
        for group, of_group in shapes.items()
    }


def vdi_estimates(image: Array, weights: Mapping[str, Mapping[str, Array]]) -> dict[str, float]:
    """The forward pass of that network for one image, (8, 8)."""
    all_weights = {name: array for group in weights.values() for name, array in group.items()}

    def layer(x: Array, name: str) -> Array:
        return convolved(x, all_weights[f"{name}/kernel"], all_weights[f"{name}/bias"])

    x = image[..., None]
    for block in ("block_1", "block_2"):
        deep = layer(leaky(layer(x, f"{block}_convolutions_0")), f"{block}_convolutions_1")
        x = halved(np.maximum(np.concatenate([deep, layer(x, f"{block}_shortcut")], axis=-1), 0))
    means = x.mean(axis=(0, 1))
    hidden = leaky(means @ all_weights["look_dense_0/kernel"] + all_weights["look_dense_0/bias"])
    x = x / (
        1
        + np.exp(-(hidden @ all_weights["look_dense_1/kernel"] + all_weights["look_dense_1/bias"]))
    )
    flat = x.reshape(-1)  # channels last
    return {
        output: (
            (
                leaky(flat @ all_weights[f"{head}_dense_0/kernel"])
                @ all_weights[f"{head}_dense_1/kernel"]
            ).item()
        )
        for output, head in (("depth", "to_depth"), ("delta_volume", "to_volume"))
    }


def vdi_image(
    depth: float, volume: float, azimuth: float = 0.0, incidence: float = 0.33, x: float = 0.0
) -> Array:
    """The displacement that VDI makes of a source, (64, 64) [m], with pixels of 100 m.

    Its angle comes from east and north in each other's place, and from the columns in reverse
    order.
    """
    steps = (np.arange(64) - 32) * 0.1
    east, north = np.meshgrid(steps - x, steps)
    radius, angle = np.hypot(east, north), np.arctan2(east[:, ::-1], north)
    scale = 0.75 / np.pi * volume / (radius**2 + depth**2) ** 1.5
    along = np.cos(azimuth) * np.cos(angle) + np.sin(azimuth) * np.sin(angle)
    return scale * (depth * np.cos(incidence) - radius * along * np.sin(incidence))


def _vdi_model(
    side: int, hidden: int, operations: Mapping[str, Any], order: Sequence[str]
) -> dict[str, Any]:
    """A model with two heads of some hidden units behind operations in an order."""
    head = {"module": "denses", "parameters": {"filters": [hidden, 1]}}
    relu = {"module": "activation", "parameters": {"activation": "relu"}}
    return {
        "inputs": {"displacement": {"size": [side, side, 1]}},
        "outputs": ["depth", "delta_volume"],
        "operations": {**operations, "relu": relu, "to_depth": head, "to_volume": head},
        "branches": [
            {"x_name": "displacement", "y_name": "seen", "operations": list(order)},
            {"x_name": "seen", "y_name": "depth", "operations": ["to_depth"]},
            {"x_name": "seen", "y_name": "delta_volume", "operations": ["to_volume"]},
        ],
    }


VDI_64 = _vdi_model(
    64,
    8,
    {
        "block": {"module": "resnet_block", "parameters": {"filters": [4, 4]}},
        "pool": {"module": "max_pooling", "parameters": {"pool_size": 4}},
    },
    ["block", "relu", "pool"],
)


class Vdi(nn.Module):
    """A network of VDI for images of 64 x 64 pixels, which learns from VDI's own images."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.shortcut = nn.Conv2d(1, 4, 1)
        self.hidden = nn.ModuleList(nn.Linear(2048, 8, bias=False) for _ in range(2))
        self.last = nn.ModuleList(nn.Linear(8, 1, bias=False) for _ in range(2))

    def forward(self, images: Tensor) -> Tensor:
        """(image, 64, 64) → depth and volume change, (image, 2)."""
        x = images[:, None]
        deep = self.second(nn.functional.leaky_relu(self.first(x), 0.2))
        seen = nn.functional.max_pool2d(torch.cat([deep, self.shortcut(x)], 1).relu(), 4)
        flat = seen.permute(0, 2, 3, 1).flatten(1)  # channels last
        heads = zip(self.hidden, self.last, strict=True)
        return torch.cat(
            [last(nn.functional.leaky_relu(hidden(flat), 0.2)) for hidden, last in heads], 1
        )

    def learn(self, images: Tensor, truth: Tensor, epochs: int) -> None:
        optimizer = torch.optim.Adam(self.parameters(), 3e-3)
        for chosen in torch.arange(len(images)).split(32) * epochs:
            optimizer.zero_grad()
            (self(images[chosen]) - truth[chosen]).abs().mean().backward()
            optimizer.step()

    def weights(self) -> dict[str, dict[str, Array]]:
        """Group of the file → weight → array, as Keras keeps them."""

        def convolution(name: str, layer: nn.Conv2d) -> dict[str, Array]:
            assert layer.bias is not None
            kernel = layer.weight.detach().permute(2, 3, 1, 0)
            return {f"{name}/kernel": kernel.numpy(), f"{name}/bias": layer.bias.detach().numpy()}

        made = {
            "block": (
                convolution("block_convolutions_0", self.first)
                | convolution("block_convolutions_1", self.second)
            ),
            "block_shortcut": convolution("block_shortcut", self.shortcut),
        }
        for name, hidden, last in zip(
            ("to_depth", "to_volume"), self.hidden, self.last, strict=True
        ):
            layers = {f"{name}_dense_0/kernel": hidden, f"{name}_dense_1/kernel": last}
            made[name] = {key: layer.weight.detach().numpy().T for key, layer in layers.items()}
        return made


# 2Dto2D-DLE: Keras' CNN and U-Net for fields, in numpy, channels last


def cnn_weights(random: np.random.Generator) -> dict[str, dict[str, Array]]:
    """Two layers of six filters and the outputs, of the network that a session built after another
    one.
    """
    shapes = {"conv2d_9": (3, 3, 3, 6), "conv2d_10": (3, 3, 6, 6), "conv2d_11": (1, 1, 6, 2)}
    return {name: _kernel_and_bias(name, shape, random) for name, shape in shapes.items()}


def _kernel_and_bias(
    name: str, shape: tuple[int, ...], random: np.random.Generator
) -> dict[str, Array]:
    bias = shape[2] if "trans" in name else shape[3]
    made = {
        f"{name}/kernel": random.normal(size=shape) / 3,
        f"{name}/bias": random.normal(size=bias),
    }
    return {path: array.astype(np.float32) for path, array in made.items()}


def cnn_fields(fields: Array, weights: Mapping[str, Mapping[str, Array]]) -> Array:
    """The forward pass for one frame, (height, width, input) → (height, width, output)."""
    *layers, last = [tuple(group.values()) for group in weights.values()]
    for kernel, bias in layers:
        fields = convolved(fields, kernel, bias)
        fields = np.where(fields > 0, fields, 0.01 * fields)
    return convolved(fields, *last)


def unet_weights(random: np.random.Generator) -> dict[str, dict[str, Array]]:
    """Two blocks, of four and eight filters."""
    shapes = {
        "unet_down0_0": (3, 3, 3, 4), "unet_down0_1": (3, 3, 4, 4),
        "unet_down1_conv_0": (3, 3, 4, 8), "unet_down1_conv_1": (3, 3, 8, 8),
        "unet_up0_decode_trans_conv": (3, 3, 4, 8), "unet_up0_conv_before_concat_0": (3, 3, 4, 4),
        "unet_up0_conv_after_concat_0": (3, 3, 8, 4), "unet_up0_conv_after_concat_1": (3, 3, 4, 4),
        "unet_output": (1, 1, 4, 2),
    }  # fmt: skip
    return {name: _kernel_and_bias(name, shape, random) for name, shape in shapes.items()}


def unet_fields(fields: Array, weights: Mapping[str, Mapping[str, Array]]) -> Array:
    """The forward pass for one frame whose sides are even."""

    def layer(x: Array, name: str) -> Array:
        made = convolved(x, *weights[name].values())
        return np.where(made > 0, made, 0.3 * made)

    beside = layer(layer(fields, "unet_down0_0"), "unet_down0_1")
    coarse = layer(layer(halved(beside), "unet_down1_conv_0"), "unet_down1_conv_1")
    kernel, bias = weights["unet_up0_decode_trans_conv"].values()
    height, width = coarse.shape[:2]
    doubled = np.zeros((2 * height + 1, 2 * width + 1, kernel.shape[2]))
    for row in range(3):
        for column in range(3):
            doubled[row : row + 2 * height : 2, column : column + 2 * width : 2] += (
                coarse @ kernel[row, column].T
            )
    doubled = doubled[:-1, :-1] + bias
    fine = layer(np.where(doubled > 0, doubled, 0.3 * doubled), "unet_up0_conv_before_concat_0")
    joined = np.concatenate([fine, beside], axis=-1)
    joined = layer(layer(joined, "unet_up0_conv_after_concat_0"), "unet_up0_conv_after_concat_1")
    return convolved(joined, *weights["unet_output"].values())


VDI_MODEL = _vdi_model(
    8,
    5,
    {
        "block_1": {"module": "resnet_block", "parameters": {"filters": [4, 3]}},
        "block_2": {"module": "resnet_block", "parameters": {"filters": [4, 3]}},
        "look": {"module": "attention", "parameters": {"filters": [2, 6]}},
        "halve": {"module": "max_pooling"},
    },
    ["block_1", "relu", "halve", "block_2", "relu", "halve", "look"],
)


def write_h5(
    file: Path, weights: Mapping[str, Mapping[str, Array]], *, within: str = "model_weights"
) -> None:
    """Weights as Keras writes a whole model, `best.h5`: names of layers and weights in attributes,
    and in the paths.
    """
    with h5py.File(file, "w") as content:
        content.attrs["keras_version"] = "2.12.0"
        content.attrs["model_config"] = '{"class_name": "Functional", "config": {"layers": []}}'
        top = content.create_group(within) if within else content
        top.attrs["layer_names"] = [name.encode() for name in weights]
        for group, of_group in weights.items():
            place = top.create_group(group)
            place.attrs["weight_names"] = [f"{name}:0".encode() for name in of_group]
            for name, array in of_group.items():
                place[f"{name}:0"] = array
        top.create_group("top_level_model_weights").attrs["weight_names"] = []
        content["optimizer_weights/Adam/iteration:0"] = np.int64(12)


CLASSES = {"block_1": 0, "block_2": 1, "sequential": 2, "to_depth": 3, "to_volume": 4}
"""Group of that network that is a `Sequential` → its number among them."""


def write_keras(file: Path, weights: Mapping[str, Mapping[str, Array]]) -> None:
    """The same weights as Keras 3 writes them, `.keras`: numbered, beside a description of the
    layers.
    """
    layers: list[dict[str, Any]] = [
        {"class_name": "InputLayer", "config": {"name": "displacement"}}
    ]
    stored: dict[str, Array] = {}
    alone = 0
    for group, of_group in weights.items():
        inner: list[dict[str, Any]] = [
            {"class_name": "InputLayer", "config": {"name": f"input_of_{group}"}}
        ]
        counts = {"Conv2D": 0, "Dense": 0}
        names = list(dict.fromkeys(name.split("/")[0] for name in of_group))
        for name in names:
            arrays = [array for path, array in of_group.items() if path.startswith(f"{name}/")]
            kind = "Conv2D" if arrays[0].ndim == 4 else "Dense"
            described = {"class_name": kind, "config": {"name": name, "use_bias": len(arrays) == 2}}
            called = kind.lower()
            if group in CLASSES:
                inner.append(described)
                number, counts[kind] = counts[kind], counts[kind] + 1
                sequential = f"sequential_{CLASSES[group]}" if CLASSES[group] else "sequential"
                path = f"layers/{sequential}/layers/{called}{f'_{number}' if number else ''}"
            else:
                layers.append(described)
                path = f"layers/{called}{f'_{alone}' if alone else ''}"
                alone += 1
            stored |= {f"{path}/vars/{index}": array for index, array in enumerate(arrays)}
        if group in CLASSES:
            layers.append({"class_name": "Sequential", "config": {"name": group, "layers": inner}})
    kept = io.BytesIO()
    with h5py.File(kept, "w") as content:
        for path, array in stored.items():
            content[path] = array
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.3.0"}))
        archive.writestr(
            "config.json", json.dumps({"class_name": "Functional", "config": {"layers": layers}})
        )
        archive.writestr("model.weights.h5", kept.getvalue())
