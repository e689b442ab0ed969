"""A whole distillation on twelve drawn pictures: it learns, resumes and loads."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from featx.errors import FingerprintMismatchError
from pipelines.distill.__main__ import main
from pipelines.distill.config import DistillConfig
from pipelines.distill.photographs import Photographs, find_photographs
from pipelines.distill.targets import Teacher, precompute
from pipelines.distill.train import TrainResult, WithHeads, train
from pipelines.distill.views import standardise, to_unit

CONFIG = DistillConfig(
    n_views=2, teacher_px=(32,), student_px=(32, 40), epochs=6, batch_size=8, learning_rate=3e-3
)
STANDARD = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


class _Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, 2)
        self.out = nn.Linear(8, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(torch.relu(self.conv(x)).mean(dim=(2, 3)))


def _tiny(seed: int) -> _Tiny:
    torch.manual_seed(seed)
    return _Tiny()


def _teacher(seed: int) -> Teacher:
    network = _tiny(seed)

    def embed(views: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return network(standardise(to_unit(views, torch.device("cpu")), *STANDARD)).numpy()

    return Teacher(embed, str(seed), 32, STANDARD)


@pytest.fixture
def photographs(tmp_path: Path) -> Photographs:
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(12):
        flat = np.broadcast_to(rng.integers(0, 256, 3), (36, 48, 3))
        noisy = np.clip(flat + rng.integers(-20, 21, (36, 48, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / f"{i:02}.png")
    return find_photographs([folder])


def _run(
    photographs: Photographs, work_dir: Path, config: DistillConfig, student: nn.Module, **stop
) -> TrainResult:
    work_dir.mkdir(exist_ok=True)
    features = precompute(
        _teacher(1), photographs, config, stem=work_dir / "teacher-0", progress=False
    )
    cpu = torch.device("cpu")
    return train(
        student,
        [features],
        photographs,
        config,
        standard=STANDARD,
        checkpoint=work_dir / "checkpoint.pt",
        device=cpu,
        progress=False,
        **stop,
    )


def test_loss_falls(photographs: Photographs, tmp_path: Path) -> None:
    config = replace(CONFIG, epochs=20)
    result = _run(photographs, tmp_path / "w", config, _tiny(2))
    assert result.is_finished
    assert len(result.losses) == 3
    assert result.losses[-1] < 0.7 * result.losses[0]


def test_resumed_run_equals_an_unbroken_one(
    photographs: Photographs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the checkpoint of step 7, by an exception that no code of the loop catches."""
    whole = _tiny(2)
    _run(photographs, tmp_path / "whole", CONFIG, whole)

    import pipelines.distill.train as module

    real, calls = module.feature_loss, []

    def fails_in_step_8(*args, **kwargs):
        calls.append(1)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(module, "CHECKPOINT_EVERY_S", 0.0)
    monkeypatch.setattr(module, "feature_loss", fails_in_step_8)
    with pytest.raises(KeyboardInterrupt):
        _run(photographs, tmp_path / "broken", CONFIG, _tiny(2))
    monkeypatch.setattr(module, "feature_loss", real)
    resumed = _tiny(3)  # other weights, so that only the checkpoint can bring the right ones
    result = _run(photographs, tmp_path / "broken", CONFIG, resumed)
    assert result.step == result.n_steps == 18
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=0, atol=0)


def test_clock_stops_a_run_that_goes_on_later(photographs: Photographs, tmp_path: Path) -> None:
    student = _tiny(2)
    stopped = _run(photographs, tmp_path / "w", CONFIG, student, stop_after_s=0.0)
    assert (stopped.step, stopped.is_finished) == (0, False)
    assert _run(photographs, tmp_path / "w", CONFIG, student).is_finished


def test_teacher_features_go_on_where_a_killed_run_stopped(
    photographs: Photographs, tmp_path: Path
) -> None:
    stem = tmp_path / "teacher-0"
    whole = precompute(_teacher(1), photographs, CONFIG, stem=stem, progress=False).copy()
    note = json.loads((tmp_path / "teacher-0.json").read_text())
    kept = np.lib.format.open_memmap(tmp_path / "teacher-0.npy", "r+")
    kept[5:] = 0
    kept.flush()
    (tmp_path / "teacher-0.json").write_text(json.dumps({**note, "done": 5}))
    again = precompute(_teacher(1), photographs, CONFIG, stem=stem, progress=False)
    np.testing.assert_allclose(again, whole, atol=2e-3)
    assert np.abs(whole[5:]).min(axis=-1).max() > 0


def test_heads_start_as_the_least_squares_between_the_teachers(
    photographs: Photographs, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    first = rng.normal(0, 30, (50, 2, 6)).astype(np.float16)
    second = (first @ rng.normal(size=(6, 3)) + 2).astype(np.float16)
    rows = torch.from_numpy(first.reshape(-1, 6)).float()
    found = WithHeads(nn.Identity(), [first, second])(rows)
    torch.testing.assert_close(found[0], rows)
    expected = torch.from_numpy(second.reshape(-1, 3)).float()
    torch.testing.assert_close(found[1], expected, rtol=1e-2, atol=0.2)


def test_work_of_other_settings_is_refused(photographs: Photographs, tmp_path: Path) -> None:
    _run(photographs, tmp_path / "w", CONFIG, _tiny(2))
    with pytest.raises(FingerprintMismatchError, match=r"checkpoint\.pt: checkpoint of run"):
        _run(photographs, tmp_path / "w", replace(CONFIG, learning_rate=1e-3), _tiny(2))
    with pytest.raises(FingerprintMismatchError, match=r"teacher-0\.json: teacher features were"):
        _run(photographs, tmp_path / "w", replace(CONFIG, seed=1), _tiny(2))


def test_command_line_makes_a_file_of_the_teachers_weights(
    photographs: Photographs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from torchvision import models

    from featx.backbones.embedded import load_network

    torch.manual_seed(0)
    torch.save(models.mobilenet_v2(weights=None).state_dict(), tmp_path / "t.pth")
    out = tmp_path / "small.safetensors"
    line = ["--images", str(tmp_path / "photos"), "--teacher", "mobilenet_v2"]
    line += [str(tmp_path / "t.pth"), "64"]
    line += ["--views", "1", "--init-from-teacher", "--epochs", "0", "--out", str(out)]
    assert main([*line, "--device", "cpu"]) == 0
    assert json.loads(capsys.readouterr().out)["step"] == 0
    network = load_network(out)
    assert network.shape.n_features == 1280
    stem = load_file(out)["stem.weight"]
    assert stem.dtype == torch.float16
    assert out.stat().st_size < 8_000_000
    assert main([*line[:-1], str(tmp_path / "x"), "--resume"]) == 1
    assert "x.work' does not exist" in capsys.readouterr().err
