"""What the name of a network says by itself, before any source is asked."""

from __future__ import annotations

import os
from importlib.metadata import entry_points

from featx.errors import ParameterError

__all__ = ["HUB", "LOCAL", "PLUGINS", "is_own", "is_plugin", "split_folder"]

LOCAL, HUB = "local-dir:", "hf-hub:"  # as timm has them
PLUGINS = "featx.backbones"  # the group of entry points
# Behind these a folder may stand where another name could.
WITH_FOLDERS = ("clip/", "hf/")


def split_folder(
    name: str, weights: str | os.PathLike[str] | None
) -> tuple[str, str | os.PathLike[str] | None]:
    """Take the folder out of a name that ends in one: where it lies is no part of what it is.

    Parameters
    ----------
    name : str
        Of a network.
    weights : str, path or None
        As for `load_backbone`.

    Returns
    -------
    name : str
        What stands before the folder.
    weights : str, path or None
        The folder, where the name had one.

    Raises
    ------
    ParameterError
        If there are a folder and other weights.

    Examples
    --------
    >>> split_folder("local-dir:/data/vit", "default")
    ('local-dir:', '/data/vit')
    >>> split_folder("hf/facebook/dinov2-small", "default")
    ('hf/facebook/dinov2-small', 'default')
    """
    prefix = next((p for p in (LOCAL, *WITH_FOLDERS) if name.startswith(p)), None)
    folder = name.removeprefix(prefix or "")
    if not prefix or not folder or (prefix != LOCAL and not os.path.isdir(folder)):  # noqa: PTH112
        return name, weights
    if weights != "default":
        raise ParameterError(
            f"weights: got {weights!r} together with backbone {name!r}, which names a folder of "
            f"weights, expected one of the two: leave weights out, or name backbone {prefix!r}"
        )
    return prefix, folder


def is_own(name: str) -> bool:
    """Tell whether a name is that of a user's own module, ``module:Class``.

    Examples
    --------
    >>> [is_own(n) for n in ("resnet18", "__main__:Net", "hf-hub:timm/resnet18.a1_in1k")]
    [False, True, False]
    """
    return ":" in name.partition("/")[0] and not name.startswith((LOCAL, HUB))


def is_plugin(name: str) -> bool:
    """Tell whether a name is that of a network of another package, whose code may change."""
    prefix, slash, _ = name.partition("/")
    return bool(slash and entry_points(group=PLUGINS, name=prefix))
