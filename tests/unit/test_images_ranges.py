"""The picture is to be seen: few bits in many, white on transparency, cut files, previews."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import threading
import zlib

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFile

from featx.errors import ImageDecodeError
from featx.images import decode_image
from featx.images._formats import _decoder, decode_webp
from featx.images.inputs import as_uint8_rgb
from featx.images.thumbnail import thumbnail_jpeg

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (12, 16))
GREY[0, 0] = 255  # so that every bit depth is used to its end


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def decoded(data, **options):
    return np.asarray(decode_image(data, **options)).astype(int)


def png16(samples, colour_type, *chunks):
    """Write a 16-bit PNG by hand: Pillow writes none with colours."""

    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    height, width = samples.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    head = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    body = [(b"IHDR", head), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in body)


def tiff(samples, order, *, photometric=2, extra=None, dtype="u2", packed=False, **tags):
    """Write a TIFF by hand, in either order of bytes."""
    height, width, bands = samples.shape
    sample = np.dtype(order + dtype)
    entries = {
        256: (4, [width]), 257: (4, [height]), 258: (3, [8 * sample.itemsize] * bands),
        259: (3, [8 if packed else 1]), 339: (3, ["uif".index(sample.kind) + 1] * bands),
        262: (3, [photometric]), 273: (4, [0]), 277: (3, [bands]), 278: (4, [height]),
        279: (4, [0]),
    }  # fmt: skip
    if extra is not None:
        entries[338] = (3, [extra])
    entries |= {int(tag[1:]): value for tag, value in tags.items()}
    is_apart = entries.get(284) == (3, [2])
    beside, at = b"", 8 + 2 + 12 * len(entries) + 4
    n_planes = bands if is_apart else 1
    samples = np.moveaxis(samples, -1, 0) if is_apart else samples
    data = samples.astype(sample).tobytes()
    data = zlib.compress(data) if packed else data
    plane_bytes = len(data) // n_planes
    entries[273] = (4, [at + 2000 + i * plane_bytes for i in range(n_planes)])
    entries[279] = (4, [plane_bytes] * n_planes)
    ifd = struct.pack(order + "H", len(entries))
    for tag in sorted(entries):
        kind, values = entries[tag]
        body = struct.pack(f"{order}{len(values)}{'HI'[kind == 4]}", *values)
        if len(body) > 4:
            field = struct.pack(order + "I", at + len(beside))
            beside += body
        else:
            field = body.ljust(4, b"\0")
        ifd += struct.pack(order + "HHI", tag, kind, len(values)) + field
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    return head + ifd + b"\0" * 4 + beside.ljust(2000, b"\0") + data


# -- few bits in many ---------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("how", ["PNG", "TIFF", "tiff_lzw", "big-endian", "I", "F"])
def test_grey_of_any_depth_comes_out_in_its_own_range(bits, how):
    white = (1 << bits) - 1
    samples = np.rint(GREY * white / 255).astype(np.uint16)
    if how == "big-endian":
        data = tiff(samples[..., None], ">", photometric=1)
    elif how in ("I", "F"):
        data = encoded(Image.fromarray(samples.astype("i4" if how == "I" else "f4")), "TIFF")
    elif how == "tiff_lzw":
        data = encoded(Image.fromarray(samples), "TIFF", compression=how)
    else:
        data = encoded(Image.fromarray(samples), how)
    np.testing.assert_array_equal(decoded(data)[..., 0], np.rint(samples / white * 255))


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("bands", [3, 4])
@pytest.mark.parametrize("how", ["PNG", "<", ">"])
def test_colours_of_any_depth_come_out_in_their_own_range(bits, bands, how):
    white = (1 << bits) - 1
    colours = RNG.integers(0, white + 1, (6, 7, bands))
    colours[0, 0], colours[..., 3:] = white, white
    if how == "PNG":
        data = png16(colours, {3: 2, 4: 6}[bands])
    else:
        data = tiff(colours, how, extra=None if bands == 3 else 2)
    difference = decoded(data) - colours[..., :3] * 255 / white
    # Of colours that use all 16 bits Pillow keeps the high byte, as before.
    assert np.abs(difference).max() <= (1 if bits == 16 else 0.5)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("bits", "bands"), [(16, 3), (12, 3), (16, 4), (16, 1), (12, 1)])
def test_colours_of_16_bits_that_lie_apart_are_read_as_such(bits, bands, order):
    """Pillow takes the planes of such a TIFF for planes of 8 bits."""
    samples = RNG.integers(0, 1 << bits, (6, 7, bands))
    samples[0, 0], samples[..., 3:] = (1 << bits) - 1, (1 << bits) - 1
    options = {"photometric": 1} if bands == 1 else {"extra": 2} if bands == 4 else {}
    found = decoded(tiff(samples, order, t284=(3, [2]), **options))
    assert np.abs(found - samples[..., :3] * 255 / ((1 << bits) - 1)).max() <= 1


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "f4"])
def test_tiff_samples_are_read_as_the_numbers_that_they_are(dtype, order, packed):
    """Pillow forgets the order of compressed ones, and the sign, and says nothing."""
    if (dtype, order) == ("u4", ">"):
        pytest.skip("Pillow refuses these, which is said")
    low, high = (0, 1) if dtype == "f4" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    grey = GREY.copy()
    grey[0, 1] = 0
    samples = (low + grey / 255 * (high - low))[..., None]
    samples = np.rint(samples) if dtype != "f4" else samples
    data = tiff(samples, order, photometric=1, dtype=dtype, packed=packed)
    assert np.abs(decoded(data)[..., 0] - grey).max() <= 1


@pytest.mark.parametrize("dtype", ["u2", "f4"])
def test_a_tiff_whose_zero_is_white_is_turned_over(dtype):
    samples = GREY[..., None] * (257 if dtype == "u2" else 1 / 255)
    data = tiff(samples, "<", photometric=0, dtype=dtype)
    np.testing.assert_array_equal(decoded(data)[..., 0], 255 - GREY)


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_tiff_palette_of_8_bits_is_not_black(order):
    """Old programs left 8 bits where the format has 16, as libtiff expects of them too."""
    colours = RNG.integers(0, 256, (256, 3))
    index = RNG.integers(0, 256, (6, 7, 1))
    for scale in (1, 257):
        table = (3, [int(value) for value in colours.T.reshape(-1) * scale])
        data = tiff(index, order, photometric=3, dtype="u1", t320=table)
        np.testing.assert_array_equal(decoded(data), colours[index[..., 0]])


def test_a_whole_file_of_an_unknown_kind_is_not_called_damaged():
    data = tiff(np.ones((4, 4, 3)), "<", dtype="f4")
    with pytest.raises(ImageDecodeError, match=r"^unsupported TIFF file: unknown pixel mode"):
        decode_image(data)


def test_grey_with_alpha_of_few_bits_is_scaled_and_laid_over_white():
    samples = np.zeros((1, 3, 2))
    samples[0] = [[4095, 4095], [0, 4095], [0, 0]]
    np.testing.assert_array_equal(decoded(png16(samples, 4))[0, :, 0], [255, 0, 255])


def test_what_the_file_declares_is_white():
    dark = np.full((4, 4), 700, np.uint16)
    assert decoded(encoded(Image.fromarray(dark), "TIFF")).max() == round(700 * 255 / 1023)
    for order in "<>":
        data = tiff(dark[..., None], order, photometric=1, t281=(3, [4095]))
        assert decoded(data).max() == round(700 * 255 / 4095)
        data = tiff(dark[..., None], order, photometric=1, t281=(3, [65535]))
        assert decoded(data).max() == round(700 / 257)
    twelve = (b"sBIT", b"\x0c")
    assert decoded(png16(dark[..., None], 0, twelve)).max() == round(700 * 255 / 4095)
    # As PNG asks for, an encoder may have scaled up what it declares.
    assert decoded(png16(dark[..., None] << 4, 0, twelve)).max() == round((700 << 4) / 257)


def test_a_picture_of_all_sixteen_bits_is_what_it_was():
    samples = RNG.integers(0, 65536, (9, 9), dtype=np.uint16)
    samples[0, 0] = 40000
    for kind in ("PNG", "TIFF", "PPM"):
        data = encoded(Image.fromarray(samples), kind)
        np.testing.assert_array_equal(decoded(data)[..., 0], np.rint(samples / 257))


def test_a_dark_ppm_keeps_the_white_of_its_header():
    dark = b"P5 2 1 4095\n" + np.array([0, 600], ">u2").tobytes()
    assert decoded(dark).max() == pytest.approx(600 * 255 / 4095, abs=1)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0, 0.5, 1.25], [0, 102, 255]), ([0, 1, 4], [0, 1, 4]), ([0, 2047.5, 4095], [0, 128, 255])],
)
def test_floats_that_are_no_levels_are_scaled_to_their_largest(values, expected):
    data = encoded(Image.fromarray(np.array([values], np.float32)), "TIFF")
    np.testing.assert_array_equal(decoded(data)[0, :, 0], expected)


def test_a_black_picture_stays_black():
    for data in (
        encoded(Image.fromarray(np.zeros((4, 4), np.uint16)), "PNG"),
        png16(np.zeros((4, 4, 3)), 2),
    ):
        assert decoded(data).max() == 0


def test_images_in_memory_and_thumbnails_follow_the_same_rule():
    image = Image.fromarray((GREY * 16).astype(np.uint16))
    expected = decoded(encoded(image, "PNG"))
    np.testing.assert_array_equal(as_uint8_rgb(image), expected)
    small = np.asarray(Image.open(io.BytesIO(thumbnail_jpeg(image, 64).data)).convert("RGB"))
    assert np.abs(small - expected).mean() < 12


# -- white on transparency ----------------------------------------------------------------------


def drawing(shape, colour, size=(32, 32)):
    image = Image.new("RGBA", size, (*colour, 0))
    ImageDraw.Draw(image).polygon(shape, fill=(*colour, 255))
    return image


SHAPES = ([(2, 2), (28, 4), (10, 28)], [(5, 20), (30, 20), (16, 2)])


def stored(image, how):
    """Store a drawing in each of the ways in which files hold transparency."""
    if how == "LA":
        return encoded(image.convert("LA"), "PNG")
    if how in ("P", "GIF"):
        palette = Image.fromarray((np.asarray(image)[..., 3] > 0).astype("u1"), "P")
        palette.putpalette([*image.getpixel((0, 0))[:3]] * 2)
        return encoded(palette, "GIF" if how == "GIF" else "PNG", transparency=0)
    if how == "I;16":
        pixels = np.asarray(image).astype(np.uint16)
        grey = np.where(pixels[..., 3] > 0, pixels[..., 0] * 257, pixels[..., 0] * 257 - 1)
        key = (b"tRNS", struct.pack(">H", int(grey[0, 0])))
        return png16(grey[..., None], 0, key)
    return encoded(image, how, **({"lossless": True} if how == "WEBP" else {}))


@pytest.mark.parametrize("how", ["PNG", "LA", "P", "GIF", "WEBP", "TIFF", "I;16"])
@pytest.mark.parametrize("colour", [(255, 255, 255), (244, 244, 244)])
def test_white_drawings_on_transparency_differ(how, colour):
    found = [decoded(stored(drawing(shape, colour), how)) for shape in SHAPES]
    masks = [np.asarray(drawing(shape, colour))[..., 3] > 0 for shape in SHAPES]
    for pixels, mask in zip(found, masks, strict=True):
        assert pixels[~mask].max() == 0  # the ground is black
        assert pixels[mask].min() >= 243
    assert (found[0] != found[1]).any()


@pytest.mark.parametrize("colour", [(0, 0, 0), (200, 30, 30), (230, 255, 255)])
def test_drawings_that_can_be_seen_on_white_stay_on_white(colour):
    image = drawing(SHAPES[0], colour)
    found = decoded(encoded(image, "PNG"))
    mask = np.asarray(image)[..., 3] > 0
    assert found[~mask].min() == 255
    np.testing.assert_array_equal(found[mask], np.broadcast_to(colour, (mask.sum(), 3)))


def test_what_shows_nothing_at_all_stays_blank():
    for colour in (0, 255):
        clear = Image.new("RGBA", (8, 8), (colour, colour, colour, 0))
        assert decoded(encoded(clear, "PNG")).min() == 255
    opaque = Image.new("RGBA", (8, 8), (255, 255, 255, 255))
    assert decoded(encoded(opaque, "PNG")).min() == 255


def test_the_ground_is_that_of_the_whole_picture_not_of_each_strip(monkeypatch):
    monkeypatch.setattr("featx.images._deep.STRIP_PIXELS", 64)
    image = drawing(SHAPES[0], (255, 255, 255))
    ImageDraw.Draw(image).rectangle((0, 30, 31, 31), fill=(10, 10, 10, 255))
    found = decoded(encoded(image, "PNG"))
    assert found[0, 31].tolist() == [255, 255, 255]
    assert found[31, 31].tolist() == [10, 10, 10]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "I;16", "I", "F"])
def test_strips_change_no_pixel(mode, monkeypatch):
    image = {
        "RGBA": lambda: Image.fromarray(RNG.integers(0, 256, (33, 21, 4), dtype=np.uint8)),
        "LA": lambda: Image.fromarray(RNG.integers(0, 256, (33, 21, 2), dtype=np.uint8), "LA"),
    }.get(mode, lambda: Image.fromarray(RNG.integers(0, 60000, (33, 21)).astype("<u2")))()
    image = image if mode in ("RGBA", "LA", "I;16") else image.convert(mode)
    data = encoded(image, "PNG" if mode in ("RGBA", "LA") else "TIFF")
    whole = decoded(data)
    monkeypatch.setattr("featx.images._deep.STRIP_PIXELS", 50)
    np.testing.assert_array_equal(decoded(data), whole)


# -- files that are cut, and how much memory a pixel takes --------------------------------------


def cut_files():
    for kind, options in (("JPEG", {}), ("PNG", {}), ("GIF", {}), ("TIFF", {}), ("BMP", {})):
        noise = Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8))
        data = encoded(noise, kind, **options)
        yield kind, data[: len(data) * 3 // 4]


@pytest.mark.parametrize(
    ("kind", "data"), list(cut_files()), ids=lambda v: v if isinstance(v, str) else ""
)
def test_a_cut_file_is_bad_whatever_the_user_has_set(kind, data, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    Image.open(io.BytesIO(data)).load()  # so Pillow is content with it
    with pytest.raises(ImageDecodeError):
        decode_image(data)
    assert ImageFile.LOAD_TRUNCATED_IMAGES  # as the user has set it


def test_the_users_setting_comes_back_after_threads_that_overlap(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    _, data = next(cut_files())

    def read():
        for _ in range(20):
            with pytest.raises(ImageDecodeError):
                decode_image(data)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ImageFile.LOAD_TRUNCATED_IMAGES


PEAK = """
import sys
from featx.images import decode_image
def peak():
    with open("/proc/self/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmHWM")) * 1024
