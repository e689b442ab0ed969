"""How an encoder is run: what changes no feature beyond the published tolerance."""

from __future__ import annotations

from dataclasses import dataclass

from featx.errors import require_count

__all__ = ["RunOptions"]


@dataclass(frozen=True)
class RunOptions:
    """How an encoder is run. No field is part of a recipe.

    Parameters
    ----------
    device : str, default "auto"
        "cpu", "cuda", "cuda:1", ...; auto takes a GPU where there is one.
    engine : {"auto", "torch", "compile", "openvino"}, default "auto"
        What runs the network. "compile" is `torch.compile`: 1.5 to 1.7 times as fast on a GPU,
        after 15 to 20 s for each size of batch, for networks that are slower than reading.
        "openvino" (``pip install 'featx[openvino]'``) is faster on a CPU and gives torch's
        features to 1e-5 of the largest element in float32, so tables are shared. Auto takes it on
        a CPU where it is installed and agrees with torch on trial images: for 128 images or more,
        views counted, and for any number where the network's graph is kept (docs/deploy.md).
    batch_size : int, optional
        Images per forward pass: 32 on a CPU, 256 on a GPU, where it is halved until its memory
        takes it. More costs memory and seldom gains beyond 64 on a CPU.
    workers : int, optional
        Reader processes; default one per core for 64 files and more, else 0, which reads in this
        process.
    max_pixels : int, optional
        Largest image that is decoded; larger ones are failures. Default 178,956,970, half of it
        for AVIF and HEIF. A reader needs up to 12 bytes per pixel, but for large JPEGs, which
        shrink while they are decoded (``decode="reduced"``), a sixtieth of that.
    progress : bool, optional
        Default: a bar on a terminal, else a line every 10 s. False is silent.

    Raises
    ------
    ParameterError
        If a number is below its least.

    Examples
    --------
    >>> RunOptions(device="cpu", batch_size=8).batch_size
    8
    """

    device: str = "auto"
    engine: str = "auto"
    batch_size: int | None = None
    workers: int | None = None
    max_pixels: int | None = None
    progress: bool | None = None

    def __post_init__(self) -> None:
        for name in ("batch_size", "max_pixels"):
            if getattr(self, name) is not None:
                require_count(name, getattr(self, name))
