"""Maps: what lies near what, what stays where it was, and what the page holds."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.manifold import TSNE, trustworthiness
from sklearn.preprocessing import normalize

from featx.cli.main import main
from featx.errors import FileFormatError, ParameterError, StoreWriteError
from featx.mapping import draw_map, project
from featx.mapping import drawing as drawing_module
from featx.mapping._layout import SIDE, _order, _spread
from featx.mapping._page import CLOSING, OPENING
from featx.mapping.projection import place, reduce_features
from featx.retrieval import RetrievalIndex
from featx.store import write_features


def clusters(
    n: int, n_classes: int = 6, d: int = 32, seed: int = 0
) -> tuple[np.ndarray, list[str]]:
    """Features of classes that are apart, a few of each direction shared."""
    rng = np.random.default_rng(seed)
    centres = np.abs(np.random.default_rng(7).normal(size=(n_classes, d))) * 3
    y = np.arange(n) % n_classes
    return (centres[y] + rng.normal(size=(n, d)) * 0.4).astype(np.float32), [f"c{k}" for k in y]


def make_store(folder: Path, n: int, *, name: str = "f.h5", pictures: bool = True, **more) -> Path:
    X, labels = clusters(n)
    paths = [str(folder / "photos" / f"{i:04}.png") for i in range(n)]
    (folder / "photos").mkdir(exist_ok=True)
    if pictures:
        for i, path in enumerate(paths):
            Image.new("RGB", (40, 30), (40 * (i % 6), 90, 200)).save(path)
    write_features(folder / name, X, paths=paths, labels=labels, **more)
    return folder / name


def read(page: Path) -> dict:
    text = page.read_text()
    start = text.index(OPENING) + len(OPENING)
    return json.loads(text[start : text.index(CLOSING, start)])


def places(document: dict) -> dict[str, tuple[int, int]]:
    xy = np.frombuffer(base64.b64decode(document["place"]), "<u2").reshape(-1, 2)
    return dict(zip(document["paths"], map(tuple, xy.tolist()), strict=True))


# -- projection


def test_neighbours_stay_as_near_as_in_a_plain_t_sne() -> None:
    X, _ = clusters(300)
    ours = trustworthiness(normalize(X), project(X), n_neighbors=10)
    plain = TSNE(init="pca", random_state=0).fit_transform(normalize(X))
    assert ours > trustworthiness(normalize(X), plain, n_neighbors=10) - 0.01


@pytest.mark.slow
def test_a_large_map_is_as_good_by_the_other_library(monkeypatch) -> None:
    pytest.importorskip("openTSNE", reason="the extra 'map' is not installed")
    X, _ = clusters(400)
    few = trustworthiness(normalize(X), project(X), n_neighbors=10)
    monkeypatch.setattr("featx.mapping.projection.MAX_PLAIN", 100)
    assert trustworthiness(normalize(X), project(X), n_neighbors=10) > few - 0.02


def test_without_the_library_a_large_map_says_what_to_install(monkeypatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "openTSNE", None)
    monkeypatch.setattr("featx.mapping.projection.MAX_PLAIN", 20)
    with pytest.raises(ImportError, match=r"pip install 'featx\[map\]'"):
        project(clusters(30)[0])


@pytest.mark.parametrize("n", [1, 2, 5, 12])
def test_few_images_have_a_finite_place_each(n: int) -> None:
    found = project(clusters(n)[0])
    assert found.shape == (n, 2)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_equal_images_have_one_place(value: float) -> None:
    found = project(np.full((30, 8), value))
    assert np.isfinite(found).all()
    assert (found == found[0]).all()


def test_components_are_those_of_numpy() -> None:
    X, _ = clusters(80)
    unit = normalize(X)
    _, _, axes = np.linalg.svd(unit - unit.mean(axis=0), full_matrices=False)
    expected = (unit - unit.mean(axis=0)) @ axes.T
    found = reduce_features(lambda: iter([X[:50], X[50:]]), 80)
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-4)


def test_a_value_that_is_not_finite_is_named_by_its_row() -> None:
    X = clusters(30)[0]
    X[17, 3] = np.nan
    with pytest.raises(ParameterError, match="row 17 has a value that is not finite"):
        project(X)


def test_a_new_row_goes_where_its_nearest_are() -> None:
    X, labels = clusters(120)
    kept, new = reduce_features(lambda: [X], 120)[:100], reduce_features(lambda: [X], 120)[100:]
    grid = np.array([(1000 * int(label[1]), 500) for label in labels], np.uint16)
    np.testing.assert_array_equal(place(new, kept, grid[:100]), grid[100:])


# -- the order of pictures


def test_the_first_pictures_are_one_of_each_cell() -> None:
    grid = np.random.default_rng(0).integers(0, SIDE, (20_000, 2)).astype(np.uint16)
    slots, levels = _order(grid)
    assert sorted(slots) == list(range(len(grid)))
    for cells, below in zip((32, 64, 128, 256), levels, strict=True):
        cell = (grid.astype(int) * cells // SIDE) @ (cells, 1)
        assert len(np.unique(cell[slots < below])) == len(np.unique(cell))
    assert levels[0] == 32 * 32


def test_images_at_one_place_are_laid_apart_and_others_stay() -> None:
    grid = np.array([[500, 500], [9, 9], [500, 500], [500, 500]], np.uint16)
    found = _spread(grid)
    np.testing.assert_array_equal(found[:2], grid[:2])
    assert len(np.unique(found, axis=0)) == 4
    new = _spread(grid[:1], taken=grid[:2])
    assert new.tolist() != grid[:1].tolist()


# -- the page


def test_a_page_has_every_image_its_label_and_its_picture(tmp_path) -> None:
    summary = draw_map(make_store(tmp_path, 50), tmp_path / "map.html", workers=0)
    document = read(tmp_path / "map.html")
    assert (summary.n_samples, summary.n_new, summary.n_labelled) == (50, 50, 50)
    assert document["paths"][7] == "photos/0007.png"  # whose disk it was stays out of the page
    assert str(tmp_path) not in (tmp_path / "map.html").read_text()
    codes = np.frombuffer(base64.b64decode(document["label"]), "<i4")
    assert [document["labels"][k] for k in codes] == clusters(50)[1]
    slots = np.frombuffer(base64.b64decode(document["slot"]), "<i4")
    sheet = Image.open(_bytes_of(document["sheets"]["0"]))
    for i in (0, 11, 49):
        x, y = slots[i] % 16 * 64, slots[i] // 16 * 64
        np.testing.assert_allclose(
            sheet.getpixel((x + 32, y + 32)), (40 * (i % 6), 90, 200), atol=6
        )


def _bytes_of(uri: str):
    import io

    return io.BytesIO(base64.b64decode(uri.partition(",")[2]))


def test_equal_input_gives_an_equal_page(tmp_path) -> None:
    store = make_store(tmp_path, 40)
    draw_map(store, tmp_path / "one.html", workers=0)
    draw_map(store, tmp_path / "two.html", workers=0)
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


def test_an_index_is_drawn_as_its_store(tmp_path) -> None:
    store = make_store(tmp_path, 40)
    from featx.store import open_store

    with open_store(store) as opened:
        RetrievalIndex().fit(opened).save(tmp_path / "i.index")
    draw_map(store, tmp_path / "one.html", workers=0)
    draw_map(tmp_path / "i.index", tmp_path / "two.html", workers=0)
    one, two = read(tmp_path / "one.html"), read(tmp_path / "two.html")
    assert places(one) == places(two)
    assert one["sheets"] == two["sheets"]


def test_what_was_there_does_not_move_when_images_are_added(tmp_path) -> None:
    page = tmp_path / "map.html"
    draw_map(make_store(tmp_path, 60), page, workers=0)
    before = places(read(page))
    summary = draw_map(make_store(tmp_path, 66, name="g.h5"), page, workers=0)
    after = places(read(page))
    assert (summary.n_new, summary.is_kept, summary.n_samples) == (6, True, 66)
    assert {path: after[path] for path in before} == before
    _, labels = clusters(66)
    xy = np.array([after[f"photos/{i:04}.png"] for i in range(66)], float)
    for i in range(60, 66):  # among those of its class
        nearest = np.argsort(((xy[:60] - xy[i]) ** 2).sum(axis=1))[:3]
        assert {labels[k] for k in nearest} == {labels[i]}


def test_removed_images_leave_and_the_others_stay(tmp_path) -> None:
    page = tmp_path / "map.html"
    draw_map(make_store(tmp_path, 40), page, workers=0)
    before = places(read(page))
    summary = draw_map(make_store(tmp_path, 30, name="g.h5"), page, workers=0)
    after = places(read(page))
    assert (summary.n_new, len(after)) == (0, 30)
    assert {path: before[path] for path in after} == after


def test_another_recipe_and_anew_make_a_new_map(tmp_path) -> None:
    page, store = tmp_path / "map.html", make_store(tmp_path, 40)
    draw_map(store, page, workers=0)
    other, labels = clusters(40, d=16, seed=3)
    paths = [str(tmp_path / "photos" / f"{i:04}.png") for i in range(40)]
    write_features(tmp_path / "o.h5", other, paths=paths, labels=labels)
    assert not draw_map(tmp_path / "o.h5", page, workers=0).is_kept
    assert draw_map(tmp_path / "o.h5", page, workers=0).n_new == 0
    assert draw_map(tmp_path / "o.h5", page, anew=True, workers=0).n_new == 40


def test_many_pictures_are_files_that_stay_when_images_are_added(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(drawing_module, "MAX_INSIDE", 10)
    page, folder = tmp_path / "map.html", tmp_path / "map_files"
    draw_map(make_store(tmp_path, 300), page, workers=0)
    first = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert len(first) == 2
    summary = draw_map(make_store(tmp_path, 303, name="g.h5"), page, workers=0)
    second = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert first.items() <= second.items()
    assert len(second) == 3
    assert summary.n_bytes == page.stat().st_size + sum(p.stat().st_size for p in folder.iterdir())
    assert set(read(page)["sheets"].values()) == {f"map_files/{name}" for name in second}
    draw_map(tmp_path / "g.h5", page, anew=True, workers=0)
    third = {path.name for path in folder.iterdir()}
    assert len(third) == 2
    assert not third & set(second)  # an older page that is still open never has another's pictures


def test_missing_files_are_points_and_counted(tmp_path) -> None:
    store = make_store(tmp_path, 30)
    (tmp_path / "photos" / "0004.png").unlink()
    (tmp_path / "photos" / "0005.png").write_bytes(b"no image")
    summary = draw_map(store, tmp_path / "map.html", workers=0)
    assert summary.n_without_picture == 2
    assert len(read(tmp_path / "map.html")["blank"]) == 2
    shutil.rmtree(tmp_path / "photos")
    # what was seen once stays on the map
    assert draw_map(store, tmp_path / "map.html", workers=0).n_without_picture == 2
    assert draw_map(store, tmp_path / "map.html", workers=0, anew=True).n_without_picture == 30


@pytest.mark.parametrize("n", [1, 2, 5])
def test_few_images_have_a_page(tmp_path, n: int) -> None:
    assert draw_map(make_store(tmp_path, n), tmp_path / "map.html", workers=0).n_samples == n


def test_labels_of_a_file_take_the_place_of_the_stores(tmp_path, capsys) -> None:
    store = make_store(tmp_path, 30)
    (tmp_path / "L.csv").write_text("path,label\nphotos/0001.png,mine\n")
    words = ["map", str(store), "--html", str(tmp_path / "m.html"), "--json", "--workers", "0"]
    assert main([*words, "--labels", str(tmp_path / "L.csv")]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["n_samples"], result["n_labelled"]) == (30, 1)
    assert read(Path(result["html"]))["labels"] == ["mine"]


def test_text_of_others_stays_text(tmp_path) -> None:
    X, _ = clusters(12)
    evil = "</script><img src=x onerror=alert(1)>"
    write_features(
        tmp_path / "f.h5", X, paths=[f"{evil}{i}.png" for i in range(12)], labels=[evil] * 12
    )
    draw_map(tmp_path / "f.h5", tmp_path / "map.html", workers=0)
    text = (tmp_path / "map.html").read_text()
    assert "<img" not in text
    assert text.count("</script>") == 3
    assert read(tmp_path / "map.html")["labels"] == [evil]


# -- what is refused


def test_an_empty_store_is_refused(tmp_path) -> None:
    from featx.store import open_store

    store = make_store(tmp_path, 3)
    with open_store(store) as opened:
        opened.prune(keep=[])
    with pytest.raises(ParameterError, match="has no images"):
        draw_map(store, tmp_path / "map.html")


def test_nothing_else_is_replaced(tmp_path) -> None:
    store = make_store(tmp_path, 12)
    (tmp_path / "mine.html").write_text("<!doctype html><p>mine")
    from featx.report import Report

    Report("r").save(tmp_path / "report.html")
    for name in ("mine.html", "report.html"):
        with pytest.raises(StoreWriteError, match="expected a new name or an older one"):
            draw_map(store, tmp_path / name)
    with pytest.raises(ParameterError, match=r"ending '\.h5', expected '\.html'"):
        draw_map(store, store)
    (tmp_path / "map_files").mkdir()
    (tmp_path / "map_files" / "diary.txt").write_text("mine")
    with pytest.raises(StoreWriteError, match=r"has 'diary.txt', expected only the pictures"):
        draw_map(store, tmp_path / "map.html")
    assert (tmp_path / "map_files" / "diary.txt").read_text() == "mine"


def test_a_damaged_map_is_not_forgotten_silently(tmp_path) -> None:
    page, store = tmp_path / "map.html", make_store(tmp_path, 12)
    draw_map(store, page, workers=0)
    page.write_text(page.read_text().replace('"place":"', '"place":"!'))
    with pytest.raises(FileFormatError, match="give --anew"):
        draw_map(store, page, workers=0)
    assert draw_map(store, page, anew=True, workers=0).n_new == 12


def test_a_table_of_an_index_is_refused(tmp_path) -> None:
    RetrievalIndex().fit(clusters(12)[0]).save(tmp_path / "i.index")
    with pytest.raises(ParameterError, match="table: got 'ab' for the index"):
        draw_map(tmp_path / "i.index", tmp_path / "m.html", table="ab")


def test_an_index_of_instances_has_nothing_to_draw(tmp_path) -> None:
    pytest.importorskip("cv2", reason="the extra 'spatial' is not installed")
    pytest.importorskip("faiss", reason="the extra 'ann' is not installed")
    from featx.retrieval import InstanceIndex

    rng = np.random.default_rng(0)
    for i in range(2):
        coarse = rng.integers(0, 256, (24, 32, 3), np.uint8)
        Image.fromarray(coarse).resize((320, 240)).save(tmp_path / f"{i}.png")
    paths = [str(tmp_path / f"{i}.png") for i in range(2)]
    InstanceIndex().fit(paths).save(tmp_path / "i.index")
    with pytest.raises(ParameterError, match="is of instances and has no vectors to draw"):
        draw_map(tmp_path / "i.index", tmp_path / "m.html")