data = open(sys.argv[1], "rb").read()
before = peak()
image = decode_image(data)
print((peak() - before) / image.width / image.height)
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="reads Linux' own figure")  # noqa: PTH110
@pytest.mark.parametrize("how", ["RGBA", "turned", "LA", "P", "I;16", "F", "CMYK", "WEBP"])
def test_a_decoded_pixel_takes_at_most_ten_bytes(how, tmp_path):
    side = 4000
    noise = Image.fromarray(RNG.integers(0, 256, (40, 40, 4), dtype=np.uint8)).resize((side, side))
    exif = Image.Exif()
    exif[0x0112] = 6
    make = {
        "RGBA": lambda: encoded(noise, "PNG", compress_level=1),
        "turned": lambda: encoded(noise, "PNG", compress_level=1, exif=exif),
        "LA": lambda: encoded(noise.convert("LA"), "PNG", compress_level=1),
        "P": lambda: encoded(noise.convert("P"), "PNG", transparency=3),
        "I;16": lambda: encoded(noise.convert("L").convert("I;16"), "PNG", compress_level=1),
        "F": lambda: encoded(noise.convert("F"), "TIFF", compression="tiff_adobe_deflate"),
        "CMYK": lambda: encoded(noise.convert("CMYK"), "JPEG"),
        "WEBP": lambda: encoded(noise, "WEBP", lossless=True, method=0),
    }
    if how == "WEBP" and _decoder("RGB") is None:
        pytest.skip("this Pillow hides its libwebp")
    (tmp_path / "x").write_bytes(make[how]())
    words = [sys.executable, "-c", PEAK, str(tmp_path / "x")]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=120)
    assert float(done.stdout) <= 10


