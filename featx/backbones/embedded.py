"""The networks whose weights lie inside the package: features with nothing to download.

`InvertedResiduals` is MobileNetV2's design (Sandler et al. 2018, arXiv 1801.04381), which
EfficientNet-Lite shares, with batch norm already folded into the convolutions, so that a forward
pass is convolutions, clips and sums, and nothing in it depends on train or eval mode. Its shape is
data (`NetworkShape`): each file of weights has its own.

Only this module knows where the weights lie. It does not choose devices, precisions or layers.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from importlib import resources
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from featx.backbones._weights_file import read_notes, read_state_dict
from featx.backbones.sources import BackboneCard, BuiltSource, WeightsEntry
from featx.errors import BackboneError, WeightsError, choose, one_line
from featx.recipe import Preprocessing

__all__ = [
    "EMBEDDED",
    "LITE0",
    "THIN_LITE0",
    "EmbeddedSource",
    "InvertedResiduals",
    "NetworkShape",
    "build_embedded",
    "load_network",
]

_SMALL = Preprocessing(resize_px=182, crop_px=160)
_HALF = (0.5, 0.5, 0.5)
_BASE = Preprocessing(resize_px=219, crop_px=192, mean=_HALF, std=_HALF)
# (hidden channels, output channels, stride) of each block of MobileNetV2 at width 1.
_MOBILENET_V2 = (
    (32, 16, 1),
    (96, 24, 2),
    (144, 24, 1),
    (144, 32, 2),
    *((192, 32, 1),) * 2,
    (192, 64, 2),
    *((384, 64, 1),) * 3,
    (384, 96, 1),
    *((576, 96, 1),) * 2,
    (576, 160, 2),
    *((960, 160, 1),) * 2,
    (960, 320, 1),
)


@dataclass(frozen=True)
class NetworkShape:
    """Widths and strides of an `InvertedResiduals`.

    Parameters
    ----------
    n_stem : int
        Output channels of the first convolution, which halves the resolution.
    blocks : tuple of tuple of int
        Hidden channels, output channels and stride of each block, and the side of its kernel
        where that is not 3. A block whose hidden channels equal its input's has no expanding
        convolution; one of stride 1 that keeps the channel count adds its input to its output.
        Cost grows with hidden times output channels.
    n_features : int
        Length of the feature vector.
    pads_after : bool, default False
        Pad a halving convolution by one less before than after, as TensorFlow does to an even
        side ("SAME"), not by the same on both.

    Examples
    --------
    >>> len(NetworkShape().blocks), NetworkShape().n_features
    (17, 1280)
    """

    n_stem: int = 32
    blocks: tuple[tuple[int, ...], ...] = _MOBILENET_V2
    n_features: int = 1280
    pads_after: bool = False

    @classmethod
    def from_json(cls, text: str) -> NetworkShape:
        """Rebuild from `to_json`'s result."""
        fields = json.loads(text)
        blocks = tuple(tuple(int(n) for n in block) for block in fields["blocks"])
        pads_after = bool(fields.get("pads_after", False))
        return cls(int(fields["n_stem"]), blocks, int(fields["n_features"]), pads_after)

    def to_json(self) -> str:
        """Return the fields as one line of JSON, as the weights file's header keeps them."""
        return json.dumps(asdict(self))


LITE0 = NetworkShape(
    blocks=(
        (32, 16, 1),
        (96, 24, 2),
        (144, 24, 1),
        (144, 40, 2, 5),
        (240, 40, 1, 5),
        (240, 80, 2),
        *((480, 80, 1),) * 2,
        (480, 112, 1, 5),
        *((672, 112, 1, 5),) * 2,
        (672, 192, 2, 5),
        *((1152, 192, 1, 5),) * 3,
        (1152, 320, 1),
    ),
    pads_after=True,
)


# Most of the time goes where maps are large, so only those blocks have fewer hidden channels.
THIN_LITE0 = replace(
    LITE0,
    blocks=(
        (32, 16, 1),
        (64, 24, 2),
        (64, 24, 1),
        (96, 40, 2, 5),
        (112, 40, 1, 5),
        (160, 80, 2),
        *LITE0.blocks[6:],
    ),
)


