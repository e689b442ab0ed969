"""Decode one image file into RGB, or say in one line why that cannot be done.

The format is told by content, never by name, and only formats of photographs are tried: Pillow
would otherwise run Ghostscript on an EPS file that calls itself ``.jpg``. Pillow's global settings
decide nothing: ``MAX_IMAGE_PIXELS`` is not asked, and ``LOAD_TRUNCATED_IMAGES`` is off meanwhile.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
from typing import Any, cast

from PIL import Image

from featx.errors import FeatxError, ImageDecodeError, hide_secrets
from featx.files.atomic import open_regular
from featx.files.http import MAX_FILE_BYTES
from featx.files.remote import RemoteFile, fetch, is_url, look, reason_of
from featx.images._deep import add_low_bytes, is_deep_colour, significant_bits
from featx.images._formats import (
    HEAD_BYTES,
    check_camera_raw,
    correct_tiff,
    decode_webp,
    has_heif_reader,
    is_heif,
    open_heif,
    with_sign,
)
from featx.images._quiet import no_stderr, no_truncated, no_warnings
from featx.images._rgb import orientation_of, to_rgb, turn

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "can_decode",
    "decode_image",
    "read_regular_file",
    "read_remote_file",
    "read_size",
]

DEFAULT_MAX_PIXELS = 178_956_970
MAX_REASON_CHARS = 200
# What Pillow says of files that are whole, but of a kind that it does not know.
UNSUPPORTED = re.compile(
    r"(?i)unknown pixel mode|unsupported|not (supported|available)|-bit layers"
)
SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that exchange width and height
# Formats whose decoders hold 16 bytes per pixel for a while, where others hold 8.
HEAVY = ("AVIF", "HEIF")

PLUGINS = {
    "JPEG": "JpegImagePlugin",
    "PNG": "PngImagePlugin",
    "GIF": "GifImagePlugin",
    "WEBP": "WebPImagePlugin",
    "BMP": "BmpImagePlugin",
    "TIFF": "TiffImagePlugin",
    "PPM": "PpmImagePlugin",
    "AVIF": "AvifImagePlugin",
}
for _plugin in PLUGINS.values():
    with contextlib.suppress(ImportError):  # AVIF came with Pillow 11.3
        importlib.import_module(f"PIL.{_plugin}")


def decode_image(
    source: str | os.PathLike[str] | bytes,
    *,
    min_px: int | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
) -> Image.Image:
    """Decode an image into the RGB that a person sees.

    EXIF orientation is applied; transparency is laid over white, or over black where white would
    hide the whole picture; CMYK, palettes, greyscale and 1 bit are converted; of several frames or
    pages the first is taken. Samples of more than 8 bits are scaled to the smallest of 8, 10, 12,
    14 and 16 bits that holds them all, or that the file declares, so that 12 bits in a 16-bit file
    are not black; floats up to 1 from 0 to 1.

    Parameters
    ----------
    source : path, URL or bytes
        A file, or the content of one.
    min_px : int, optional
        Length in pixels that the shorter side will be resized to. A JPEG is then decoded at 1/2,
        1/4 or 1/8 as long as its shorter side stays at least this. Default: every pixel is
        decoded, which takes up to four times as long on large photographs.
    max_pixels : int, default 178,956,970
        Largest width x height that the file's header may claim, checked before any pixel is
        decoded; half as many for AVIF, HEIF and animated WebP. Decoding takes up to 10 bytes per
        pixel of it (12 for a progressive JPEG), which is 1.7 GiB at the default, where Pillow
        refuses; a JPEG that is decoded at 1/8 takes a sixtieth, unless it is progressive.

    Returns
    -------
    PIL.Image.Image
        Mode RGB, loaded, tied to no file.

    Raises
    ------
    ImageDecodeError
        If the file is missing, empty, truncated, damaged, too large or no image; the message is
        one line without the path.

    Examples
    --------
    >>> import io
    >>> file = io.BytesIO()
    >>> Image.new("LA", (3, 2), (0, 0)).save(file, "PNG")
    >>> decode_image(file.getvalue()).getpixel((0, 0))
    (255, 255, 255)
    >>> decode_image(b"<html>")
    Traceback (most recent call last):
    featx.errors.ImageDecodeError: not a JPEG, PNG, ... file: it begins with b'<html>'
    """
    if is_url(source):
        data = read_remote_file(cast(str, source))[0]
    else:
        data = source if isinstance(source, bytes) else read_regular_file(source)[0]
    if not data:
        raise ImageDecodeError("the file is empty (0 bytes)")
    kind = _sniff(data)
    size = ""
    with (
        no_warnings,
        no_truncated,
        no_stderr if kind == "TIFF" else contextlib.nullcontext(),
    ):
        try:
            image = _open(kind, data)
            size = f" of {image.width} x {image.height} px"
            _check_size(image, kind, max_pixels)
            if min_px is not None and kind == "JPEG":
                image.draft("RGB", (min_px, min_px))
            rgb, orientation = _rgb_of(image, kind, data)
            del image  # two copies of the pixels are enough
            return _detach(rgb, orientation)
        except ImageDecodeError:
            raise
        except MemoryError as err:
            raise ImageDecodeError(f"not enough memory to decode a {kind} file{size}") from err
        # On hostile bytes Pillow's plugins raise nearly everything, SyntaxError and struct.error
        # included; each means the same here.
        except Exception as err:
            what = "unsupported" if UNSUPPORTED.search(str(err)) else "damaged"
            raise ImageDecodeError(f"{what} {kind} file{size}: {one_line(err)}") from err


def read_size(source: str | os.PathLike[str]) -> tuple[int, int, int]:
    """Return width and height in pixels, upright, and bytes of a file; no pixel is decoded.

    Parameters
    ----------
    source : path or URL
        A file.

    Raises
    ------
    ImageDecodeError
        If the file is missing, or no image.
    """
    is_far = is_url(source)
    data = (read_remote_file(str(source)) if is_far else read_regular_file(source))[0]
    kind = _sniff(data)
    with no_warnings, no_truncated:
        try:
            image = _open(kind, data)
            is_turned = orientation_of(image) in SIDEWAYS
        except Exception as err:  # as in `decode_image`
            raise ImageDecodeError(f"damaged {kind} file: {one_line(err)}") from err
    width, height = image.size
    return (height, width, len(data)) if is_turned else (width, height, len(data))


def can_decode(head: bytes) -> bool:
    r"""Say whether content that begins with `head` is of a format that can be read here.

    Examples
    --------
    >>> can_decode(b"\xff\xd8\xff\xe0"), can_decode(b"<html>")
    (True, False)
    """
    try:
        _sniff(head)
    except ImageDecodeError:
        return False
    return True


def _open(kind: str, data: bytes) -> Any:
    file = io.BytesIO(data)
    if kind == "HEIF":
        return open_heif(file)
    image = Image.OPEN[kind][0](file, "")
    if kind == "TIFF":
        correct_tiff(image)
    return image


def _sniff(data: bytes) -> str:
    """Return the name of the format that the content begins like."""
    prefix = data[:16]
    if is_heif(data[:HEAD_BYTES]):
        if not has_heif_reader():
            raise ImageDecodeError(
                "HEIF file (.heic), which needs a package that is not installed: "
                "pip install 'featx[heic]'"
            )
        return "HEIF"
    for kind in PLUGINS:
        if kind not in Image.OPEN:
            continue
        accept = Image.OPEN[kind][1]
        verdict = accept(prefix) if accept is not None else False
        if isinstance(verdict, str):
            raise ImageDecodeError(f"{kind} file, which this Pillow cannot read: {verdict}")
        if verdict:
            return kind
    known = [k for k in PLUGINS if k in Image.OPEN]
    raise ImageDecodeError(
        f"not a {', '.join(known[:-1])} or {known[-1]} file: it begins with {prefix!r}"
    )


def _check_size(image: Image.Image, kind: str, max_pixels: int) -> None:
    n_pixels = image.width * image.height
    if n_pixels == 0:
        raise ImageDecodeError(f"has no pixels: {image.width} x {image.height}")
    is_heavy = kind in HEAVY or (kind == "WEBP" and getattr(image, "is_animated", False))
    most = max_pixels // (2 if is_heavy else 1)
    if n_pixels > most:
        why = f" for {kind}, which takes twice the memory" if is_heavy else ""
        raise ImageDecodeError(
            f"too large: the header says {image.width} x {image.height} = {n_pixels} pixels, "
            f"expected at most {most}{why}; allow for more with max_pixels (--max-pixels)"
        )


def _rgb_of(image: Any, kind: str, data: bytes) -> tuple[Image.Image, int]:
    """Return an opened image as RGB, and its orientation; only the RGB is left in memory."""
    if kind == "TIFF":
        check_camera_raw(image, data)
    if kind == "PNG" and (bits := significant_bits(data)):
        image.info["sBIT"] = bits
    loaded = None
    if kind == "WEBP":
        loaded = decode_webp(data, image.size, has_alpha=image.mode == "RGBA")
    if loaded is None:
        is_deep = is_deep_colour(image)
        image.load()
        loaded = _restore_low_bytes(image, kind, data) if is_deep else with_sign(image)
    return to_rgb(loaded), orientation_of(image)


def _restore_low_bytes(image: Any, kind: str, data: bytes) -> Any:
    """Return 16-bit colours, of which Pillow has kept the high bytes, with their low ones."""
    key = image.info.get("transparency")
    if isinstance(key, tuple):  # a colour of 16 bits, which none of 8 bits may happen to equal
        is_exact = all(value % 257 == 0 for value in key)
        image.info["transparency"] = tuple(v // 257 for v in key) if is_exact else None
        if not is_exact:
            del image.info["transparency"]
    return add_low_bytes(image, lambda: _open(kind, data))


def _detach(image: Image.Image, orientation: int) -> Image.Image:
    """Turn upright, and drop the file's bytes and metadata, which would go wherever it goes."""
    image = turn(image, orientation)
    plain = Image.Image()._new(image.im)  # Pillow's own way to share pixels
    plain.info = {}
    return plain


