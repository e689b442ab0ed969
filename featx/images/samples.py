"""Where the sample images are: beside an editable checkout, or inside an installed package."""

from __future__ import annotations

from pathlib import Path

from featx.errors import ManifestError

__all__ = ["sample_data_dir"]

PACKAGE = Path(__file__).resolve().parents[1]


def sample_data_dir() -> Path:
    """Return the folder of the sample images that come with featx.

    The images are stored once, in ``data/samples`` of the repository; a wheel carries them as
    ``featx/_samples``. Below are ``objects``, ``scenes``, ``fine_grained`` (a folder per class),
    ``attributes`` (images and ``attributes.csv``) and ``instances`` (a folder per poster).

    Returns
    -------
    pathlib.Path
        An absolute path.

    Raises
    ------
    ManifestError
        If neither place holds them: the package was built or copied without its data.

    Examples
    --------
    >>> sorted(p.name for p in sample_data_dir().iterdir())
    ['attributes', 'fine_grained', 'instances', 'objects', 'scenes']
    """
    places = (PACKAGE / "_samples", PACKAGE.parent / "data" / "samples")
    for place in places:
        if (place / "objects").is_dir():
            return place
    raise ManifestError(
        f"sample images: found neither {str(places[0])!r} nor {str(places[1])!r}, expected one "
        "folder with objects, scenes, fine_grained, attributes and instances; install featx from "
        "its wheel or from a full checkout"
    )
