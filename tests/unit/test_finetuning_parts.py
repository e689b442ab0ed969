"""Fine-tuning's parts: cutting a network, views, the head, one step, held-out images."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from _encoders import load_encoder
from PIL import Image
from torch import nn
from torch.nn import functional

from featx.backbones import build_network
from featx.errors import BackboneError, ParameterError
from featx.estimators import LinearProbeClassifier
from featx.finetuning._cache import Room
from featx.finetuning._depths import find_units
from featx.finetuning._history import Depth, Epoch, find_best, find_best_depth
from featx.finetuning._network import Cutter, Tunable
from featx.finetuning._pool import hold_out
from featx.finetuning._split import UntraceableError, halves_agree, trace
from featx.finetuning._train import (
    Model,
    Schedule,
    UnitLinear,
    _make_optimiser,
    _take_step,
    make_warm_head,
)
from featx.finetuning._views import TrainingViews
from featx.images import ImagePreprocessor
from featx.recipe import Preprocessing

CPU = torch.device("cpu")
F32 = {"device": "cpu", "precision": "float32"}


def cutter(backbone, weights: str | None = None, **options) -> Cutter:
    network = build_network(backbone, weights=weights)
    loaded = load_encoder(backbone, weights=weights, **F32, **options)
    return Cutter(network, loaded, device=CPU)


def prepared(name: str, layer: str | None = None, **options) -> Tunable:
    cut = cutter(name, **options)
    return cut.prepare(*cut.choose(layer))


class Depends(nn.Module):
    """Its way depends on a value, which no list of operations can hold."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.second = nn.Conv2d(4, 5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        x = torch.relu(x) if float(x.sum()) > 0 else x
        return self.second(x).mean((2, 3))


class Silent(nn.Module):
    """Changes a tensor in place and drops the result, which a list of operations loses."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.second = nn.Conv2d(4, 5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        x.mul_(3.0)
        return self.second(x).mean((2, 3))


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("mobilenet_v2", None),
        ("mobilenet_v2", "features.18.1"),
        ("resnet18", None),
        ("resnet18", "layer2.1"),
        ("squeezenet1_1", None),
        ("squeezenet1_1", "features.6.expand1x1"),
        ("featx_small", None),
        ("featx_small", "head"),
        ("densenet121", "features.denseblock4"),
    ],
)
def test_both_halves_in_turn_give_what_the_whole_network_and_extraction_give(name, layer) -> None:
    net = prepared(name, layer, resize_px=96, crop_px=96)
    assert net.uncut is None
    pixels = np.random.default_rng(0).integers(0, 256, (3, 96, 96, 3), np.uint8)
    loaded = load_encoder(name, weights=None, **F32)
    (expected,) = loaded.backbone.features(
        [pixels], [(loaded.specs[0].layer, loaded.specs[0].pooling)]
    )
    x = loaded.backbone._torch.input(pixels)
    with torch.no_grad():
        whole, cut = net.whole(x), net.tail(net.frozen(x))
    scale = np.abs(expected).max()
    np.testing.assert_allclose(whole.numpy(), expected, atol=1e-5 * scale)
    np.testing.assert_allclose(cut.numpy(), expected, atol=1e-5 * scale)


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("mobilenet_v2", "features.13"),
        ("resnet18", "layer4"),
        ("squeezenet1_1", "features.11"),
        ("featx_small", "blocks.12"),
    ],
)
def test_by_default_about_the_last_third_is_trained_and_the_classifier_is_not(name, layer) -> None:
    net = prepared(name)
    assert net.train_from == layer
    own = dict(net.whole.module.named_parameters())
    assert all(own[n] is p and p.requires_grad for n, p in net.trained.items())
    assert not any(p.requires_grad for n, p in own.items() if n not in net.trained)
    assert not any(n.startswith(("fc.", "classifier.1.")) for n in net.trained)


def test_all_trains_every_weight_but_the_classifiers() -> None:
    net = prepared("resnet18", "all")
    expected = {n for n, _ in net.whole.module.named_parameters() if not n.startswith("fc.")}
    assert set(net.trained) == expected
    assert net.frozen is None


def test_a_layer_in_the_middle_of_a_residual_block_is_refused_with_one_that_can_be_cut() -> None:
    with pytest.raises(BackboneError, match=r"2 values .* take 'layer3\.1', which begins"):
        prepared("resnet18", "layer3.1.conv2")


def test_a_layer_that_is_not_there_gets_the_nearest_name() -> None:
    with pytest.raises(BackboneError, match=r"got 'layr4', .* Did you mean 'layer4'"):
        prepared("resnet18", "layr4")
    with pytest.raises(BackboneError, match=r"got 'fc', expected a layer .* before"):
        prepared("resnet18", "fc")


def test_a_network_that_cannot_be_written_down_runs_whole_and_says_why() -> None:
    with pytest.raises(UntraceableError, match="not 'Proxy'"):
        trace(Depends().eval(), None, ["second"], torch.rand(2, 3, 16, 16))
    net = cutter(Depends(), "default").prepare("second")
    assert net.frozen is None
    assert "not 'Proxy'" in net.uncut
    assert set(net.trained) == {"second.weight", "second.bias"}


def test_halves_that_lose_an_operation_are_not_used() -> None:
    """Would catch a cut that trusts the list of operations."""
    own, x = Silent().eval(), torch.rand(2, 3, 16, 16)
    traced = trace(own, None, ["second"], x)
    parts = traced.extract(None, "second"), traced.extract("second", None)
    assert not halves_agree(*parts, own, x)
    net = cutter(own, "default").prepare("second")
    assert net.uncut == "cut in two it gives other values"


class Rotary(nn.Module):
    """Blocks that are told of positions and sizes, as those of a transformer are."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor, rope: torch.Tensor, side: int) -> torch.Tensor:
            if float(x.sum()) > 0:  # cannot be written down, and need not be
                x = x + 1
            return x + self.layer(x * rope) / side

    def __init__(self, n: int = 12) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 4, 4, 4)
        self.blocks = nn.ModuleList(Rotary.Block() for _ in range(n))

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        x = self.embed(x)
        side = x.shape[-1]
        rope = torch.cos(torch.arange(side * side, device=x.device)[:, None] * torch.ones(4))
        x = x.flatten(2).transpose(1, 2)
        if mask is not None:
            x = x * mask
        for block in self.blocks:
            x = block(x, rope, side)
        return x.mean(1)


