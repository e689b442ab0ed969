"""Instance retrieval against known homographies, OpenCV's own matching, and hostile input."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw

from featx import RetrievalIndex
from featx.cli.main import main
from featx.errors import FileFormatError, ImageDecodeError, ParameterError, StoreWriteError
from featx.retrieval import InstanceIndex, clip_region, find_in_query, load_index
from featx.retrieval._homography import agree
from featx.retrieval.descriptors import LocalDescriber, quantise
from featx.store import write_features

SIZE = (320, 240)


def scene(seed: int, size: tuple[int, int] = SIZE) -> Image.Image:
    """Draw shapes that no other seed draws."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", size, tuple(rng.integers(0, 256, 3).tolist()))
    draw = ImageDraw.Draw(image)
    for i in range(120):
        x, y = rng.integers(0, size[0]), rng.integers(0, size[1])
        w, h = rng.integers(4, 40, 2)
        colour = tuple(rng.integers(0, 256, 3).tolist())
        shape = (draw.rectangle, draw.ellipse)[i % 2]
        shape((x, y, x + w, y + h), fill=colour)
    return image


def warp(image: Image.Image, homography: np.ndarray, size: tuple[int, int]) -> Image.Image:
    pixels = cv2.warpPerspective(np.asarray(image), homography, size, borderValue=(90, 90, 90))
    return Image.fromarray(pixels)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("scenes")
    paths = [str(folder / f"{i}.png") for i in range(8)]
    for i, path in enumerate(paths):
        scene(i).save(path)
    return paths


@pytest.fixture(scope="module")
def index(scenes) -> InstanceIndex:
    return InstanceIndex().fit(scenes, labels=[f"l{i}" for i in range(8)])


def known_homography(turn_deg: float, scale: float) -> np.ndarray:
    """Return a turn, a scale and some perspective, around the picture's centre, into 400 x 400."""
    c, s = scale * np.cos(np.radians(turn_deg)), scale * np.sin(np.radians(turn_deg))
    to_centre = np.array([[1, 0, -160], [0, 1, -120], [0, 0, 1]], float)
    back = np.array([[1, 0, 200], [0, 1, 200], [0, 0, 1]], float)
    turn = np.array([[c, -s, 0], [s, c, 0], [4e-4, -3e-4, 1]])
    return back @ turn @ to_centre


@pytest.mark.parametrize(
    ("turn_deg", "scale"), [(0, 1), (30, 1), (90, 0.8), (180, 1), (215, 0.6), (300, 1.2)]
)
def test_a_warped_scene_is_found_first_with_its_corners_in_place(index, turn_deg, scale) -> None:
    homography = known_homography(turn_deg, scale)
    found = index.query(warp(scene(5), homography, (400, 400)), k=3)
    assert (found.labels[0], len(found.ids)) == ("l5", 3)
    assert found.inliers[0] >= 15
    assert found.inliers[1:].tolist() == [0, 0]
    assert found.distances[1] > 1
    corners = np.array([[[0, 0], [400, 0], [400, 400], [0, 400]]], float)
    whole = np.array([[[0, 0], [320, 0], [320, 240], [0, 240]]], np.float32)
    there = cv2.perspectiveTransform(whole, homography)
    in_view = cv2.intersectConvexConvex(there, corners.astype(np.float32))[0]
    weight = found.inliers[0] * in_view / 400**2
    assert found.distances[0] == pytest.approx(1 / (1 + weight), rel=0.03)
    expected = cv2.perspectiveTransform(corners, np.linalg.inv(homography))[0]
    np.testing.assert_allclose(found.regions[0] * SIZE, expected, atol=6)
    assert np.isnan(found.regions[1:]).all()
    outline = np.array([[[0, 0], [320, 0], [320, 240], [0, 240]]], float)
    expected = cv2.perspectiveTransform(outline, homography)[0]
    np.testing.assert_allclose(find_in_query(found.regions[0]) * 400, expected, atol=6)


def test_the_thing_that_fills_the_picture_comes_first(index) -> None:
    asked = Image.new("RGB", (480, 520), (90, 90, 90))
    asked.paste(scene(2).resize((64, 48)).resize((480, 360)), (0, 0))  # blurred: few features
    asked.paste(scene(7).resize((192, 144)), (100, 370))
    found = index.query(asked, k=2)
    assert found.labels.tolist() == ["l2", "l7"]
    assert 0 < found.inliers[0] < found.inliers[1]
    assert found.distances[0] < found.distances[1] <= 1


