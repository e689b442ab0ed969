"""Decoding: the RGB that a person sees, from every mode and format, or a reason in one line."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile

from featx.errors import ImageDecodeError
from featx.images import decode_image


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def ramp(width=24, height=16):
    """Return an RGB image of which no two quadrants or mirror images look alike."""
    y, x = np.mgrid[:height, :width]
    colours = np.stack([x * 255 // width, y * 255 // height, (x + y) * 3], axis=-1)
    return Image.fromarray(colours.astype(np.uint8))


def decoded(data, **options):
    image = decode_image(data, **options)
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


@pytest.mark.parametrize(
    "kind", ["PNG", "BMP", "TIFF", "PPM", "WEBP"], ids=lambda kind: f"lossless {kind}"
)
def test_lossless_formats_come_out_as_they_went_in(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    np.testing.assert_array_equal(
        decoded(encoded(ramp(), kind, **options)), np.asarray(ramp()).astype(int)
    )


@pytest.mark.parametrize("kind", ["JPEG", "AVIF", "GIF"])
def test_lossy_formats_come_out_close(kind):
    error = np.abs(decoded(encoded(ramp(), kind)) - np.asarray(ramp()))
    assert error.mean() < 12


# What a viewer must do for each EXIF orientation, written down with numpy (EXIF 2.32, 0x0112).
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_every_orientation_comes_out_upright(orientation, kind):
    upright = np.asarray(ramp())
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](upright)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}
    out = decoded(encoded(stored, kind, exif=exif, **options.get(kind, {})))
    assert out.shape == upright.shape
    assert np.abs(out - upright).max() <= (4 if kind == "JPEG" else 0)


def test_an_upright_image_is_not_turned_again_when_it_is_given_as_an_image():
    """Orientation left in the metadata would turn the picture a second time."""
    exif = Image.Exif()
    exif[0x0112] = 6
    image = decode_image(encoded(ramp(), "JPEG", exif=exif))
    assert not image.info
    assert not dict(image.getexif())


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_laid_over_white(mode):
    image = Image.new(mode, (3, 1), 0)
    image.putdata([(0,) * (len(mode) - 1) + (alpha,) for alpha in (0, 128, 255)])
    np.testing.assert_allclose(decoded(encoded(image, "PNG"))[0, :, 0], [255, 127, 0], atol=1)


def test_transparent_palette_colour_and_tRNS_are_white():
    palette = Image.new("P", (2, 1), 0)
    palette.putpalette([200, 0, 0, 0, 200, 0])
    palette.putpixel((1, 0), 1)
    for kind in ("PNG", "GIF"):
        out = decoded(encoded(palette, kind, transparency=1))
        np.testing.assert_array_equal(out[0], [[200, 0, 0], [255, 255, 255]])
    np.testing.assert_array_equal(
        decoded(encoded(palette, "PNG", transparency=b"\xff\x80"))[0, 1], [127, 227, 127]
    )
    rgb = Image.new("RGB", (2, 1), (1, 2, 3))
    rgb.putpixel((1, 0), (9, 9, 9))
    out = decoded(encoded(rgb, "PNG", transparency=(1, 2, 3)))
    np.testing.assert_array_equal(out[0], [[255, 255, 255], [9, 9, 9]])
    out = decoded(encoded(Image.fromarray(np.array([[7, 8]], np.uint8)), "PNG", transparency=7))
    np.testing.assert_array_equal(out[0, :, 0], [255, 8])


def png_chunks(header, rows, *chunks):
    def chunk(name, data):
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    body = b"".join(chunk(*c) for c in (*chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body


def test_a_16_bit_colour_png_with_a_transparent_colour_is_read():
    """Pillow keeps the chunk's 16-bit colour beside pixels of 8 bits."""
    header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    data = png_chunks(
        header,
        b"\0" + struct.pack(">3H", 65535, 32768, 256),
        (b"tRNS", struct.pack(">3H", 1, 1, 1)),
    )
    np.testing.assert_array_equal(decoded(data)[0, 0], [255, 128, 1])


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_16_bit_greyscale_is_scaled_and_never_saturates(kind):
    values = np.array([[0, 255, 256, 12850, 32767, 65534, 65535]], np.uint16)
    grey = decoded(encoded(Image.fromarray(values), kind))[0, :, 0]
    np.testing.assert_array_equal(grey, np.rint(values[0] / 257))


