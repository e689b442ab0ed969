"""The search server on an index of instances."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from featx.errors import ParameterError
from featx.retrieval import InstanceIndex, find_in_query
from featx.serve import ServeOptions, create_app, open_service

TOKEN = "a-token-of-tests"
PNG = {"content-type": "image/png"}
BEARER = {"authorization": f"Bearer {TOKEN}", **PNG}


def picture(seed: int) -> Image.Image:
    """Return blocks of colour that no other seed gives."""
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), np.uint8)
    return Image.fromarray(pixels.repeat(20, 0).repeat(20, 1))


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def folder(tmp_path):
    paths = [str(tmp_path / f"{i}.png") for i in range(4)]
    for i, path in enumerate(paths):
        picture(i).save(path)
    InstanceIndex().fit(paths, labels=["a", "a", "b", "b"]).save(tmp_path / "i")
    return tmp_path


def serve(folder, **options) -> TestClient:
    service = open_service(str(folder / "i"), options=ServeOptions(rate=0, **options))
    return TestClient(create_app(service), base_url="http://127.0.0.1:8000")


def test_an_image_is_answered_with_inliers_and_regions(folder) -> None:
    with serve(folder) as client:
        turned = picture(2).rotate(90, expand=True)
        answer = client.post("/api/query?k=4", content=png(turned), headers=PNG).json()
        first, *others = answer["matches"]
        assert (first["row"], first["label"]) == (2, "b")
        assert first["inliers"] > 50
        assert first["distance"] == pytest.approx(1 / (1 + first["inliers"]), rel=0.01)
        corners = find_in_query(np.array(first["region"], np.float32))
        expected = [[0, 1], [0, 0], [1, 0], [1, 1]]  # turned against the clock
        np.testing.assert_allclose(corners, expected, atol=0.03)
        assert [(m["inliers"], m["region"]) for m in others] == [(0, None)] * 3
        answer = client.post("/api/query?k=4&label=a", content=png(turned), headers=PNG).json()
        assert [m["row"] for m in answer["matches"]] in ([0, 1], [1, 0])
        answer = client.get(f"/api/neighbours/{first['row']}?k=3").json()
        assert len(answer["matches"]) == 3
        assert 2 not in [m["row"] for m in answer["matches"]]
        assert client.get("/api/index").json()["metric"] == "instances"
        assert b"featx_images_total 3.0" in client.get("/metrics").content
        assert client.post("/api/embed", content=png(turned), headers=PNG).status_code == 422
        assert client.get("/api/query?text=dog").status_code in (405, 422)
        (folder / "1.png").unlink()
        assert client.get("/api/neighbours/1").status_code == 404


def test_images_are_added_and_removed(folder) -> None:
    with serve(folder, writable=True, token=TOKEN) as client:
        new = png(picture(9))
        added = client.post("/api/add?label=c", content=new, headers=BEARER).json()
        assert (added["row"], added["n_samples"]) == (4, 5)
        answer = client.post("/api/query?k=1", content=new, headers=BEARER).json()
        assert (answer["matches"][0]["row"], answer["matches"][0]["label"]) == (4, "c")
        client.delete("/api/images/2", headers=BEARER).raise_for_status()
        answer = client.post("/api/query?k=9", content=png(picture(2)), headers=BEARER).json()
        assert [m["inliers"] for m in answer["matches"]] == [0] * 4
    assert InstanceIndex.load(folder / "i").labels_.tolist() == ["a", "a", "b", "c"]


def test_a_model_of_vectors_is_refused(folder) -> None:
    with pytest.raises(ParameterError, match="an index of instances"):
        open_service(str(folder / "i"), model=str(folder / "model"), options=ServeOptions())