def test_descriptors_are_the_square_roots_of_opencvs() -> None:
    image = scene(1)
    grey = np.asarray(image.convert("L"))
    sift = cv2.SIFT_create(nfeatures=60, contrastThreshold=0.02)
    keypoints, values = sift.detectAndCompute(grey, None)
    found = LocalDescriber(60, 300_000).describe(image)
    assert (len(found), found.size_px.tolist()) == (60, [320, 240])
    places = {tuple(np.float32(k.pt)): v for k, v in zip(keypoints, values, strict=True)}
    assert len(places) > 40
    for point in found.points * 320:
        nearest = min(places, key=lambda p: abs(p[0] - point[0]) + abs(p[1] - point[1]))
        assert np.hypot(*(point - nearest)) < 1e-3
    root = np.sqrt(values / np.abs(values).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(np.linalg.norm(root, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(quantise(values) / 512, np.minimum(root, 255 / 512), atol=1 / 1024)


def test_agreement_counts_what_a_homography_explains_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    homography = np.array([[0.5, -0.2, 0.3], [0.2, 0.5, 0.1], [0.1, 0.05, 1]])
    query = rng.uniform(0, 1, (60, 2)).astype(np.float32)
    match = cv2.perspectiveTransform(query[None].astype(float), homography)[0].astype(np.float32)
    match[40:] = rng.uniform(0, 1, (20, 2))
    px = np.array([100, 100], np.int32)
    found = agree(query, match, px, px)
    assert 36 <= found.inliers <= 42
    square = np.array([[[0, 0], [1, 0], [1, 1], [0, 1]]], float)
    expected = cv2.perspectiveTransform(square, homography)[0]
    np.testing.assert_allclose(found.region, expected, atol=1e-3)
    seen = cv2.perspectiveTransform(square, np.linalg.inv(homography))
    in_view = cv2.intersectConvexConvex(*(one.astype(np.float32) for one in (seen, square)))[0]
    assert found.share == pytest.approx(in_view, abs=0.01)
    mirrored = query * [-1, 1] + [1, 0]
    for other in (mirrored, rng.uniform(0, 1, (60, 2)), np.full((60, 2), 0.5), query[:, ::-1]):
        assert agree(query, other.astype(np.float32), px, px).inliers == 0
    repeated = np.repeat(query[:5], 12, axis=0)  # five places, however often
    assert agree(repeated, repeated, px, px).inliers == 0


def test_a_match_whose_outline_cannot_be_drawn_counts_by_what_agrees() -> None:
    query = np.random.default_rng(0).uniform(0, 0.5, (60, 2)).astype(np.float32)
    homography = np.array([[1, 0, 0], [0, 1, 0], [-1.5, 0, 1]])  # its horizon is at x = 2/3
    match = cv2.perspectiveTransform(query[None].astype(float), homography)[0]
    px = np.array([100, 100], np.int32)
    found = agree(query, match.astype(np.float32), px, px)
    assert found.inliers > 20
    assert np.isnan(found.region).all()
    assert found.share == pytest.approx(0.25, abs=0.03)


def test_what_shows_nothing_of_the_database_is_not_verified(index) -> None:
    found = index.query([scene(100 + i) for i in range(10)], k=8)
    assert (found.inliers == 0).all()
    assert (found.distances > 1).all()
    assert [match["region"] for match in found.to_dicts()[0]["matches"]] == [None] * 8


@pytest.mark.parametrize(
    "image",
    [
        Image.new("RGB", (200, 100), "red"),
        Image.new("RGB", (1, 1)),
        Image.new("RGB", (1, 3000)),
        Image.new("L", (64, 64), 9),
    ],
    ids=["one colour", "one pixel", "a line", "grey"],
)
def test_images_without_local_features_find_nothing_and_are_left_out(index, image, scenes) -> None:
    found = index.query(image, k=8)
    assert (found.distances == 2).all()
    assert (found.inliers == 0).all()
    again = InstanceIndex().fit([scene(0), image], ids=["good", "bad"])
    assert again.ids_.tolist() == ["good"]
    assert again.failures_[0][0] == "bad"
    assert "no local features" in again.failures_[0][1]
    with pytest.raises(
        ImageDecodeError, match=r"found local features in none of 1, .*has no local features"
    ):
        InstanceIndex().fit([image])


def test_odd_pixels_are_read_as_everywhere(index, tmp_path) -> None:
    rgba = scene(3).convert("RGBA")
    rgba.save(tmp_path / "rgba.png")
    deep = np.asarray(scene(3).convert("L")).astype(np.uint16) * 257
    Image.fromarray(deep).save(tmp_path / "deep.png")
    scene(3).resize((5000, 3750)).save(tmp_path / "huge.jpg")
    paths = [str(tmp_path / name) for name in ("rgba.png", "deep.png", "huge.jpg")]
    found = index.query(paths, k=1)
    assert found.labels[:, 0].tolist() == ["l3"] * 3
    assert found.inliers.min() > 40


def test_add_and_remove_equal_a_new_index_and_leave_copies_alone(scenes) -> None:
    first = InstanceIndex().fit(scenes[:5])
    kept = copy.copy(first)
    first.add(scenes[5:]).remove([scenes[1]])
    assert first.ids_.tolist() == [scenes[i] for i in (0, 2, 3, 4, 5, 6, 7)]
    assert kept.ids_.tolist() == scenes[:5]
    queries = [Image.open(path).rotate(40, expand=True) for path in scenes]
    found, before = first.query(queries, k=7), kept.query(queries, k=5)
    for i, path in enumerate(scenes):
        assert (found.ids[i, 0] == path) == (i != 1)
        assert (before.inliers[i, 0] > 0) == (i < 5)
    again = pickle.loads(pickle.dumps(first)).query(queries, k=7)
    np.testing.assert_array_equal(again.ids, found.ids)
    first.remove(scenes[2:8])  # so much that what is held is built again
    assert (first.ids_.tolist(), first.query(queries[0], k=1).ids[0]) == ([scenes[0]], scenes[0])
    assert first._inverted.n_features == len(first._inverted.row_of)
    with pytest.raises(ParameterError, match="ids: got 'nowhere'"):
        first.remove(["nowhere"])
    with pytest.raises(ParameterError, match="more than once"):
        first.add([scenes[0]])


def test_filters_hold(index, scenes) -> None:
    query = Image.open(scenes[2])
    assert index.query(query, filter={"label": ["l1", "l3"]}).ids.tolist() != scenes[2]
    found = index.query(query, filter={"label": ["l1", "l2"]})
    assert sorted(found.labels) == ["l1", "l2"]
    assert found.labels[0] == "l2"
    with pytest.raises(ParameterError, match="no row of the index fits"):
        index.query(query, filter={"label": "l9"})


def test_a_saved_index_answers_as_before(index, scenes, tmp_path) -> None:
    index.save(tmp_path / "i")
    again = load_index(tmp_path / "i")
    assert isinstance(again, InstanceIndex)
    assert again.get_params() == index.get_params()
    queries = [Image.open(path).rotate(70) for path in scenes]
    one, other = index.query(queries, k=8), again.query(queries, k=8)
    for name in ("ids", "distances", "inliers", "regions", "labels"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    with pytest.raises(FileFormatError, match="featx instance index"):
        RetrievalIndex.load(tmp_path / "i")
    RetrievalIndex().fit(np.eye(3)).save(tmp_path / "vectors")
    assert isinstance(load_index(tmp_path / "vectors"), RetrievalIndex)
    with pytest.raises(FileFormatError, match="featx retrieval index"):
        InstanceIndex.load(tmp_path / "vectors")


def test_a_flipped_byte_is_found_or_changes_nothing(index, tmp_path) -> None:
    index.save(tmp_path / "i")
    data = bytearray((tmp_path / "i").read_bytes())
    rng, n_found = np.random.default_rng(0), 0
    query = scene(4)
    expected = index.query(query, k=8)
    for place in rng.integers(0, len(data), 150).tolist():
        damaged = bytearray(data)
        damaged[place] ^= 1 << int(rng.integers(8))
        (tmp_path / "d").write_bytes(damaged)
        try:
            again = load_index(tmp_path / "d").query(query, k=8)
        except FileFormatError:
            n_found += 1
            continue
        np.testing.assert_array_equal(again.distances, expected.distances)
    assert n_found > 130
    for n in (0, 100, len(data) // 2, len(data) - 1):
        (tmp_path / "d").write_bytes(data[:n])
        with pytest.raises(FileFormatError, match="index"):
            load_index(tmp_path / "d")


def test_clipping_keeps_what_two_polygons_share() -> None:
    rng = np.random.default_rng(0)
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    for _ in range(50):
        angle = np.sort(rng.uniform(0, 2 * np.pi, 4))
        region = np.stack([np.cos(angle), np.sin(angle)], 1) * rng.uniform(0.3, 1.5)
        region += rng.uniform(-0.5, 1.5, 2)
        expected, _ = cv2.intersectConvexConvex(region.astype(np.float32), square)
        clipped = clip_region(region)
        found = cv2.contourArea(clipped.astype(np.float32)) if len(clipped) else 0
        assert found == pytest.approx(expected, abs=1e-3)
        assert ((clipped >= 0) & (clipped <= 1)).all()
    for nothing in (None, np.full((4, 2), np.nan), square + 2):
        assert clip_region(nothing).shape == (0, 2)


def run(capsys, *words: str) -> dict:
    assert main([*map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_command_line_indexes_and_queries(scenes, tmp_path, capsys) -> None:
    gone = [*scenes, str(tmp_path / "gone.png")]
    store = tmp_path / "s.h5"
    write_features(store, np.eye(9), paths=gone, labels=[f"l{i}" for i in range(9)])
    result = run(capsys, "index", store, "--out", tmp_path / "i", "--kind", "instances")
    assert (result["n_samples"], result["kind"]) == (8, "instances")
    assert [f["path"] for f in result["failures"]] == gone[8:]
    assert result["bytes"] == (tmp_path / "i").stat().st_size
    scene(6).rotate(100, expand=True).save(tmp_path / "q.png")
    result = run(capsys, "query", tmp_path / "i", tmp_path / "q.png", "-k", "2")
    first, second = result["results"][0]["matches"]
    assert (first["path"], first["label"], len(first["region"])) == (scenes[6], "l6", 4)
    assert (second["inliers"], second["region"]) == (0, None)
    page = tmp_path / "page.html"
    run(capsys, "query", tmp_path / "i", tmp_path / "q.png", "-k", "2", "--html", page)
    assert page.read_text().count("<polygon") == 2  # in the query and in its match
    assert f"{first['inliers']} features agree" in page.read_text()
    words = ["query", tmp_path / "i", tmp_path / "q.png", "--max-distance", "1"]
    assert len(run(capsys, *words)["results"][0]["matches"]) == 1
    assert main(["query", str(tmp_path / "i"), str(tmp_path / "q.png"), "-k", "2"]) == 0
    shown = capsys.readouterr().out
    assert f"({first['inliers']} features agree)" in shown
    assert "(not verified)" in shown


def test_a_store_whose_images_are_gone_is_refused_in_one_line(tmp_path, capsys) -> None:
    write_features(tmp_path / "s.h5", np.eye(2), paths=["/gone/a.jpg", "/gone/b.jpg"])
    words = ["index", tmp_path / "s.h5", "--out", tmp_path / "i", "--kind", "instances"]
    assert main([str(word) for word in words]) == 1
    message = capsys.readouterr().err.strip()
    assert "found local features in none of 2" in message
    assert "/gone/a.jpg" in message
    assert not (tmp_path / "i").exists()
    assert main([*map(str, words), "--metric", "dot"]) == 1
    assert (
        "--metric: got 'dot' with --kind instances, which has no vectors"
        in capsys.readouterr().err
    )


def test_an_index_of_instances_refuses_what_it_cannot_answer(index, tmp_path, capsys) -> None:
    index.save(tmp_path / "i")
    for words in (["--rerank", "aqe"], ["--text", "a cat"]):
        assert main(["query", str(tmp_path / "i"), index.ids_[0], *words]) == 1
        assert "an index of instances" in capsys.readouterr().err
    write_features(tmp_path / "s.h5", np.eye(2), paths=["a.jpg", "b.jpg"])
    assert main(["query", str(tmp_path / "i"), str(tmp_path / "s.h5")]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "which compares images, expected images; give the folder" in err
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(StoreWriteError, match=r"note\.txt"):
        index.save(Path(tmp_path / "note.txt"))