def test_a_16_bit_tiff_whose_zero_is_white_is_inverted():
    values = np.array([[0, 65535]], np.uint16)
    data = encoded(Image.fromarray(values), "TIFF", tiffinfo={262: 0})
    np.testing.assert_array_equal(decoded(data)[0, :, 0], [255, 0])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 0.5, 1]], np.float32), [0, 128, 255]),
        (np.array([[0, 100.4, 255]], np.float32), [0, 100, 255]),
        (np.array([[0, 257, 65535]], np.float32), [0, 1, 255]),
        (np.array([[-1, 0, 1]], np.float32), [0, 128, 255]),
        (np.array([[np.nan, np.inf, 1]], np.float32), [0, 0, 255]),
        (np.array([[7, 7, 7]], np.float32), [7, 7, 7]),
        (np.array([[-5, -5, -5]], np.float32), [0, 0, 0]),
        (np.array([[0, 1, 255]], np.int32), [0, 1, 255]),
        (np.array([[0, 1_000_000, 2_000_000]], np.int32), [0, 128, 255]),
    ],
)
def test_32_bit_values_are_scaled_by_their_range(values, expected):
    grey = decoded(encoded(Image.fromarray(values), "TIFF"))[0, :, 0]
    np.testing.assert_array_equal(grey, expected)


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "LAB"])
def test_every_mode_looks_the_same_as_rgb(mode):
    patches = np.zeros((32, 96, 3), np.uint8)
    for i, colour in enumerate([(255, 255, 255), (0, 0, 0), (128, 128, 128)]):
        patches[:, i * 32 : (i + 1) * 32] = colour
    rgb = Image.fromarray(patches)
    if mode == "LAB":
        lab = np.zeros((32, 96, 3), np.uint8)
        lab[:, :32, 0], lab[:, 64:, 0] = 255, 137  # L* of sRGB 128 is 53.6 of 100
        image = Image.frombytes("LAB", (96, 32), lab.tobytes())
    else:
        image = rgb.convert(mode)
    out = decoded(
        encoded(image, "TIFF" if mode in ("LAB", "YCbCr") else "PNG" if mode != "CMYK" else "JPEG")
    )
    means = out.reshape(32, 3, 32, 3).mean(axis=(0, 2, 3))
    np.testing.assert_allclose(means, [255, 0, 128], atol=6)


def test_an_adobe_cmyk_jpeg_is_not_inverted():
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    data = encoded(red, "JPEG", quality=95)
    assert b"Adobe" in data
    np.testing.assert_allclose(decoded(data).mean(axis=(0, 1)), [255, 0, 0], atol=6)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_frame_is_taken(kind):
    frames = [Image.new("RGB", (8, 8), c) for c in ("red", "lime", "blue")]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    np.testing.assert_allclose(decoded(data).mean(axis=(0, 1)), [255, 0, 0], atol=3)


@pytest.mark.parametrize(
    ("min_px", "short"), [(None, 600), (500, 600), (300, 300), (151, 300), (75, 75), (8, 75)]
)
def test_a_jpeg_is_reduced_as_far_as_the_target_allows(min_px, short):
    data = encoded(ramp(800, 600), "JPEG")
    assert min(decode_image(data, min_px=min_px).size) == short


def test_a_png_named_jpg_is_read_by_its_content(tmp_path):
    path = tmp_path / "photo.jpg"
    ramp().save(path, "PNG")
    np.testing.assert_array_equal(np.asarray(decode_image(path)), np.asarray(ramp()))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"hello, I am text", "begins with b'hello, I am text'"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "not a JPEG"),
        (
            encoded(ramp(), "JPEG")[:-40],
            "damaged JPEG file of 24 x 16 px: image file is truncated",
        ),
        (encoded(ramp(), "PNG")[:70], "damaged PNG file"),
        (b"P6 0 0 255\n", "PPM"),
    ],
)
def test_bad_content_is_a_reason_on_one_line(data, reason):
    with pytest.raises(ImageDecodeError, match=reason) as caught:
        decode_image(data)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read_are_reasons_without_their_path(tmp_path):
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    cases = {"none.jpg": "No such file", "folder.jpg": "is a folder", "pipe.jpg": "not a regular"}
    for name, reason in cases.items():
        with pytest.raises(ImageDecodeError, match=reason) as caught:
            decode_image(tmp_path / name)
        assert str(tmp_path) not in str(caught.value)
    with pytest.raises(ImageDecodeError, match="not a path"):
        decode_image("nul\0.jpg")