def one_line(err: BaseException) -> str:
    """Return an exception's text on one line of at most 200 characters."""
    text = hide_secrets(" ".join(str(err).split())) or type(err).__name__
    return text if len(text) <= MAX_REASON_CHARS else f"{text[: MAX_REASON_CHARS - 1]}…"


def read_regular_file(path: str | os.PathLike[str]) -> tuple[bytes, os.stat_result]:
    """Read a file once, and make sure that it did not change meanwhile.

    Raises
    ------
    ImageDecodeError
        If it is missing, no regular file, over 2 GiB, or
        changed while it was read.
    """
    try:
        with open_regular(path) as file:
            before = os.fstat(file.fileno())
            _require_size(before.st_size)
            data = _read_all(file, before.st_size)
            after = os.fstat(file.fileno())
    except ImageDecodeError:
        raise
    except FileNotFoundError as err:
        raise ImageDecodeError("No such file") from err
    except OSError as err:
        raise ImageDecodeError(err.strerror or one_line(err)) from err
    except ValueError as err:  # a NUL character in the path
        raise ImageDecodeError(f"not a path: {one_line(err)}") from err
    except MemoryError as err:
        raise ImageDecodeError("not enough memory to read the file") from err
    if _identity(before) != _identity(after) or len(data) != after.st_size:
        raise ImageDecodeError("the file changed while it was read")
    return data, after


