"""Distillation's parts: photographs, views, losses, folding."""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import average_precision_score
from sklearn.preprocessing import normalize
from torch import nn

from featx.backbones.embedded import InvertedResiduals, NetworkShape
from featx.errors import ManifestError, ParameterError
from pipelines.distill.config import DistillConfig
from pipelines.distill.evaluate import leave_one_out_map
from pipelines.distill.losses import FeatureScale, feature_loss
from pipelines.distill.photographs import find_photographs
from pipelines.distill.prune import keep_channels, prune
from pipelines.distill.students import STUDENTS, build_student, start_student
from pipelines.distill.teacher import fold_mobilenet_v2, load_teacher
from pipelines.distill.views import crop_view, make_view


def _picture(seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (40, 56, 3), np.uint8))


def _folder(path: Path) -> Path:
    for i, name in enumerate(("a/1.png", "a/2.png", "b/1.png")):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        _picture(i).save(path / name)
    return path


def test_folder_and_shard_give_the_same_pixels(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "in")
    with tarfile.open(tmp_path / "s.tar", "w") as shard:
        for name in ("b/1.png", "a/1.png", "a/2.png"):
            data = (folder / name).read_bytes()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            shard.addfile(info, io.BytesIO(data))
    one, other = find_photographs([folder]), find_photographs([tmp_path / "s.tar"])
    assert one.names == other.names == ("a/1.png", "a/2.png", "b/1.png")
    assert one.digest == other.digest
    for i in range(3):
        np.testing.assert_array_equal(one[i], np.asarray(_picture(i)))
        np.testing.assert_array_equal(other[i], one[i])