@pytest.mark.parametrize("options", [{"lossless": True}, {"quality": 60}])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_webp_pixels_are_those_of_pillow(mode, options):
    image = Image.fromarray(RNG.integers(0, 256, (37, 53, len(mode)), dtype=np.uint8), mode)
    data = encoded(image, "WEBP", **options)
    opened = Image.open(io.BytesIO(data))
    found = decode_webp(data, opened.size, has_alpha=opened.mode == "RGBA")
    if found is None:
        pytest.skip("this Pillow hides its libwebp")
    assert (found.mode, found.size) == (opened.mode, opened.size)
    np.testing.assert_array_equal(np.asarray(found), np.asarray(opened))


def test_formats_that_take_more_memory_may_have_fewer_pixels():
    frames = [Image.new("RGB", (30, 20), c) for c in ("red", "blue")]
    animated = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:])
    for data in (animated, encoded(frames[0], "AVIF")):
        assert decode_image(data, max_pixels=1200).size == (30, 20)
        with pytest.raises(ImageDecodeError, match=r"at most 599 .*twice the.*--max-pixels"):
            decode_image(data, max_pixels=1199)
    assert decode_image(encoded(frames[0], "WEBP"), max_pixels=600).size == (30, 20)


# -- cameras' raw files -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tags",
    [{"t254": (4, [1])}, {"t50706": (4, [1])}, {"photometric": 32803}],
    ids=["preview", "DNG", "colour filters"],
)
def test_a_camera_raw_file_is_not_read_as_its_preview(tags):
    data = tiff(np.full((4, 4, 3), 9), "<", **tags)
    with pytest.raises(ImageDecodeError, match=r"camera's raw file|unknown pixel mode"):
        decode_image(data)


def test_pages_of_documents_are_still_read():
    pages = [Image.new("RGB", (8, 8), c) for c in ("red", "blue")]
    data = encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    assert decode_image(data).getpixel((0, 0)) == (255, 0, 0)
    assert decoded(tiff(np.full((4, 4, 3), 65535), "<", t254=(4, [2]))).min() == 255