def test_blocks_that_share_positions_are_cut_and_the_parts_in_turn_give_the_whole() -> None:
    """Would catch a cut that needs to look into blocks, or takes positions for a second value."""
    torch.manual_seed(0)
    cut = cutter(Rotary(), "default", resize_px=16, crop_px=16)
    assert cut.choose(None) == ["blocks.8"]
    layers = cut.choose("auto")
    assert layers == ["blocks.4", "blocks.8", "blocks.10", "blocks.11"]
    first, *_, last = tunables = [cut.prepare(layer) for layer in layers]
    assert [t.uncut for t in tunables] == [None] * 4
    x = torch.rand(5, 3, 16, 16)
    with torch.no_grad():
        kept = first.frozen(x)
        for start, end in itertools.pairwise(layers):
            kept = cut.between(start, end)(kept)
        assert torch.equal(kept, last.frozen(x))
        assert torch.allclose(last.tail(kept), cut.whole(x), atol=1e-6)
    assert set(last.trained) == {f"blocks.11.layer.{k}" for k in ("weight", "bias")}


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("resnet18", ["layer3", "layer4"]),
        ("mobilenet_v2", ["features.11", "features.15", "features.17", "features.18"]),
        ("featx_small", ["blocks.10", "blocks.14", "blocks.16", "head"]),
    ],
)
def test_a_sweep_goes_through_the_last_stages_or_blocks_and_never_all(name, layers) -> None:
    assert cutter(name, resize_px=64, crop_px=64).choose("auto") == layers


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("timm/vit_tiny_patch16_224", ["blocks.4", "blocks.8", "blocks.10", "blocks.11"]),
        ("timm/vit_small_patch16_dinov3", ["blocks.4", "blocks.8", "blocks.10", "blocks.11"]),
        ("timm/swin_tiny_patch4_window7_224", ["layers.2", "layers.3"]),
        ("timm/convnext_atto", ["stages.2", "stages.3"]),
        ("timm/tf_efficientnet_lite0", ["blocks.5", "blocks.6", "conv_head"]),
    ],
)
def test_networks_of_timm_are_cut_at_their_stages_and_blocks(name, layers) -> None:
    pytest.importorskip("timm")
    cut = cutter(name)
    assert cut.choose("auto") == layers
    assert cut.prepare(layers[0]).uncut is None


def test_a_network_of_one_layer_is_not_trained_whole_unasked() -> None:
    own = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    cut = cutter(own, "default")
    for asked in (None, "auto"):
        with pytest.raises(BackboneError, match=r"no layer that leaves others frozen.*'all'"):
            cut.choose(asked)
    assert cut.choose("all") == ["all"]


def test_units_are_children_in_a_row_and_lists_are_opened() -> None:
    net = Rotary(3)
    order = {n: i for i, (n, _) in enumerate(net.named_modules()) if n != "blocks"}
    assert find_units(net, order) == ["embed", "blocks.0", "blocks.1", "blocks.2"]


def test_activations_lie_in_memory_then_on_disk_then_nowhere() -> None:
    shapes = [(5, 3), (2, 0)]
    for room, expected in (
        (Room(60, 0), "memory"),
        (Room(59, 60), "disk"),
        (Room(59, 59), "none"),
    ):
        place, tensors = room.allocate(shapes, torch.float32)
        assert place == expected
        if place == "none":
            assert tensors == [None, None]
        else:
            assert [tuple(t.shape) for t in tensors] == shapes
            tensors[0][:] = 7
            assert float(tensors[0].sum()) == 105


def test_a_full_disk_is_no_place(monkeypatch) -> None:
    def full(*_) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("featx.finetuning._cache.os.posix_fallocate", full, raising=False)
    assert Room(0, 100).allocate([(5,)], torch.float32) == ("none", [None])


