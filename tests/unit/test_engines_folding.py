"""Folded batch normalisation: the same outputs, from fewer steps, or not at all."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from featx.backbones import load_backbone
from featx.engines._batch_norm import fold_batch_norms, has_batch_norms
from featx.engines._torch import TorchEngine
from featx.engines.engine import Network
from featx.engines.placement import Placement, Precision
from featx.errors import BackboneError
from featx.pooling import get_pooling
from featx.recipe import Preprocessing

AVG = get_pooling("avg")


def settled(network: nn.Module, seed: int = 0) -> nn.Module:
    """Give each normalisation something to do, as training does."""
    rng = torch.Generator().manual_seed(seed)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            for tensor, low, high in (
                (part.running_mean, -0.3, 0.3),
                (part.running_var, 0.5, 2.0),
                (part.weight, 0.5, 1.5),
                (part.bias, -0.3, 0.3),
            ):
                if tensor is not None:
                    tensor.data.uniform_(low, high, generator=rng)
    return network.eval().requires_grad_(False)


def n_norms(network: nn.Module) -> int:
    return sum(type(part) is nn.BatchNorm2d for part in network.modules())


@pytest.mark.parametrize(
    ("name", "n_left"),
    # densenet's stand before their convolutions, all but two; googlenet's other two do not run
    [("resnet18", 0), ("mobilenet_v3_small", 0), ("densenet121", 62), ("googlenet", 0)],
)
def test_torchvisions_networks_give_the_same_in_double_precision(name: str, n_left: int) -> None:
    torch.manual_seed(0)
    options = {"init_weights": True} if name == "googlenet" else {}
    network = settled(getattr(torchvision.models, name)(weights=None, **options))
    if name == "googlenet":
        network.aux1 = network.aux2 = None
    folded = fold_batch_norms(network, torch.rand(1, 3, 64, 64))
    assert n_norms(folded.module) == n_left < n_norms(network)
    x = torch.rand(2, 3, 64, 64, dtype=torch.float64)
    expected, found = network.double()(x), folded.module.double()(x)
    # the folded weights were rounded to float32
    assert float((found - expected).abs().max() / expected.abs().max()) < 1e-6


@given(
    st.integers(0, 10**6),
    st.integers(1, 3),
    st.sampled_from([1, 2]),
    st.integers(0, 2),
    st.booleans(),
    st.booleans(),
)
def test_any_convolution_folds_as_numpy_says(seed, groups, stride, padding, bias, affine) -> None:
    torch.manual_seed(seed)
    conv = nn.Conv2d(6, 12, 3, stride, padding, groups=groups, bias=bias)
    norm = nn.BatchNorm2d(12, affine=affine, eps=1e-3)
    network = settled(nn.Sequential(conv, norm, nn.ReLU(inplace=True)), seed)
    folded = fold_batch_norms(network, torch.rand(1, 6, 9, 9) - 0.5).module[0]

    def numbers(x) -> np.ndarray:
        return x.detach().double().numpy()

    scale = 1 / np.sqrt(numbers(norm.running_var) + 1e-3)
    shift = -numbers(norm.running_mean) * scale
    if affine:
        scale, shift = scale * numbers(norm.weight), shift * numbers(norm.weight)
        shift = shift + numbers(norm.bias)
    if bias:
        shift = shift + numbers(conv.bias) * scale
    np.testing.assert_allclose(
        numbers(folded.weight), numbers(conv.weight) * scale[:, None, None, None], rtol=1e-6
    )
    np.testing.assert_allclose(numbers(folded.bias), shift, rtol=1e-6, atol=1e-7)


class Own(nn.BatchNorm2d):
    def forward(self, x):
        return super().forward(x) + 1


class Halved(nn.Module):
    def forward(self, weight):
        return weight / 2


def parametrised() -> nn.Module:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    nn.utils.parametrize.register_parametrization(network[0], "weight", Halved())
    return network


class ReadTwice(nn.Sequential):
    def forward(self, x):
        y = self[0](x)
        return self[1](y) + y


class CalledTwice(nn.Sequential):
    def forward(self, x):
        return self[1](self[0](x)) + self[1](self[0](2 * x))


class Between(nn.Sequential):
    def forward(self, x):
        return self[1](self[0](x).relu())


@pytest.mark.parametrize(
    "network",
    [
        nn.Sequential(nn.Conv2d(3, 4, 3), Own(4)),
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)),
        nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3)),
        nn.Sequential(nn.Conv2d(3, 4, 3)),
        parametrised(),
        ReadTwice(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)),
        CalledTwice(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)),
        Between(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)),
    ],
    ids=["subclass", "batch's own", "before", "none", "parametrised", "read twice", "called twice",
         "something between"],
)  # fmt: skip
def test_what_cannot_be_folded_is_left(network: nn.Module) -> None:
    before = {name: x.clone() for name, x in settled(network).state_dict().items()}
    assert fold_batch_norms(network, torch.rand(1, 3, 8, 8)) is None
    assert all(torch.equal(x, before[name]) for name, x in network.state_dict().items())


def test_a_network_that_cannot_be_copied_is_left(caplog: pytest.LogCaptureFixture) -> None:
    network = settled(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
    network.lock = threading.Lock()
    with caplog.at_level("DEBUG"):
        assert fold_batch_norms(network, torch.rand(1, 3, 8, 8)) is None
    assert "cannot be copied" in caplog.text
    assert has_batch_norms(network)


def test_a_convolution_that_is_read_gives_its_own_output() -> None:
    torch.manual_seed(0)
    network = settled(torchvision.models.resnet18(weights=None))
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    x = (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - mean) / std
    layers = ["conv1", "bn1", "layer1.0.bn2", "layer4"]
    expected: dict[str, np.ndarray] = {}
    hooks = [
        network.get_submodule(name).register_forward_hook(
            lambda _, __, out, name=name: expected.update({name: out.mean((2, 3)).numpy()})
        )
        for name in layers
    ]
    network(x)
    for hook in hooks:
        hook.remove()
    net = load_backbone(network, precision="float32", device="cpu", engine="torch")
    for asked in (layers, layers[1:], layers[:1]):
        found = net.features([images], [(name, AVG) for name in asked])
        for name, vectors in zip(asked, found, strict=True):
            largest = np.abs(expected[name]).max()
            np.testing.assert_allclose(vectors, expected[name], atol=1e-6 * largest)


def test_low_precision_loses_no_more_and_statistics_stay_exact() -> None:
    torch.manual_seed(0)
    network = settled(torchvision.models.resnet18(weights=None))
    kept = {name: x.clone() for name, x in network.state_dict().items()}
    images = np.random.default_rng(0).integers(0, 256, (8, 96, 96, 3), np.uint8)
    loads = {"device": "cpu", "engine": "torch"}
    (exact,) = load_backbone(network, precision="float32", **loads).features(
        [images], [("layer4", AVG)]
    )
    net = load_backbone(network, precision="bfloat16", **loads)
    # a convolution that is read is the network as it came: no difference but its precision
    folded = net.features([images], [("layer4", AVG)])[0]
    plain = net.features([images], [("layer4", AVG), ("conv1", AVG)])[0]

    def loss(a: np.ndarray) -> float:
        a, b = a.astype(float), exact.astype(float)
        cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
        return float(1 - cosines.mean())

    assert 0 < loss(folded) < loss(plain) < 1e-3
    for name, x in net._torch.module.state_dict().items():
        if "bn" in name and x.is_floating_point():
            assert x.dtype == torch.float32
            assert torch.equal(x, kept[name]), name


def test_weights_are_no_inference_tensors_wherever_the_network_is_loaded() -> None:
    # torch 2.14 asks a weight for its version, which these do not have
    images = np.random.default_rng(0).integers(0, 256, (8, 96, 96, 3), np.uint8)
    with torch.inference_mode():
        net = load_backbone("resnet18", weights=None, device="cpu", precision="bfloat16")
        (inside,) = net.features([images], [("layer4", AVG)])
    (outside,) = net.features([images], [("layer4", AVG)])
    np.testing.assert_array_equal(inside, outside)
    assert net._torch._folded is not None
    for module in (net._torch.module, net._torch._folded):
        assert not any(parameter.is_inference() for parameter in module.parameters())


class NeedsMeta(nn.Sequential):
    """Runs on one device only, as a network with operations of its own does."""

    def forward(self, x):
        if x.device.type != "meta":
            raise RuntimeError("only on its device")
        return super().forward(x)


def test_a_network_that_needs_its_device_is_left_as_it_is() -> None:
    def network() -> nn.Module:
        return settled(NeedsMeta(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))

    made = TorchEngine(
        Network("mine", network(), None, Preprocessing()),
        Placement(torch.device("meta"), Precision("float32"), "torch", "as asked for"),
    )
    layers = made.trace(np.zeros((1, 32, 32, 3), np.uint8))
    assert layers["1"].shape == (1, 4, 30, 30)
    assert made._folded is None
    with pytest.raises(BackboneError, match=r"cannot process an image.*only on its device"):
        load_backbone(network(), device="cpu", engine="torch", precision="float32").layers  # noqa: B018
