"""Decode one image file into RGB, or say in one line why that cannot be done.

The format is told by content, never by name, and only formats of photographs are tried: Pillow
would otherwise run Ghostscript on an EPS file that calls itself ``.jpg``. No global state of
Pillow is touched: neither ``LOAD_TRUNCATED_IMAGES`` nor ``MAX_IMAGE_PIXELS``.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
from typing import Any, cast

from PIL import Image

from featx._files import open_regular
from featx._remote import RemoteFile, fetch, is_url, look, reason_of
from featx.errors import FeatxError, ImageDecodeError, hide_secrets
from featx.images._heif import HEAD_BYTES, has_heif_reader, is_heif, open_heif
from featx.images._quiet import no_stderr, no_warnings
from featx.images._rgb import to_rgb, upright

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "can_decode",
    "decode_image",
    "read_regular_file",
    "read_remote_file",
]

DEFAULT_MAX_PIXELS = 178_956_970
MAX_FILE_BYTES = 2 * 2**30
MAX_REASON_CHARS = 200

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

    EXIF orientation is applied; transparency is laid over white; CMYK, palettes, greyscale, 1 bit,
    16 bit and floats are converted; of several frames or pages the first is taken.

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
        decoded. The default is where Pillow refuses; an image of that size takes 0.5 GiB. It holds
        for reduced decoding too, since a progressive JPEG is held at full size whatever its scale.

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
    with no_warnings(), no_stderr() if kind == "TIFF" else contextlib.nullcontext():
        try:
            image = _open(kind, data)
            size = f" of {image.width} x {image.height} px"
            _check_size(image, max_pixels)
            if min_px is not None and kind == "JPEG":
                image.draft("RGB", (min_px, min_px))
            image.load()
            return _detached(upright(image, to_rgb(image)))
        except ImageDecodeError:
            raise
        except MemoryError as err:
            raise ImageDecodeError(f"not enough memory to decode a {kind} file{size}") from err
        # On hostile bytes Pillow's plugins raise nearly everything, SyntaxError and struct.error
        # included; each means the same here.
        except Exception as err:
            raise ImageDecodeError(f"damaged {kind} file{size}: {one_line(err)}") from err


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
    return open_heif(file) if kind == "HEIF" else Image.OPEN[kind][0](file, "")


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


def _check_size(image: Image.Image, max_pixels: int) -> None:
    n_pixels = image.width * image.height
    if n_pixels == 0:
        raise ImageDecodeError(f"has no pixels: {image.width} x {image.height}")
    if n_pixels > max_pixels:
        raise ImageDecodeError(
            f"too large: the header says {image.width} x {image.height} = {n_pixels} pixels, "
            f"expected at most {max_pixels}"
        )


def _detached(image: Image.Image) -> Image.Image:
    """Drop the file's bytes and metadata, which would travel wherever the image goes."""
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