class _Block(nn.Module):
    """Expand (1 x 1), filter each channel, project (1 x 1); add the input if it fits."""

    def __init__(
        self,
        n_in: int,
        n_hidden: int,
        n_out: int,
        stride: int,
        kernel: int = 3,
        *,
        pads_after: bool,
    ) -> None:
        super().__init__()
        self.expand = nn.Conv2d(n_in, n_hidden, 1) if n_hidden != n_in else None
        kind = _convolution(stride, pads_after=pads_after)
        self.depthwise = kind(n_hidden, n_hidden, kernel, stride, kernel // 2, groups=n_hidden)
        self.project = nn.Conv2d(n_hidden, n_out, 1)
        self.has_residual = stride == 1 and n_in == n_out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = x if self.expand is None else functional.relu6(self.expand(x), inplace=True)
        out: torch.Tensor = self.project(functional.relu6(self.depthwise(hidden), inplace=True))
        return x + out if self.has_residual else out


def _convolution(stride: int, *, pads_after: bool) -> type[nn.Conv2d]:
    return _PadsAfter if pads_after and stride == 2 else nn.Conv2d


class _PadsAfter(nn.Conv2d):
    """A halving convolution that pads an even side by one less before than after."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # One more on both sides and without the first result: as good as padding by hand, which
        # copies the largest maps of the network.
        half = self.kernel_size[0] // 2
        down, right = (1 - n % 2 for n in x.shape[2:])
        padding = (half + down, half + right)
        out = functional.conv2d(
            x, self.weight, self.bias, self.stride, padding, groups=self.groups
        )
        return out[:, :, down:, right:]


class InvertedResiduals(nn.Module):
    """Map (B, 3, H, W) normalised images to (B, n_features) vectors.

    Parameters
    ----------
    shape : NetworkShape, default NetworkShape()
        Widths and strides. Weights are torch's random ones until a state dict is loaded.

    Examples
    --------
    >>> network = InvertedResiduals(NetworkShape(8, ((8, 8, 1), (16, 12, 2)), 20)).eval()
    >>> network(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 20])
    """

    def __init__(self, shape: NetworkShape | None = None) -> None:
        super().__init__()
        self.shape = shape or NetworkShape()
        pads_after = self.shape.pads_after
        self.stem = _convolution(2, pads_after=pads_after)(3, self.shape.n_stem, 3, 2, 1)
        widths = [self.shape.n_stem, *(block[1] for block in self.shape.blocks)]
        self.blocks = nn.Sequential(
            *(
                _Block(n_in, *row, pads_after=pads_after)
                for n_in, row in zip(widths[:-1], self.shape.blocks, strict=True)
            )
        )
        self.head = nn.Conv2d(widths[-1], self.shape.n_features, 1)

    def forward_map(self, x: torch.Tensor) -> torch.Tensor:
        """Return the (B, n_features, H / 32, W / 32) map that `forward` averages."""
        x = self.blocks(functional.relu6(self.stem(x), inplace=True))
        return functional.relu6(self.head(x), inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the (B, n_features) mean of the last map over its positions."""
        return self.forward_map(x).mean(dim=(2, 3))


EMBEDDED: dict[str, BackboneCard] = {
    name: BackboneCard(
        name=name,
        source="featx",
        weights=(WeightsEntry("EMBEDDED", None, preprocessing, "Apache-2.0"),),
        local=preprocessing,
        n_parameters=n_parameters,
    )
    for name, preprocessing, n_parameters in (
        ("featx_base", _BASE, 3_315_104),
        ("featx_small", _SMALL, 2_206_816),
    )
}
_ORIGINS = {
    "featx_base": "derived from timm's tf_efficientnet_lite0 (docs/featx_base.md)",
    "featx_small": "derived from torchvision's mobilenet_v2 (docs/featx_small.md)",
}


class EmbeddedSource(BuiltSource):
    """Every network of `EMBEDDED`."""

    def names(self) -> list[str]:
        """Return the names, sorted."""
        return sorted(EMBEDDED)

    def card(self, name: str, path: Path | None = None) -> BackboneCard:
        """Return what is known of an embedded network."""
        return EMBEDDED[name]

    def build(
        self, card: BackboneCard, *, px: int | None, any_size: bool
    ) -> tuple[nn.Module, str | None]:
        """Build the network in the embedded weights' shape, which takes images of any size."""
        return InvertedResiduals(build_embedded(card.name).shape), None

    def fetch(self, card: BackboneCard, entry: WeightsEntry, module: nn.Module) -> str:
        """Load the weights inside the package."""
        module.load_state_dict(build_embedded(card.name).state_dict())
        return f"embedded in featx ({_ORIGINS[card.name]})"


def build_embedded(name: str) -> InvertedResiduals:
    """Build an embedded network with its weights, float32 and in eval mode.

    Parameters
    ----------
    name : str
        A key of `EMBEDDED`.

    Returns
    -------
    InvertedResiduals
        On the CPU, gradients off.

    Raises
    ------
    BackboneError
        If there is no such embedded network.
    WeightsError
        If its file is missing from the installation or is damaged.
    """
    choose("embedded backbone", name, EMBEDDED, error=BackboneError)
    file = resources.files("featx.backbones") / "data" / f"{name}.safetensors"
    try:
        with resources.as_file(file) as path:
            return load_network(path)
    except WeightsError as err:
        raise WeightsError(f"{err}; the file belongs to featx: reinstall it") from err


def load_network(path: str | Path) -> InvertedResiduals:
    """Build the network that a file of `pipelines.distill` holds.

    Parameters
    ----------
    path : str or Path
        A safetensors file with float16 or float32 tensors and the network's shape in its header.

    Returns
    -------
    InvertedResiduals
        Float32, eval mode, on the CPU, gradients off.

    Raises
    ------
    WeightsError
        If the file is missing, damaged, or does not hold such a network.
    """
    path = Path(path)
    tensors = {key: tensor.float() for key, tensor in read_state_dict(path).items()}
    try:
        shape = NetworkShape.from_json(read_notes(path)["shape"])
    except (KeyError, TypeError, ValueError) as err:
        raise WeightsError(
            f"{path}: got {type(err).__name__} ({one_line(err)}), expected an embedded network "
            "with its shape in the header; make one with python -m pipelines.distill"
        ) from err
    with torch.device("meta"):  # no time spent on random weights that are replaced at once
        network = InvertedResiduals(shape)
    try:
        network.load_state_dict(tensors, assign=True)
    except RuntimeError as err:
        raise WeightsError(
            f"{path}: tensors do not fit the shape in the header ({one_line(err)}); make the file "
            "again with python -m pipelines.distill"
        ) from err
    return network.eval().requires_grad_(False)