def test_a_bomb_is_refused_from_its_header():
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = png_chunks(header, b"\0" * 100)
    with pytest.raises(
        ImageDecodeError, match="60000 x 60000 = 3600000000 pixels, expected at most"
    ):
        decode_image(bomb)
    with pytest.raises(ImageDecodeError, match="24 x 16 = 384 pixels, expected at most 383"):
        decode_image(encoded(ramp(), "PNG"), max_pixels=383)


def test_pillows_own_size_check_is_not_asked(monkeypatch):
    """It warns on the terminal and is a global setting, which another library may have lowered."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200)
    assert decode_image(encoded(ramp(30, 10), "PNG")).size == (30, 10)
    assert decode_image(encoded(ramp(100, 10), "GIF")).size == (100, 10)


def test_global_state_of_pillow_is_left_alone():
    before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
    with pytest.raises(ImageDecodeError, match="truncated"):
        decode_image(encoded(ramp(), "JPEG")[:-40])
    after = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
    assert after == before


NOISY = """
import sys, warnings
from featx.images import decode_image
from featx.errors import ImageDecodeError
warnings.simplefilter("always")
try:
    decode_image(sys.stdin.buffer.read())
except ImageDecodeError:
    pass
sys.stderr.write("still there\\n")
warnings.warn("still warned")
"""


def test_libtiff_writes_nothing_to_the_terminal():
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8))
    data = bytearray(encoded(image, "TIFF", compression="tiff_lzw"))
    data[200:260] = b"\xff" * 60
    # That Pillow alone is noisy here shows that the test can fail.
    plain = (
        "import sys, io; from PIL import Image; from contextlib import suppress\n"
        "with suppress(OSError): Image.open(io.BytesIO(sys.stdin.buffer.read())).load()"
    )
    run = {"input": bytes(data), "capture_output": True, "check": True, "timeout": 60}
    assert subprocess.run([sys.executable, "-c", plain], **run).stderr
    stderr = subprocess.run([sys.executable, "-c", NOISY], **run).stderr.decode()
    assert stderr.startswith("still there\n")
    assert "still warned" in stderr
    assert "LZW" not in stderr
    assert "code not yet" not in stderr


BORROWED = """
import os, sys
from featx.images._quiet import no_stderr
if sys.argv[2] == "closes it":
    os.close(2)
file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
assert file == 2
with no_stderr:
    os.write(file, b"a row of somebody's")
"""


@pytest.mark.skipif(os.name == "nt", reason="needs a shell that closes a descriptor")
@pytest.mark.parametrize("how", ["starts without", "closes it"])
def test_a_file_that_is_descriptor_2_loses_nothing_while_an_image_is_decoded(tmp_path, how):
    command = [sys.executable, "-c", BORROWED, str(tmp_path / "file"), how]
    redirect = "2>&-" if how == "starts without" else "2>/dev/null"
    subprocess.run(["sh", "-c", f'exec "$0" "$@" {redirect}', *command], check=True)
    assert (tmp_path / "file").read_bytes() == b"a row of somebody's"


READ_WITHOUT_STDIO = """
import json, os, sys
from featx.images import ImagePreprocessor
from featx.images.loader import iter_batches
from featx.recipe import Preprocessing
for descriptor in (0, 1, 2):
    os.close(descriptor)
preprocessor = ImagePreprocessor(Preprocessing())
batches = iter_batches([sys.argv[1]] * 3, preprocessor, batch_size=3, workers=1)
good = [position for batch in batches for position in batch.good.tolist()]
open(sys.argv[2], "w").write(json.dumps(good))
"""


def test_reader_processes_work_without_standard_streams(tmp_path):
    Image.new("RGB", (300, 200)).save(tmp_path / "a.png")
    files = [str(tmp_path / "a.png"), str(tmp_path / "read.json")]
    subprocess.run([sys.executable, "-c", READ_WITHOUT_STDIO, *files], check=True, timeout=60)
    assert json.loads((tmp_path / "read.json").read_text()) == [0, 1, 2]
