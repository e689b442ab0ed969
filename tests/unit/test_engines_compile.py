"""Engine "compile": the features of torch as it is, compiled once for a size of batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from featx.backbones import load_backbone
from featx.errors import BackboneError, ParameterError
from featx.pooling import get_pooling

LOADS = {"device": "cpu", "precision": "float32"}
AVG, NONE = get_pooling("avg"), get_pooling("none")


class Small(nn.Module):
    """A convolution whose sum with its input goes through one activation in place."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(3)
        self.act = nn.ReLU(inplace=True)
        self.head = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.act(self.norm(self.conv(x)) + x)
        return self.head(y.mean((2, 3)))


@pytest.fixture
def small() -> Small:
    torch.manual_seed(0)
    network = Small()
    network.norm.running_mean.uniform_(-1, 1)
    network.norm.running_var.uniform_(0.5, 2)
    return network.eval()


def pictures(n: int) -> np.ndarray:
    return np.random.default_rng(n).integers(0, 256, (n, 32, 40, 3), np.uint8)


@pytest.mark.slow
def test_features_are_those_of_torch_and_sizes_are_compiled_once(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled, real = [], torch.compile

    def counted(graph, **options):
        compiled.append(graph)
        return real(graph, **options)

    monkeypatch.setattr(torch, "compile", counted)
    reads = [("conv", AVG), ("act", get_pooling("max")), ("act", AVG), ("output", NONE)]
    plain = load_backbone(small, engine="torch", **LOADS)
    net = load_backbone(small, engine="compile", **LOADS)
    assert net.choose_engine(["output"], [(32, 40, 3)], n_images=9).name == "compile"
    for n in (3, 4, 4, 1):
        for found, expected in zip(
            net.features([pictures(n)], reads), plain.features([pictures(n)], reads), strict=True
        ):
            assert found.shape == expected.shape
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert len(compiled) == 2  # for four images and for one


def test_a_network_that_cannot_be_compiled_is_said(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_, **__):
        raise RuntimeError("Failed to find C compiler")

    monkeypatch.setattr(torch, "compile", broken)
    net = load_backbone(small, engine="compile", **LOADS)
    with pytest.raises(
        BackboneError, match=r"torch.compile cannot .*RuntimeError: Failed to find C.*use engine"
    ):
        net.features([pictures(2)], [("output", NONE)])


def test_other_features_are_refused(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(graph, **_):
        return lambda x: [torch.flip(output, [1]) for output in graph(x)]

    monkeypatch.setattr(torch, "compile", wrong)
    net = load_backbone(small, engine="compile", **LOADS)
    with pytest.raises(BackboneError, match=r"layer 'conv' with a cosine of .* expected at least"):
        net.features([pictures(2)], [("conv", AVG)])


def test_it_is_for_a_network_that_was_loaded_for_it(small: Small) -> None:
    net = load_backbone(small, engine="torch", **LOADS)
    with pytest.raises(ParameterError, match=r"got 'compile' for backbone .* for engine 'torch'"):
        net.features([pictures(2)], [("output", NONE)], engine="compile")
    with pytest.raises(ParameterError, match="got 'int8' with engine 'compile'"):
        load_backbone(small, engine="compile", device="cpu", precision="int8")
