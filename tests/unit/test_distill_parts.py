"""Distillation's parts: photographs, views, losses, folding."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import average_precision_score
from sklearn.preprocessing import normalize
from torch import nn

from featx.errors import ManifestError, ParameterError
from pipelines.distill.config import DistillConfig
from pipelines.distill.evaluate import leave_one_out_map
from pipelines.distill.losses import FeatureScale, feature_loss
from pipelines.distill.photographs import find_photographs
from pipelines.distill.plain import PlainSmall
from pipelines.distill.students import build_student
from pipelines.distill.teacher import fold_mobilenet_v2, load_teacher
from pipelines.distill.views import crop_view


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


def test_plain_network_folds_into_the_same_function() -> None:
    torch.manual_seed(0)
    network = PlainSmall(7)
    x = torch.rand(4, 3, 64, 64)
    for _ in range(3):  # moves the running statistics away from 0 and 1
        network(x)
    folded = network.eval().folded()
    torch.testing.assert_close(folded(x), network(x), rtol=1e-4, atol=1e-5)
    assert sum(isinstance(m, nn.Conv2d) for m in folded.modules()) == 7


def test_folded_mobilenet_computes_what_torchvision_computes() -> None:
    """Random running statistics would show a batch norm that is folded wrongly."""
    from torchvision import models

    torch.manual_seed(0)
    teacher = models.mobilenet_v2(weights=None)
    for m in teacher.modules():
        if isinstance(m, nn.BatchNorm2d):
            nn.init.uniform_(m.running_mean, -0.1, 0.1)
            nn.init.uniform_(m.running_var, 0.8, 1.2)
            nn.init.uniform_(m.weight, 0.8, 1.2)
            nn.init.uniform_(m.bias, -0.1, 0.1)
    teacher.classifier = nn.Identity()
    x = torch.rand(2, 3, 96, 96)
    with torch.inference_mode():
        torch.testing.assert_close(
            fold_mobilenet_v2(teacher)(x), teacher.eval()(x), rtol=1e-4, atol=1e-5
        )
        assert len(fold_mobilenet_v2(teacher, (*range(9), *range(10, 17))).blocks) == 16
    with pytest.raises(ParameterError, match="block 3 is left out"):
        fold_mobilenet_v2(teacher, (0, 1, 2, *range(4, 17)))


def test_unusable_settings_are_named(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"min_scale: got 0"):
        DistillConfig(min_scale=0)
    with pytest.raises(ParameterError, match=r"student_px: got \(16,\)"):
        DistillConfig(student_px=(16,))
    with pytest.raises(ParameterError, match=r"'plain_smal', .* Did you mean 'plain_small'"):
        build_student("plain_smal", 8)
    with pytest.raises(ParameterError, match=r"'plain_small' cannot start from a Linear"):
        build_student("plain_small", 8, teacher=nn.Linear(1, 1))
    with pytest.raises(ParameterError, match=r"'resnet19', .* Did you mean 'resnet1"):
        load_teacher("resnet19", tmp_path)


@pytest.mark.parametrize(
    "name", ["plain_small", "plain_wide", "resnet_slim", "mobilenet_half", "mobilenet_whole"]
)
def test_every_student_gives_the_teachers_length_and_trains(name: str) -> None:
    student = build_student(name, 1280).train()
    found = student(torch.rand(2, 3, 64, 64).contiguous(memory_format=torch.channels_last))
    assert found.shape == (2, 1280)
    found.square().mean().backward()
    assert all(p.grad is not None for p in student.parameters())


def test_leave_one_out_map_is_the_mean_of_scikit_learns_average_precision() -> None:
    rng = np.random.default_rng(0)
    X = normalize(rng.normal(size=(30, 8))).astype(np.float32)
    y = rng.integers(3, size=30)
    expected = []
    for i in range(30):
        rest = np.arange(30) != i
        expected.append(average_precision_score(y[rest] == y[i], (X @ X[i])[rest]))
    assert leave_one_out_map(X, y) == pytest.approx(np.mean(expected), abs=1e-6)
