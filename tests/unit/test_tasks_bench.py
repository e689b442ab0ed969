"""`benchmark` and ``featx bench``: the slow stage is named, and figures follow from rates."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from featx.cli.bench import _show_time, show
from featx.cli.main import main
from featx.errors import ManifestError, ParameterError
from featx.extraction import LoadedEncoder, RunOptions
from featx.tasks import benchmark, benchmark_report
from featx.tasks.bench import Benchmark

RUN = {"run": RunOptions("cpu", batch_size=4, workers=0, progress=False), "repeats": 1}
PAUSE_S = 0.2


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Twelve pictures and one that is none."""
    folder = tmp_path_factory.mktemp("bench")
    rng = np.random.default_rng(0)
    for i in range(12):
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8)).save(folder / f"{i}.png")
    (folder / "zz.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    return folder


@pytest.fixture(scope="module")
def found(folder) -> Benchmark:
    return benchmark(folder, sweep=True, **RUN)


def test_the_figures_follow_from_the_rates(found) -> None:
    rates = {stage.name: stage.images_per_second for stage in found.stages}
    assert list(rates) == ["decode", "network", "write"]
    assert found.ceiling == pytest.approx(1 / (1 / rates["decode"] + 1 / rates["network"]))
    assert found.ratio_to_ceiling == pytest.approx(found.end_to_end / found.ceiling)
    assert sum(stage.share for stage in found.stages) == pytest.approx(1)
    slowest = min(rates, key=lambda name: rates[name])
    assert found.bottleneck == slowest
    for stage in found.stages:
        expected = max(0, 1 - found.end_to_end / stage.images_per_second)
        assert stage.idle == pytest.approx(expected)
    assert found.hours == pytest.approx(13 / found.end_to_end / 3600)
    assert (found.n_images, found.n_failed, found.n_in_source) == (13, 1, 13)


def test_sweeps_name_the_smallest_that_is_as_good(found) -> None:
    workers, sizes = found.sweeps
    assert (workers.setting, workers.values) == ("workers", (0, 1))
    assert (sizes.setting, sizes.values) == ("batch_size", (1, 8))
    for sweep in found.sweeps:
        most = max(sweep.images_per_second)
        fast = [
            v
            for v, r in zip(sweep.values, sweep.images_per_second, strict=True)
            if r >= 0.97 * most
        ]
        assert sweep.best == min(fast)


def test_the_columns_are_explained_below_the_table(found) -> None:
    said = show(found.to_dict()).splitlines()
    names = said[1].split()
    assert [line.split()[0] for line in said[6:9]] == names == ["images/s", "share", "idle"]


def test_a_slow_network_is_the_bottleneck(folder, monkeypatch) -> None:
    from featx.engines._torch import TorchEngine

    whole = TorchEngine.read

    def slow(*args):
        time.sleep(PAUSE_S)
        whole(*args)

    monkeypatch.setattr(TorchEngine, "read", slow)
    found = benchmark(folder, **RUN)
    assert found.bottleneck == "network"
    assert found.stages[1].images_per_second < 4 / PAUSE_S
    assert found.end_to_end < 4 / PAUSE_S
    assert any("the network takes most of the time" in line for line in found.advice)
    assert found.engine == "torch"
    assert any(line.startswith("the engine is torch: ") for line in found.advice)


def test_slow_reading_is_the_bottleneck(folder, monkeypatch) -> None:
    whole = LoadedEncoder.read

    def slow(*args, **kwargs):
        for batch in whole(*args, **kwargs):
            time.sleep(PAUSE_S)
            yield batch

    monkeypatch.setattr(LoadedEncoder, "read", slow)
    found = benchmark(folder, **RUN)
    assert found.bottleneck == "decode"
    assert found.stages[0].images_per_second < 13 / (4 * PAUSE_S)
    assert found.advice[0].startswith("reading takes most of the time, at ")


def test_few_of_many_are_taken_evenly(folder, monkeypatch) -> None:
    seen = []
    whole = LoadedEncoder.read

    def watched(loaded, paths, **kwargs):
        seen.append([Path(path).name for path in paths])
        return whole(loaded, paths, **kwargs)

    monkeypatch.setattr(LoadedEncoder, "read", watched)
    found = benchmark(folder, n_images=3, **RUN)
    assert (found.n_images, found.n_in_source) == (3, 13)
    assert set(map(tuple, seen)) == {("0.png", "4.png", "zz.png")}


def test_what_cannot_be_measured_is_refused(folder, tmp_path) -> None:
    with pytest.raises(ParameterError, match="n_images: got 0, expected an integer of at least 1"):
        benchmark(folder, n_images=0, **RUN)
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(ManifestError, match=r"none of the 1 images chosen can be read .*bad\.png"):
        benchmark(tmp_path, **RUN)


def test_the_page_has_the_stages_and_the_sweeps(found) -> None:
    page = benchmark_report(found).to_html()
    for text in (
        "Speed of feature extraction",
        "Each stage alone",
        "by number of workers:",
        "by batch size:",
        "whole extraction",
    ):
        assert text in page


def test_the_command_prints_figures_and_writes_a_page(folder, tmp_path, capsys) -> None:
    words = ["bench", str(folder), "--workers", "0", "--repeats", "1", "--device", "cpu"]
    words += ["--batch-size", "4", "--html", str(tmp_path / "b.html")]
    assert main([*words, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert {"decode", "network", "write", "end_to_end", "bottleneck", "advice"} <= result.keys()
    assert (tmp_path / "b.html").exists()
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "bottleneck: " in shown
    assert "1 image could not be read" in shown


@pytest.mark.parametrize(
    ("hours", "text"), [(3.0e-4, "1.08 seconds"), (0.5, "30 minutes"), (26.04, "26 hours")]
)
def test_the_whole_takes_seconds_minutes_or_hours(hours, text) -> None:
    assert _show_time(hours) == text
