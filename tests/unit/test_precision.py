"""The same command on a machine with another processor goes on with the table that exists."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _encoders import load_encoder
from PIL import Image

import featx
from featx.engines import place, placement, why_not_precision
from featx.errors import ParameterError
from featx.extraction import loading
from featx.extraction.notes import list_recipes
from featx.store import store_info

NET = {"device": "cpu", "engine": "torch", "resize_px": 40, "crop_px": 32, "workers": 0}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for i in range(3):
        Image.fromarray(rng.integers(0, 256, (40, 40, 3)).astype(np.uint8)).save(
            folder / f"{i}.png"
        )
    return folder


def on_a_machine(monkeypatch: pytest.MonkeyPatch, *, with_bfloat16: bool) -> None:
    monkeypatch.setattr(placement, "has_bfloat16", lambda _: with_bfloat16)
    monkeypatch.setattr("platform.node", lambda: f"bfloat16 {with_bfloat16}")


def precisions(store: Path) -> list[str]:
    return [table.recipe.precision for table in store_info(store).tables if table.recipe]


@pytest.mark.parametrize(
    ("first", "made"),
    [(True, "bfloat16"), (False, "float32")],
    ids=["with first", "without first"],
)
def test_auto_goes_on_with_the_table_of_another_machine(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, first: bool, made: str
) -> None:
    on_a_machine(monkeypatch, with_bfloat16=first)
    one = featx.extract(photos, tmp_path / "f.h5", **NET)
    assert one.summary.precision == made
    verb = "computes" if first else "does not compute"
    assert one.summary.precision_reason == f"auto: device 'cpu' {verb} bfloat16 natively"
    on_a_machine(monkeypatch, with_bfloat16=not first)
    two = featx.extract(photos, tmp_path / "f.h5", **NET)
    assert (two.summary.reused, two.summary.extracted) == (3, 0)
    assert two.summary.fingerprint == one.summary.fingerprint
    own = "float32" if first else "bfloat16"
    expected = f"auto: as the table that exists (this machine would take {own})"
    assert two.summary.precision_reason == expected
    again = featx.extract(photos, tmp_path / "f.h5", **NET).summary  # loads no network
    assert again.precision_reason == "auto: as the table that exists"
    assert precisions(tmp_path / "f.h5") == [made]


def test_new_images_are_computed_in_the_precision_of_the_table(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """bfloat16 is rounded where there is none: the vectors are those of the other machine."""
    on_a_machine(monkeypatch, with_bfloat16=True)
    featx.extract(photos / "0.png", tmp_path / "f.h5", **NET)
    on_a_machine(monkeypatch, with_bfloat16=False)
    added = featx.extract(photos, tmp_path / "f.h5", **NET)
    assert (added.summary.reused, added.summary.extracted) == (1, 2)
    exact = featx.extract(photos, tmp_path / "g.h5", precision="float32", **NET)
    rows = [exact.paths.tolist().index(path) for path in added.paths]
    cosines = [
        a @ b / np.linalg.norm(a) / np.linalg.norm(b)
        for a, b in zip(np.asarray(added), np.asarray(exact)[rows], strict=True)
    ]
    assert min(cosines) > 0.99
    assert not np.allclose(np.asarray(added), np.asarray(exact)[rows], rtol=1e-5)


def test_what_is_asked_for_and_what_the_machine_takes_come_first(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_a_machine(monkeypatch, with_bfloat16=True)
    featx.extract(photos, tmp_path / "f.h5", **NET)
    asked = featx.extract(photos, tmp_path / "f.h5", precision="float32", **NET)
    assert asked.summary.precision_reason == "as asked for"
    assert sorted(precisions(tmp_path / "f.h5")) == ["bfloat16", "float32"]
    for has, own in ((True, "bfloat16"), (False, "float32")):
        on_a_machine(monkeypatch, with_bfloat16=has)
        assert featx.extract(photos, tmp_path / "f.h5", **NET).summary.precision == own


def test_a_table_with_another_layer_or_size_decides_nothing(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_a_machine(monkeypatch, with_bfloat16=True)
    featx.extract(photos, tmp_path / "f.h5", **{**NET, "crop_px": 36})
    on_a_machine(monkeypatch, with_bfloat16=False)
    assert featx.extract(photos, tmp_path / "f.h5", **NET).summary.precision == "float32"


def test_of_several_tables_most_that_fit_decide_then_the_larger() -> None:
    loaded = load_encoder(device="cpu", engine="torch", precision="float32", poolings=[None])
    (mine,) = loaded.recipes
    f16, b16 = (dataclasses.replace(mine, precision=p) for p in ("float16", "bfloat16"))
    made = []

    def prepare(precision: str) -> Any:
        made.append(precision)
        return dataclasses.replace(loaded)

    loading.follow_tables(loaded, [b16, f16], prepare)
    assert made == ["bfloat16"]
    assert loading.follow_tables(loaded, [b16, mine], prepare) == loaded
    assert loading.follow_tables(loaded, [], prepare) == loaded
    assert made == ["bfloat16"]


def test_a_precision_that_cannot_run_here_is_said(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_a_machine(monkeypatch, with_bfloat16=False)
    featx.extract(photos / "0.png", tmp_path / "f.h5", precision="float16", **NET)
    no = "device 'cpu' does not compute float16 natively"
    monkeypatch.setattr(
        "featx.engines.why_not_precision", lambda p, _: no if p == "float16" else None
    )
    summary = featx.extract(photos, tmp_path / "f.h5", **NET).summary
    assert summary.precision == "float32"
    assert summary.precision_reason == (
        "auto: device 'cpu' does not compute bfloat16 natively; a table in float16 exists, which "
        f"cannot be continued here: {no}"
    )


def test_an_engine_that_cannot_compute_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_encoder(device="cpu", engine="torch", precision="float32")
    known = [dataclasses.replace(loaded.recipes[0], precision="float16")]

    def prepare(precision: str) -> Any:
        raise ParameterError(f"engine cannot do {precision}")

    monkeypatch.setattr("featx.engines.why_not_precision", lambda *_: None)
    found = loading.follow_tables(loaded, known, prepare)
    assert found.precision_reason.endswith("continued here: engine cannot do float16")


def test_float16_and_int8_run_where_they_are_native(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_fp16_supported", lambda: False)
    assert why_not_precision("float16", "cpu") == "device 'cpu' does not compute float16 natively"
    assert why_not_precision("float16", "cuda:1") is None
    assert why_not_precision("bfloat16", "cpu") is None
    assert "int8" in str(why_not_precision("int8(float32, nncf 1)", "cuda"))
    assert place("cpu", "float16").reason == "as asked for"


def test_the_transformers_cache_and_its_recipe_agree(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = sorted(map(str, photos.iterdir()))
    extractor = featx.FeatureExtractor(cache=tmp_path / "c.h5", **NET)
    on_a_machine(monkeypatch, with_bfloat16=True)
    first = extractor.transform(paths)
    on_a_machine(monkeypatch, with_bfloat16=False)
    np.testing.assert_array_equal(extractor.transform(paths), first)
    assert extractor.recipe.precision == "bfloat16"
    assert precisions(tmp_path / "c.h5") == ["bfloat16"]
    assert featx.FeatureExtractor(**NET).recipe.precision == "float32"


def test_shards_follow_each_other(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two machines the second goes on with what the first one's shard has."""
    for rank, has in ((0, True), (1, False)):
        on_a_machine(monkeypatch, with_bfloat16=has)
        last = featx.extract(photos, tmp_path / "f.h5", shard=(rank, 2), **NET)
    assert last.summary.waiting == 0
    assert precisions(tmp_path / "f.h5") == ["bfloat16"]
    assert list_recipes(tmp_path / "absent.h5") == []


def test_what_is_no_store_is_left_to_whoever_writes_it(tmp_path: Path) -> None:
    (tmp_path / "f.h5").write_bytes(b"no store")
    assert list_recipes(tmp_path / "f.h5") == []


def test_messages_name_the_precision_and_whatever_tells_tables_apart(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from featx.cli.main import main

    store = tmp_path / "f.h5"
    featx.extract(photos, store, precision="float32", **NET)
    featx.extract(photos, store, precision="bfloat16", **NET)
    with pytest.raises(ParameterError, match=r"precision 'float32'\); .*precision 'bfloat16'\)"):
        featx.open_store(store)
    words = ["extract", str(photos), "--store", str(store), "--device", "cpu", "--workers", "0"]
    assert main([*words, "--precision", "float32"]) == 0
    assert "precision float32 (as asked for)" in capsys.readouterr().out
    assert main(["info", str(store), "--json"]) == 0
    tables = json.loads(capsys.readouterr().out)["tables"]
    assert {table["recipe"]["precision"] for table in tables} == {"float32", "bfloat16"}