def test_include_takes_first_folders_and_names_a_miss(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    assert find_photographs([folder], include=["a"]).names == ("a/1.png", "a/2.png")
    with pytest.raises(ManifestError, match=r"got \['c'\], expected some of \['a', 'b'\]"):
        find_photographs([folder], include=["c"])


def test_empty_and_missing_sources_are_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no photographs in"):
        find_photographs([tmp_path])
    with pytest.raises(ManifestError, match="'/nowhere' does not exist"):
        find_photographs(["/nowhere"])


def test_a_view_shows_the_same_place_at_every_size() -> None:
    """Would catch a crop drawn anew for the student, whose target would then be of elsewhere."""
    y, x = np.mgrid[0:120, 0:160]
    ramp = np.stack([y, x, x + y], -1).astype(np.uint8)
    small = crop_view(ramp, 40, min_scale=0.3, key=(1, 2, 3)).astype(float)
    large = crop_view(ramp, 120, min_scale=0.3, key=(1, 2, 3)).astype(float)
    pooled = large.reshape(40, 3, 40, 3, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(small, pooled, atol=1.5)
    other = crop_view(ramp, 40, min_scale=0.3, key=(1, 2, 4)).astype(float)
    assert np.abs(other - small).mean() > 2


def test_a_mosaic_shows_four_photographs_at_every_size() -> None:
    """Flat pictures, so that each quarter has one of their greys, the first its own."""
    flat = [np.full((40, 50, 3), 10 * i, np.uint8) for i in range(20)]
    config = DistillConfig(n_views=2, n_mosaics=1)
    small, large = (make_view(flat, config, 7, 1, px) for px in (33, 96))
    assert (small.shape, large.shape) == ((33, 33, 3), (96, 96, 3))
    corners = [(0, 0), (0, -1), (-1, 0), (-1, -1)]
    assert [large[y, x, 0] for y, x in corners] == [small[y, x, 0] for y, x in corners]
    assert large[0, 0, 0] == large[47, 47, 0] == 70
    assert len({int(large[y, x, 0]) for y, x in corners}) > 2
    assert len(np.unique(make_view(flat, config, 7, 0, 96))) == 1


def test_loss_terms_equal_their_numpy_formulas() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(2, 3, (50, 2, 6)).astype(np.float16)
    scale = FeatureScale.of(features, torch.device("cpu"))
    rows = features.reshape(-1, 6).astype(np.float32)
    s, t = rng.normal(size=(2, 5, 6)).astype(np.float32)
    zs, zt = ((v - rows.mean(0)) / rows.std(0) for v in (s, t))
    us, ut = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (zs, zt))
    expected = ((zs - zt) ** 2).mean() + 1 - (us * ut).sum(1).mean()
    expected += 2 * ((us @ us.T - ut @ ut.T) ** 2).mean()
    found = feature_loss(torch.from_numpy(s), torch.from_numpy(t), scale, relational=2)
    assert float(found) == pytest.approx(float(expected), rel=1e-4)


def _no_views() -> torch.Tensor:
    raise AssertionError("only a thinner student needs views")


def _unsettle(network: nn.Module) -> nn.Module:
    for m in network.modules():
        if isinstance(m, nn.BatchNorm2d):
            nn.init.uniform_(m.running_mean, -0.1, 0.1)
            nn.init.uniform_(m.running_var, 0.8, 1.2)
            nn.init.uniform_(m.weight, 0.8, 1.2)
            nn.init.uniform_(m.bias, -0.1, 0.1)
    return network


@pytest.mark.parametrize("px", [64, 75, 88])
def test_folded_lite0_computes_what_timm_computes(px: int) -> None:
    """Sides that stay even, are odd, and turn odd on the way: TensorFlow pads each otherwise."""
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    teacher = _unsettle(timm.create_model("tf_efficientnet_lite0", num_classes=0)).eval()
    x = torch.rand(1, 3, px, px)
    with torch.inference_mode():
        expected = teacher(x)
        found = start_student("lite0", teacher, _no_views)(x)
    assert float(expected.std()) > 1e-3
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_folded_mobilenet_computes_what_torchvision_computes() -> None:
    """Random running statistics would show a batch norm that is folded wrongly."""
    from torchvision import models

    torch.manual_seed(0)
    teacher = _unsettle(models.mobilenet_v2(weights=None))
    teacher.classifier = nn.Identity()
    x = torch.rand(2, 3, 96, 96)
    with torch.inference_mode():
        torch.testing.assert_close(
            fold_mobilenet_v2(teacher)(x), teacher.eval()(x), rtol=1e-4, atol=1e-5
        )


def test_unusable_settings_are_named(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"min_scale: got 0"):
        DistillConfig(min_scale=0)
    with pytest.raises(ParameterError, match=r"student_px: got \(16,\)"):
        DistillConfig(student_px=(16,))
    with pytest.raises(ParameterError, match=r"teacher_px: got 2 for 1 teachers"):
        DistillConfig(teacher_px=(160, 224))
    with pytest.raises(ParameterError, match=r"n_mosaics: got 4, expected from 0 to n_views, 3"):
        DistillConfig(n_mosaics=4)
    with pytest.raises(ParameterError, match=r"'featx_smal', .* Did you mean 'featx_small'"):
        build_student("featx_smal", 8)
    with pytest.raises(ParameterError, match=r"'featx_base' cannot start from a Linear"):
        start_student("featx_base", nn.Linear(1, 1), _no_views)
    with pytest.raises(ParameterError, match=r"'resnet19', .* Did you mean 'resnet1"):
        load_teacher("resnet19", tmp_path)
    pytest.importorskip("timm")
    with pytest.raises(
        ParameterError, match=r"'tf_efficientnet_lit0', expected a network of timm"
    ):
        load_teacher("timm/tf_efficientnet_lit0", tmp_path)


@pytest.mark.parametrize("name", list(STUDENTS))
def test_every_student_gives_the_teachers_length_and_trains(name: str) -> None:
    student = build_student(name, 40).train()
    found = student(torch.rand(2, 3, 64, 64).contiguous(memory_format=torch.channels_last))
    assert found.shape == (2, 40)
    found.square().mean().backward()
    assert all(p.grad is not None for p in student.parameters())


def test_kept_channels_are_those_that_backward_elimination_by_refitting_keeps() -> None:
    """The reference drops each column in turn and fits the others anew by numpy's lstsq."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 9)) @ rng.normal(size=(9, 9))
    Y = X @ rng.normal(size=(9, 3)) + rng.normal(size=(200, 3)) + 5

    def fit(columns: list[int]) -> tuple[np.ndarray, float]:
        padded = np.column_stack([X[:, columns], np.ones(200)])
        found = np.linalg.lstsq(padded, Y, rcond=None)[0]
        return found, float(np.square(padded @ found - Y).sum())

    kept = list(range(9))
    while len(kept) > 4:
        kept.remove(min(kept, key=lambda c: fit([k for k in kept if k != c])[1]))
    columns, coefficients = keep_channels(X, Y, 4)
    assert columns.tolist() == kept
    np.testing.assert_allclose(coefficients, fit(kept)[0], rtol=1e-3, atol=1e-3)


def test_a_network_thinned_of_copies_computes_the_same() -> None:
    """Each channel of the whole one is there twice, so half of them can tell everything."""
    torch.manual_seed(0)
    thin = InvertedResiduals(NetworkShape(8, ((8, 8, 1), (16, 12, 2), (24, 12, 1)), 20)).eval()
    shape = replace(thin.shape, blocks=((8, 8, 1), (32, 12, 2), (48, 12, 1)))
    whole = InvertedResiduals(shape).eval()
    state = thin.state_dict()
    for name, value in whole.state_dict().items():
        twice = state[name]
        for axis, n in enumerate(value.shape):
            if n != twice.shape[axis]:
                twice = torch.cat([twice, twice], axis) / (2 if axis else 1)
        value.copy_(twice)
    x = torch.rand(20, 3, 64, 64)
    with torch.inference_mode():
        expected = whole(x)
        found = prune(whole, thin.shape, x, progress=False)(x)
    assert float(expected.std()) > 1e-3
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 * float(expected.std()))
    with pytest.raises(ParameterError, match=r"expected .* with fewer hidden channels at most"):
        prune(thin, shape, x, progress=False)


def test_leave_one_out_map_is_the_mean_of_scikit_learns_average_precision() -> None:
    rng = np.random.default_rng(0)
    X = normalize(rng.normal(size=(30, 8))).astype(np.float32)
    y = rng.integers(3, size=30)
    expected = []
    for i in range(30):
        rest = np.arange(30) != i
        expected.append(average_precision_score(y[rest] == y[i], (X @ X[i])[rest]))
    assert leave_one_out_map(X, y) == pytest.approx(np.mean(expected), abs=1e-6)
