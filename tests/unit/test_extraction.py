"""Filling a store: only what is new, changed or failed goes through the network."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from _encoders import load_encoder, load_recipe
from PIL import Image
from torch import nn

import featx
from featx.backbones import Backbone
from featx.errors import (
    BackboneError,
    FingerprintMismatchError,
    ImageDecodeError,
    ParameterError,
    StoreWriteError,
)
from featx.store import StoreWriter, open_store, store_info, verify_store

NET = {"backbone": "squeezenet1_1", "weights": None, "precision": "float32", "device": "cpu"}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Ten small pictures in two folders, two of one name, all different."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "photos"
    for i in range(10):
        place = folder / "ab"[i % 2] / f"{i // 2}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8)).save(place)
    return folder


def run(photos: Path, store: Path, **options):
    opened = featx.extract(photos, store, **{"batch_size": 4, "workers": 0, **NET, **options})
    counts = opened.summary
    return opened, (counts.extracted, counts.reused, counts.failed)


def by_path(store) -> dict[str, np.ndarray]:
    return dict(zip(store.paths.tolist(), store[:], strict=True))


def test_table_equals_the_network_on_each_image_alone(photos: Path, tmp_path: Path) -> None:
    """Would catch rows that shift, and features that depend on their batch."""
    store, counts = run(photos, tmp_path / "f.h5")
    assert counts == (10, 0, 0)
    assert store.paths.tolist() == sorted(map(str, photos.rglob("*.png")))
    assert store.labels.tolist() == ["a"] * 5 + ["b"] * 5
    loaded = load_encoder(**NET)
    for path, vector in by_path(store).items():
        ((_, (alone,)),) = loaded.embed([path])
        np.testing.assert_allclose(vector, alone[0], rtol=1e-4, atol=1e-5)


def test_running_again_does_nothing_and_does_not_touch_the_file(
    photos: Path, tmp_path: Path
) -> None:
    run(photos, tmp_path / "f.h5")
    before = (tmp_path / "f.h5").read_bytes()
    _, counts = run(photos, tmp_path / "f.h5")
    assert counts == (0, 10, 0)
    assert (tmp_path / "f.h5").read_bytes() == before


def test_new_changed_renamed_touched_and_copied_images(photos: Path, tmp_path: Path) -> None:
    store, _ = run(photos, tmp_path / "f.h5")
    old = by_path(store)
    new = photos / "a" / "new.png"
    Image.new("RGB", (30, 30), "red").save(new)
    Image.new("RGB", (30, 30), "blue").save(photos / "a" / "0.png")
    (photos / "b" / "1.png").rename(photos / "a" / "renamed.png")
    shutil.copy(photos / "b" / "2.png", photos / "a" / "copy.png")
    os.utime(photos / "b" / "3.png")
    store, counts = run(photos, tmp_path / "f.h5")
    assert counts == (2, 10, 0)
    found = by_path(store)
    assert str(photos / "b" / "1.png") not in found
    for name, was in (("a/renamed.png", "b/1.png"), ("a/copy.png", "b/2.png")):
        np.testing.assert_array_equal(found[str(photos / name)], old[str(photos / was)])
    assert not np.array_equal(found[str(photos / "a/0.png")], old[str(photos / "a/0.png")])
    labels = dict(zip(store.paths.tolist(), store.labels.tolist(), strict=True))
    assert labels[str(photos / "a" / "renamed.png")] == "a"
    fresh, _ = run(photos, tmp_path / "fresh.h5")
    for path, vector in by_path(fresh).items():
        np.testing.assert_array_equal(found[path], vector)
    assert verify_store(tmp_path / "f.h5").ok
    assert run(photos, tmp_path / "f.h5")[1] == (0, 12, 0)


def _with_copies(photos: Path, n: int = 3) -> None:
    """Add exact copies of one picture of each class to its folder."""
    for name in "ab":
        for i in range(n):
            shutil.copy(photos / name / "0.png", photos / name / f"copy{i}.png")


@pytest.mark.parametrize("also", ["nothing", "fewer copies", "more copies", "copies elsewhere"])
def test_rows_of_exact_copies_follow_a_renamed_folder_one_for_one(
    photos: Path, tmp_path: Path, also: str
) -> None:
    """Would catch copies whose old rows stay, with a class that is gone."""
    _with_copies(photos)
    store, _ = run(photos, tmp_path / "f.h5")
    vectors = {path.rpartition("/")[2]: v for path, v in by_path(store).items() if "/a/" in path}
    (photos / "a").rename(photos / "c")
    if also == "fewer copies":
        (photos / "c" / "copy0.png").unlink()
    if also == "more copies":
        shutil.copy(photos / "c" / "0.png", photos / "c" / "copy9.png")
    if also == "copies elsewhere":
        shutil.copy(photos / "c" / "0.png", photos / "b" / "of another class.png")
    store, (extracted, _, failed) = run(photos, tmp_path / "f.h5")
    assert (extracted, failed) == (0, 0)
    there = sorted(map(str, photos.rglob("*.png")))
    gone = sorted(set(store.paths.tolist()) - set(there))
    assert len(gone) == (also == "fewer copies")  # as any image that was deleted
    assert sorted(set(store.paths.tolist()) - set(gone)) == there
    labels = dict(zip(store.paths.tolist(), store.labels.tolist(), strict=True))
    assert all(labels[path] == Path(path).parent.name for path in there)
    for path in map(str, (photos / "c").glob("[0-9].png")):
        np.testing.assert_array_equal(by_path(store)[path], vectors[path.rpartition("/")[2]])
    assert verify_store(tmp_path / "f.h5").ok


@pytest.mark.parametrize("batch_size", [1, 4, 32])
def test_exact_copies_go_through_the_network_once_and_have_a_row_each(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch_size: int
) -> None:
    _with_copies(photos)
    bad = [photos / "b" / "bad.png", photos / "b" / "bad too.png"]
    for path in bad:
        path.write_bytes(b"no picture")
    shown: list[int] = []
    stream = Backbone.stream

    def counted(self, batches, *arguments, **options):
        def noted():
            for batch, views in batches:
                shown.append(len(views[0]) if views else 0)
                yield batch, views

        return stream(self, noted(), *arguments, **options)

    monkeypatch.setattr(Backbone, "stream", counted)
    store, counts = run(photos, tmp_path / "f.h5", batch_size=batch_size)
    assert counts == (10, 6, 2)
    assert sum(shown) == 10
    # in the order of the source, as any other image
    there = [str(path) for path in sorted(photos.rglob("*.png")) if path not in bad]
    assert store.paths.tolist() == there
    assert store.labels.tolist() == [Path(path).parent.name for path in there]
    found = by_path(store)
    for path in map(Path, there):
        if path.name.startswith("copy"):
            np.testing.assert_array_equal(found[str(path)], found[str(path.with_name("0.png"))])
    assert len({vector.tobytes() for vector in found.values()}) == 10
    assert verify_store(tmp_path / "f.h5").ok
    assert run(photos, tmp_path / "f.h5")[1] == (0, 16, 2)


def test_rows_of_other_recipes_follow_renamed_files_too(photos: Path, tmp_path: Path) -> None:
    run(photos, tmp_path / "f.h5", layers="features.3")
    run(photos, tmp_path / "f.h5")
    (photos / "a").rename(photos / "c")
    run(photos, tmp_path / "f.h5")
    fresh, _ = run(photos, tmp_path / "fresh.h5", layers="features.3")
    with open_store(tmp_path / "f.h5", layer="features.3") as store:
        assert sorted(store.paths.tolist()) == sorted(map(str, photos.rglob("*.png")))
        assert store.labels.tolist() == [Path(path).parent.name for path in store.paths]
        for path, vector in by_path(fresh).items():
            np.testing.assert_array_equal(by_path(store)[path], vector)
    assert verify_store(tmp_path / "f.h5").ok


def test_images_renamed_onto_one_another_leave_no_rows_of_files_that_are_gone(
    photos: Path, tmp_path: Path
) -> None:
    store, _ = run(photos, tmp_path / "f.h5")
    old = by_path(store)
    for i in range(4):  # 1 becomes 0, 2 becomes 1, ...
        (photos / "a" / f"{i + 1}.png").replace(photos / "a" / f"{i}.png")
    (photos / "b" / "bad.png").write_bytes(b"no picture")
    Image.new("RGB", (30, 30), "red").save(photos / "a" / "new.png")
    store, counts = run(photos, tmp_path / "f.h5")
    assert counts == (1, 9, 1)
    assert sorted(store.paths.tolist()) == sorted(
        str(path) for path in photos.rglob("*.png") if path.name != "bad.png"
    )
    found = by_path(store)
    for i in range(4):
        was = old[str(photos / "a" / f"{i + 1}.png")]
        np.testing.assert_array_equal(found[str(photos / "a" / f"{i}.png")], was)
    (photos / "b").rename(photos / "c")
    store, counts = run(photos, tmp_path / "f.h5")
    assert counts == (0, 10, 1)
    assert [failure.path for failure in store.failures] == [str(photos / "c" / "bad.png")]
    assert verify_store(tmp_path / "f.h5").ok


def test_images_that_are_gone_are_pruned_from_all_tables_without_a_network(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = photos / "b" / "bad.png"
    bad.write_bytes(b"no picture")
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(photos / "b", elsewhere)
    Image.new("RGB", (30, 30), "red").save(elsewhere / "mine.png")
    run([photos, elsewhere], tmp_path / "f.h5")
    run(photos, tmp_path / "f.h5", layers="features.3", poolings="avg")
    (photos / "a" / "0.png").unlink()
    shutil.rmtree(photos / "b")
    (elsewhere / "mine.png").unlink()
    monkeypatch.setattr(Backbone, "stream", None)
    before = store_info(tmp_path / "f.h5").tables
    store, counts = run(photos, tmp_path / "f.h5")
    assert (counts, store.summary.pruned, store.summary.elsewhere) == ((0, 4, 0), 0, 12)
    store, counts = run(photos, tmp_path / "f.h5", prune=True)
    # a/0.png, five pictures and a bad one of b, and mine.png
    assert (counts, store.summary.pruned, store.summary.elsewhere) == ((0, 4, 0), 8, 5)
    left = sorted(str(path) for place in (photos, elsewhere) for path in place.rglob("[0-9].png"))
    assert sorted(store.paths.tolist()) == left
    assert [failure.path for failure in store.failures] == [str(elsewhere / "bad.png")]
    sizes = {info.key: info.n_samples for info in store_info(tmp_path / "f.h5").tables}
    assert sizes == {info.key: 9 if info.layer == "penultimate" else 4 for info in before}
    assert verify_store(tmp_path / "f.h5").ok
    assert run(photos, tmp_path / "f.h5", prune=True)[0].summary.pruned == 0


def test_images_of_a_folder_that_cannot_be_read_are_not_pruned(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = run(photos, tmp_path / "f.h5")
    lstat = os.lstat

    def refused(path, **options):
        if str(path).startswith(str(photos / "a")):
            raise PermissionError(13, "Permission denied", path)
        return lstat(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "lstat", refused)
        assert store.prune() == 0
    (photos / "a").rename(tmp_path / "away")
    assert store.prune() == 5
    assert store.paths.tolist() == [str(photos / "b" / f"{i}.png") for i in range(5)]


def test_two_images_that_swap_names_keep_their_own_vectors(photos: Path, tmp_path: Path) -> None:
    store, _ = run(photos, tmp_path / "f.h5")
    old = by_path(store)
    one, other, spare = photos / "a/0.png", photos / "a/1.png", photos / "spare"
    one.rename(spare)
    other.rename(one)
    spare.rename(other)
    os.utime(one, (1, 1))
    os.utime(other, (2, 2))
    store, counts = run(photos, tmp_path / "f.h5")
    assert counts == (0, 10, 0)
    found = by_path(store)
    np.testing.assert_array_equal(found[str(one)], old[str(other)])
    np.testing.assert_array_equal(found[str(other)], old[str(one)])


def test_bad_images_are_failures_until_they_are_repaired(photos: Path, tmp_path: Path) -> None:
    """Would catch a skipped image that shifts every later row."""
    bad = photos / "a" / "2.png"
    good = bad.read_bytes()
    bad.write_bytes(good[:60])
    (photos / "b" / "empty.jpg").touch()
    store, counts = run(photos, tmp_path / "f.h5")
    assert counts == (9, 0, 2)
    reasons = {Path(f.path).name: f.reason for f in store.failures}
    assert "0 bytes" in reasons["empty.jpg"]
    assert reasons["2.png"]
    fresh, _ = run(photos / "b", tmp_path / "b.h5")
    for path, vector in by_path(fresh).items():
        np.testing.assert_array_equal(by_path(store)[path], vector)
    assert run(photos, tmp_path / "f.h5")[1] == (0, 9, 2)  # tried again
    bad.write_bytes(good)
    store, counts = run(photos, tmp_path / "f.h5")
    assert counts == (1, 9, 1)
    assert [Path(f.path).name for f in store.failures] == ["empty.jpg"]


def test_on_error_raise_names_the_image_and_keeps_what_is_done(
    photos: Path, tmp_path: Path
) -> None:
    (photos / "b" / "2.png").write_bytes(b"nothing")
    with pytest.raises(ImageDecodeError, match=r"b/2\.png': not a JPEG.*on_error='record'"):
        run(photos, tmp_path / "f.h5", on_error="raise")
    assert len(featx.open_store(tmp_path / "f.h5")) == 7  # both batches' good ones
    assert verify_store(tmp_path / "f.h5").ok


def test_several_layers_and_poolings_fill_their_tables_in_one_pass(
    photos: Path, tmp_path: Path
) -> None:
    net = load_encoder(**NET).backbone
    before = net.n_images
    layers, poolings = ["features.5", "features.12"], ["avg", "max"]
    store, counts = run(photos, tmp_path / "f.h5", layers=layers, poolings=poolings)
    assert counts == (10, 0, 0)
    assert net.n_images - before == 10
    assert {(t.layer, t.pooling) for t in store.tables} == {
        (layer, pooling) for layer in layers for pooling in poolings
    }
    alone, _ = run(photos, tmp_path / "g.h5", layers="features.12", poolings="max")
    both = store.select(layer="features.12", pooling="max")
    np.testing.assert_array_equal(both[:], alone[:])
    assert run(photos, tmp_path / "f.h5", layers=layers, poolings=poolings)[1] == (0, 10, 0)
    assert run(photos, tmp_path / "f.h5", layers="features.12", poolings="avg")[1] == (0, 10, 0)


def test_another_network_never_gets_the_first_ones_vectors(photos: Path, tmp_path: Path) -> None:
    """Would catch a cache that is keyed by the image alone."""
    first, _ = run(photos, tmp_path / "f.h5")
    second, counts = run(photos, tmp_path / "f.h5", backbone="resnet18")
    assert counts == (10, 0, 0)
    assert first.fingerprint != second.fingerprint
    assert second.shape == (10, 512)
    settings = [{"augment": "hflip"}, {"decode": "full"}, {"precision": "bfloat16"}]
    found = {run(photos, tmp_path / "f.h5", **s)[0].fingerprint for s in settings}
    assert len(found | {first.fingerprint}) == 4


def test_augmentation_averages_or_keeps_views(photos: Path, tmp_path: Path) -> None:
    plain, _ = run(photos, tmp_path / "f.h5", augment="none")
    mean, _ = run(photos, tmp_path / "f.h5", augment="hflip")
    kept, _ = run(photos, tmp_path / "f.h5", augment="hflip:keep")
    assert kept.shape[1] == 2 * mean.shape[1]
    np.testing.assert_array_equal(kept[:][:, :512], plain[:])
    np.testing.assert_allclose(kept[:].reshape(10, 2, -1).mean(1), mean[:], rtol=1e-5, atol=1e-6)


def test_sizes_may_differ_from_what_the_weights_ask_for(photos: Path, tmp_path: Path) -> None:
    store, _ = run(photos, tmp_path / "f.h5", resize_px=96, crop_px=64, layers="features.3")
    assert (store.recipe.preprocessing.resize_px, store.recipe.preprocessing.crop_px) == (96, 64)
    loaded = load_recipe(store.recipe, weights=None, device="cpu")
    assert loaded.recipes[0] == store.recipe
    ((batch, _),) = loaded.embed(store.paths[:1].tolist())
    assert batch.good.tolist() == [0]


def test_csv_columns_become_metadata_and_are_refreshed(photos: Path, tmp_path: Path) -> None:
    csv = tmp_path / "m.csv"
    names = sorted(photos.rglob("*.png"))
    csv.write_text("path,label,round\n" + "".join(f"{p},x,{i % 2}\n" for i, p in enumerate(names)))
    store, counts = run(csv, tmp_path / "f.h5")
    assert counts == (10, 0, 0)
    assert store.metadata["round"].tolist() == ["0", "1"] * 5
    csv.write_text("path,label,round\n" + "".join(f"{p},y,1\n" for p in names))
    store, counts = run(csv, tmp_path / "f.h5")
    assert counts == (0, 10, 0)
    assert store.metadata["round"].tolist() == ["1"] * 10
    assert set(store.labels) == {"y"}
    run(photos, tmp_path / "f.h5")
    listed = [str(p) for p in names]  # a list has no labels: those of the store stay
    assert run(listed, tmp_path / "f.h5")[0].labels.tolist() == ["a"] * 5 + ["b"] * 5


def test_reader_processes_and_batch_size_change_no_bit(photos: Path, tmp_path: Path) -> None:
    one, _ = run(photos, tmp_path / "1.h5", augment="none")
    two = featx.extract(photos, tmp_path / "2.h5", batch_size=4, workers=2, **NET)
    np.testing.assert_array_equal(one[:], two[:])
    other = featx.extract(photos, tmp_path / "3.h5", batch_size=3, workers=0, **NET)
    np.testing.assert_allclose(other[:], one[:], rtol=1e-4, atol=1e-5)


def test_second_writer_is_refused_in_one_line(photos: Path, tmp_path: Path) -> None:
    with (
        StoreWriter(tmp_path / "f.h5"),
        pytest.raises(StoreWriteError, match=r"f\.h5.*another|another.*f\.h5"),
    ):
        run(photos, tmp_path / "f.h5")


def test_ctrl_c_commits_what_is_finished(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = load_encoder(**NET).backbone._passes
    real, calls = passes.begin, []

    def interrupted(*args, **kwargs):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(passes, "begin", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(photos, tmp_path / "f.h5")
    monkeypatch.undo()
    store, counts = run(photos, tmp_path / "f.h5")
    assert counts == (2, 8, 0)
    whole, _ = run(photos, tmp_path / "g.h5")
    for path, vector in by_path(whole).items():
        np.testing.assert_array_equal(by_path(store)[path], vector)


def test_wrong_settings_are_named_before_anything_is_written(photos: Path, tmp_path: Path) -> None:
    for options, error, message in (
        ({"augment": "flip"}, ParameterError, r"augment: got 'flip'"),
        ({"decode": "half"}, ParameterError, r"decode: got 'half'"),
        ({"crop_px": 0}, ParameterError, r"crop_px: got 0, expected pixels"),
        ({"engine": "tensorrt"}, ParameterError, r"engine: got 'tensorrt'"),
        ({"on_error": "skip"}, ParameterError, r"on_error: got 'skip'"),
        ({"layers": "nowhere"}, BackboneError, r"got layer 'nowhere'"),
    ):
        with pytest.raises(error, match=message):
            run(photos, tmp_path / "f.h5", **options)
    assert not (tmp_path / "f.h5").exists()


class Mine(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3))


def test_own_network_and_transform(photos: Path, tmp_path: Path) -> None:
    def to_tensor(image):
        return torch.from_numpy(np.asarray(image, np.float32).transpose(2, 0, 1) / 255)

    store = featx.extract(
        photos, tmp_path / "f.h5", backbone=Mine(), transform=to_tensor, precision="float32"
    )
    for path, vector in by_path(store).items():
        pixels = np.asarray(Image.open(path), np.float64) / 255
        np.testing.assert_allclose(vector, pixels.mean((0, 1)), rtol=1e-5)
    with pytest.raises(BackboneError, match=r"test_extraction:Mine' is a module of your own"):
        load_recipe(store.recipe)
    with pytest.raises(ParameterError, match="augment: got 'hflip' together with a transform"):
        featx.extract(
            photos, tmp_path / "f.h5", backbone=Mine(), transform=to_tensor, augment="hflip"
        )


def test_recipe_brings_its_network_back_or_says_what_differs(photos: Path, tmp_path: Path) -> None:
    store, _ = run(photos, tmp_path / "f.h5", layers="features.5", poolings="gem(2)")
    loaded = load_recipe(store.recipe, weights=None, device="cpu")
    ((_, (again,)),) = loaded.embed(store.paths[:3].tolist())
    np.testing.assert_allclose(again, store[:3], rtol=1e-4, atol=1e-5)
    torch.manual_seed(5)
    state = {k: v + 0.1 for k, v in loaded.backbone._torch.module.state_dict().items()}
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(FingerprintMismatchError, match=r"weights: got '\w+\.*', expected '\w+"):
        load_recipe(store.recipe, weights=tmp_path / "w.pth", device="cpu")