def test_the_probe_is_kept_unless_a_depth_is_better() -> None:
    probe, equal, better, surer = (
        Depth(name, 0, 1, 1, accuracy, loss, 0.0)
        for name, accuracy, loss in (
            (None, 0.8, 0.5),
            ("a", 0.8, 0.4),
            ("b", 0.9, 0.6),
            ("c", 0.9, 0.5),
        )
    )
    assert find_best_depth([probe, equal]) == 0
    assert find_best_depth([probe, equal, better]) == 2
    assert find_best_depth([probe, equal, better, surer]) == 3


def test_batch_norm_trains_only_from_scratch_and_never_in_the_frozen_part() -> None:
    net = prepared("resnet18", "layer4")
    module = net.whole.module
    for is_trained in (False, True):
        net.train(is_norm_trained=is_trained)
        assert module.layer4[0].bn1.training is is_trained
        assert not module.layer3[0].bn1.training
        assert not module.bn1.training


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_warm_head_gives_the_probes_probabilities(n_classes) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 10)).astype(np.float32)
    X[0] = 0
    y = rng.integers(0, n_classes, 60)
    probe = LinearProbeClassifier(Cs=100.0).fit(X, y)
    scores = make_warm_head(probe)(torch.from_numpy(X)).detach()
    np.testing.assert_allclose(scores.softmax(1).numpy(), probe.predict_proba(X), atol=1e-5)


def test_a_step_is_that_of_adamw_worked_out_by_hand() -> None:
    """One step of a head alone: the smoothed loss's gradient, Adam's first step, decay."""
    torch.manual_seed(0)
    head, x, target = UnitLinear(5, 3), torch.rand(4, 5), torch.tensor([0, 1, 2, 1])
    net = Tunable("", nn.Identity(), None, nn.Identity(), "all", {}, ())  # type: ignore[arg-type]
    model = Model(net, head)
    schedule = Schedule(1, 0.01, 0.1, 0.2, 1, 0, is_head_random=False, is_norm_trained=False)
    w, b = head.linear.weight.detach().clone(), head.linear.bias.detach().clone()
    loss = _take_step(model, _make_optimiser(model, schedule), x, target, schedule)

    rows = x / x.norm(dim=1, keepdim=True) * math.sqrt(5)
    p = torch.softmax(rows @ w.T + b, 1)
    wanted = 0.8 * functional.one_hot(target, 3) + 0.2 / 3
    assert loss == pytest.approx(float(-(wanted * p.log()).sum(1).mean()), rel=1e-5)
    gradient_w, gradient_b = (p - wanted).T @ rows / 4, (p - wanted).mean(0)
    # Adam's first step is the sign of the gradient, whatever its clipped size; eps is 1e-8.
    expected_w = w * (1 - 0.01 * 0.1) - 0.01 * gradient_w.sign()
    expected_b = b - 0.01 * gradient_b.sign()
    assert torch.allclose(head.linear.weight, expected_w, atol=1e-6)
    assert torch.allclose(head.linear.bias, expected_b, atol=1e-6)


def test_views_depend_on_the_seed_and_the_image_only() -> None:
    rng = np.random.default_rng(0)
    first, other = (Image.fromarray(rng.integers(0, 256, (50, 70, 3), np.uint8)) for _ in "ab")
    p = Preprocessing(resize_px=40, crop_px=32)
    a, b = TrainingViews(p, "crop-hflip", (0, 1), 7)(first)
    assert not np.array_equal(a, b)
    TrainingViews(p, "crop-hflip", (0,), 7)(other)
    np.testing.assert_array_equal(TrainingViews(p, "crop-hflip", (1,), 7)(first)[0], b)
    assert not np.array_equal(TrainingViews(p, "crop-hflip", (0,), 8)(first)[0], a)
    (plain,) = ImagePreprocessor(p)(first)
    same, mirrored = TrainingViews(p, "hflip", (0, 1), 7)(first)
    np.testing.assert_array_equal(same, plain)
    np.testing.assert_array_equal(mirrored, plain[:, ::-1])


def test_every_class_with_two_images_has_some_held_out_and_some_kept() -> None:
    codes = np.repeat(np.arange(4), [10, 2, 1, 5])
    mask = hold_out(codes, 0.2, 3)
    assert [int(mask[codes == c].sum()) for c in range(4)] == [2, 1, 0, 1]
    assert not hold_out(codes, 0, 3).any()
    with pytest.raises(ParameterError, match=r"got 0\.2, but every class has a single image"):
        hold_out(np.arange(3), 0.2, 3)


def test_the_best_epoch_is_the_most_accurate_then_the_one_of_least_loss_then_the_first() -> None:
    figures = [(0.9, 0.5), (0.8, 0.7), (0.7, 0.7), (0.7, 0.7)]
    epochs = [Epoch(i, 0.0, loss, accuracy, 0.0) for i, (loss, accuracy) in enumerate(figures)]
    assert find_best(epochs) == 2
    assert find_best([Epoch(i, 0.0, math.nan, math.nan, 0.0) for i in range(3)]) == 2
