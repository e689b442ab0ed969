"""Images in any form become a flat list of sources."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from featx.errors import ParameterError
from featx.fingerprint import array_digest
from featx.images.inputs import as_sources, as_uint8_rgb, source_digest


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_paths_in_every_form_are_text():
    expected = ["a.jpg", "b.jpg"]
    assert as_sources("a.jpg") == as_sources(Path("a.jpg")) == ["a.jpg"]
    for paths in (
        ["a.jpg", Path("b.jpg")],
        np.array(expected),
        np.array(expected, object),
        np.array(expected, object)[:, None],
        (p for p in expected),
    ):
        assert as_sources(paths) == expected


def test_arrays_and_tensors_give_the_same_pixels_and_digest():
    batch = noise(3, 5, 7, 3)
    tensor = torch.from_numpy(batch).permute(0, 3, 1, 2)
    forms = [
        batch,
        list(batch),
        tensor,
        list(tensor),
        tensor / 255,
        [Image.fromarray(a) for a in batch],
    ]
    for form in forms:
        sources = as_sources(form)
        assert len(sources) == 3
        for source, expected in zip(sources, batch, strict=True):
            np.testing.assert_array_equal(as_uint8_rgb(source), expected)
            assert source_digest(source) == array_digest(expected)


def test_single_images_and_mixed_lists_are_taken():
    array = noise(5, 7, 3)
    assert len(as_sources(array)) == len(as_sources(Image.fromarray(array))) == 1
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    assert len(as_sources([array, "a.jpg", noise(2, 5, 7, 3), tensor])) == 5


def test_the_digest_of_a_path_is_that_of_its_bytes(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"content")
    expected = hashlib.sha256(b"content").hexdigest()
    assert source_digest(str(tmp_path / "a.jpg")) == expected


def test_a_pil_image_is_converted_as_a_file_would_be(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("LA", (4, 2), (0, 0)).save(tmp_path / "a.png", exif=exif)
    pixels = as_uint8_rgb(Image.open(tmp_path / "a.png"))
    assert pixels.shape == (4, 2, 3)
    assert (pixels == 255).all()


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (7, "images: got int 7"),
        (["a.jpg", None], r"images\[1\]: got NoneType None"),
        (np.zeros((2, 4, 4, 3)), r"images: got an array of float64.*scale to 0..255"),
        ([np.zeros((4, 4), np.uint8)], r"images\[0\]: got an array of uint8, shape \(4, 4\)"),
        (np.zeros((3, 4), np.float32), "images: got an array of float32"),
        (np.zeros((4, 0, 3), np.uint8), "got 4 x 0 pixels"),
        (torch.zeros(4, 4, 3), r"got a tensor of torch.float32, shape \(4, 4, 3\)"),
        ([torch.full((3, 2, 2), 2.0)], r"images\[0\]: .*from 2 to 2, expected \[0, 1\]"),
        (torch.full((3, 2, 2), float("nan")), "from nan to nan"),
        (torch.zeros((3, 2, 2), dtype=torch.int64), "tensor of torch.int64"),
        ({"a.jpg": 1}, "images: got dict"),
        (b"bytes", "images: got bytes"),
        (np.array([["a", "b"]]), r"shape \(1, 2\)"),
    ],
)
def test_what_is_no_image_is_named_with_its_index(images, message):
    with pytest.raises(ParameterError, match=message):
        as_sources(images)
