"""Hostile bytes: whatever is in a file, reading it gives a result, never an exception."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from featx.images import ImagePreprocessor
from featx.images.reader import read_image
from featx.recipe import Preprocessing

PREPROCESSOR = ImagePreprocessor(Preprocessing(resize_px=16, crop_px=12))
SAVED = {
    "jpeg": ("JPEG", {}),
    "progressive jpeg": ("JPEG", {"progressive": True}),
    "png": ("PNG", {}),
    "gif": ("GIF", {}),
    "webp": ("WEBP", {}),
    "bmp": ("BMP", {}),
    "tiff": ("TIFF", {}),
    "lzw tiff": ("TIFF", {"compression": "tiff_lzw"}),
    "jpeg tiff": ("TIFF", {"compression": "jpeg"}),
    "ppm": ("PPM", {}),
    "avif": ("AVIF", {}),
}


def valid(name):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    kind, options = SAVED[name]
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(
        file, kind, **options, **({} if kind == "BMP" else {"exif": exif})
    )
    return file.getvalue()


VALID = {name: valid(name) for name in SAVED}
QUIET = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def check(path, data):
    path.write_bytes(data)
    image = read_image(str(path), PREPROCESSOR)
    assert image.size_bytes == len(data)
    assert len(image.digest) == 64
    if image.error is None:
        assert [v.shape for v in image.views] == [(12, 12, 3)]
    else:
        assert image.views is None
        assert "\n" not in image.error
        assert str(path) not in image.error
    return image


@pytest.mark.parametrize("name", SAVED)
def test_valid_files_are_good(tmp_path, name):
    assert check(tmp_path / "x", VALID[name]).error is None


@pytest.mark.parametrize("name", SAVED)
def test_a_file_cut_in_half_is_bad(tmp_path, name):
    assert check(tmp_path / "x", VALID[name][: len(VALID[name]) // 2]).error


@pytest.mark.parametrize("name", SAVED)
@QUIET
@given(data=st.data())
def test_truncations_never_raise(tmp_path, name, data):
    check(tmp_path / "x", VALID[name][: data.draw(st.integers(0, len(VALID[name])))])


@pytest.mark.parametrize("name", SAVED)
@QUIET
@given(data=st.data())
def test_overwritten_bytes_never_raise(tmp_path, name, data):
    content = bytearray(VALID[name])
    # Headers are short, so half of the edits are aimed there.
    for limit in (64, len(content)):
        at = data.draw(st.integers(0, min(limit, len(content)) - 1))
        patch = data.draw(st.binary(min_size=1, max_size=8))
        content[at : at + len(patch)] = patch
    check(tmp_path / "x", bytes(content))


@QUIET
@given(head=st.sampled_from(["", *SAVED]), n=st.integers(0, 40), tail=st.binary(max_size=300))
def test_random_bytes_after_any_formats_head_never_raise(tmp_path, head, n, tail):
    check(tmp_path / "x", (VALID[head][:n] if head else b"") + tail)