def read_remote_file(source: str | RemoteFile) -> tuple[bytes, RemoteFile]:
    """Read a file at a URL; with one request where a listing has told of it.

    Raises
    ------
    ImageDecodeError
        If it cannot be had, is over 2 GiB, or has another size than the listing said.
    """
    try:
        file = look(source) if isinstance(source, str) else source
        _require_size(file.size_bytes)
        data = fetch(file)
    except FeatxError as err:
        raise ImageDecodeError(one_line(err)) from err
    except MemoryError as err:
        raise ImageDecodeError("not enough memory to read the file") from err
    except Exception as err:  # each file system has its own
        raise ImageDecodeError(reason_of(err)) from err
    if file.size_bytes not in (-1, len(data)):
        raise ImageDecodeError(
            f"{len(data)} bytes came of {file.size_bytes}, or the file changed while it was read"
        )
    return data, file


def _require_size(n_bytes: int) -> None:
    if n_bytes > MAX_FILE_BYTES:
        raise ImageDecodeError(f"the file has {n_bytes} bytes, expected at most {MAX_FILE_BYTES}")


def _read_all(file: Any, size_bytes: int) -> bytes:
    # One byte more than expected, so that a file that grows is noticed.
    data: bytes = file.read(size_bytes + 1)
    while len(data) < size_bytes and (more := file.read(size_bytes + 1 - len(data))):
        data += more
    return data


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns
