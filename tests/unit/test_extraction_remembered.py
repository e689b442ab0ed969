"""An extraction that finds nothing new loads no network, and gives what it gave."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import squeezenet1_1

import featx
from featx.errors import FeatxError
from featx.extraction import loading
from featx.store import StoreWriter, open_store, store_info, verify_store

ASKED = {
    "backbone": "squeezenet1_1", "weights": None, "precision": "float32", "device": "cpu",
    "engine": "torch", "workers": 0, "progress": False,
}  # fmt: skip


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos" / "a"
    folder.mkdir(parents=True)
    for i in range(4):
        pixels = np.random.default_rng(i).integers(0, 256, (40, 50, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder.parent


@pytest.fixture
def loads(monkeypatch):
    """Count how often a network is made."""
    made = []
    make = loading.prepare

    def counted(*arguments):
        made.append(arguments)
        return make(*arguments)

    monkeypatch.setattr(loading, "prepare", counted)
    return made


def without_time(summary):
    return dataclasses.replace(
        summary, seconds=0, images_per_second=0, extracted=0, reused=0, engine="", engine_reason=""
    )


def test_where_nothing_is_new_no_network_is_loaded(photos, tmp_path, loads):
    first = featx.extract(photos, tmp_path / "f.h5", **ASKED)
    assert len(loads) == 1
    again = featx.extract(photos, tmp_path / "f.h5", **ASKED)
    assert len(loads) == 1
    assert (again.summary.extracted, again.summary.reused) == (0, 4)
    assert without_time(again.summary) == without_time(first.summary)
    (photos / "a" / "0.png").unlink()
    (photos / "a").rename(photos / "b")
    again = featx.extract(photos, tmp_path / "f.h5", prune=True, **ASKED)
    assert (again.summary.pruned, len(again), len(loads)) == (1, 3, 1)
    assert again.labels.tolist() == ["b"] * 3


def test_what_is_new_goes_through_the_network_that_was_asked_for(photos, tmp_path, loads):
    featx.extract(photos, tmp_path / "f.h5", layers=["features.3", "features.6"], **ASKED)
    Image.new("RGB", (40, 40), "red").save(photos / "new.png")
    many = featx.extract(photos, tmp_path / "f.h5", layers=["features.3", "features.6"], **ASKED)
    assert (many.summary.extracted, len(loads)) == (1, 2)
    assert [info.n_samples for info in many.tables] == [5, 5]
    fresh = featx.extract(photos, tmp_path / "g.h5", layers=["features.3", "features.6"], **ASKED)
    for info in fresh.tables:
        with (
            open_store(tmp_path / "f.h5", table=info.key) as a,
            open_store(fresh.path, table=info.key) as b,
        ):
            row = {path: i for i, path in enumerate(a.paths.tolist())}
            np.testing.assert_array_equal(a[[row[p] for p in b.paths.tolist()]], b[:])


@pytest.mark.parametrize(
    "other",
    [
        {"layers": "features.3"},
        {"resize_px": 100},
        {"augment": "hflip"},
        {"weights": "default.pth"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_another_request_loads_the_network(photos, tmp_path, loads, other):
    featx.extract(photos, tmp_path / "f.h5", **ASKED)
    if "weights" in other:
        torch.manual_seed(1)
        torch.save(squeezenet1_1().state_dict(), tmp_path / "w.pth")
        other = {"weights": tmp_path / "w.pth"}
    found = featx.extract(photos, tmp_path / "f.h5", **{**ASKED, **other})
    assert (found.summary.extracted, len(loads), len(found.tables)) == (4, 2, 2)
    again = featx.extract(photos, tmp_path / "f.h5", **{**ASKED, **other})
    assert (again.fingerprint, again.summary.reused, len(loads)) == (found.fingerprint, 4, 2)


def test_a_weights_file_that_was_replaced_is_another_request(photos, tmp_path, loads):
    weights = tmp_path / "w.pth"
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        torch.save(squeezenet1_1().state_dict(), weights)
        os.utime(weights, (seed, seed))
        found.append(featx.extract(photos, tmp_path / "f.h5", **{**ASKED, "weights": weights}))
    assert found[0].fingerprint != found[1].fingerprint
    assert (found[1].summary.extracted, len(loads)) == (4, 2)


def test_a_request_that_gives_another_recipe_by_now_is_forgotten(photos, tmp_path, loads):
    """As where a weights file has changed, and kept its size and time."""
    store = featx.extract(photos, tmp_path / "f.h5", **ASKED)
    note = store.made_with["request"]
    other = dataclasses.replace(store.recipe, weights="ab" * 32)
    with StoreWriter(tmp_path / "f.h5") as writer:
        notes = {**store.made_with, "request": {**note, "fingerprints": [other.fingerprint]}}
        writer.table(other, has_labels=True, made_with=notes)
        writer.table(store.recipe, has_labels=True, made_with={"request": None})
    Image.new("RGB", (40, 40), "red").save(photos / "a" / "new.png")
    found = featx.extract(photos, tmp_path / "f.h5", **ASKED)
    assert found.recipe == store.recipe
    assert found.shape[0] == 5
    assert found.made_with["request"] == note
    with open_store(tmp_path / "f.h5", table=other.fingerprint) as stale:
        assert stale.made_with["request"] is None
    n = len(loads)
    assert featx.extract(photos, tmp_path / "f.h5", **ASKED).summary.reused == 5
    assert len(loads) == n
    assert verify_store(tmp_path / "f.h5").ok


def test_a_damaged_store_is_refused_as_before(photos, tmp_path):
    featx.extract(photos, tmp_path / "f.h5", **ASKED).close()
    data = (tmp_path / "f.h5").read_bytes()
    (tmp_path / "f.h5").write_bytes(data[: len(data) // 2])
    with pytest.raises(FeatxError, match=r"f\.h5.*cut short"):
        featx.extract(photos, tmp_path / "f.h5", **ASKED)


@pytest.mark.slow
def test_the_command_imports_no_torch_where_nothing_is_new(photos, tmp_path):
    code = (
        "import sys; from featx.cli.main import main; status = main(sys.argv[1:]); "
        "print('torch' in sys.modules, file=sys.stderr); sys.exit(status)"
    )
    words = [
        "extract",
        str(photos),
        "--store",
        str(tmp_path / "f.h5"),
        "--workers",
        "0",
        "--prune",
    ]
    said = [
        subprocess.run(
            [sys.executable, "-c", code, *words], capture_output=True, text=True, check=True
        ).stderr.split()[-1]
        for _ in range(2)
    ]
    assert said == ["True", "False"]
    assert store_info(tmp_path / "f.h5").tables[0].n_samples == 4
