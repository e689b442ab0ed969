"""Options of an extraction as they are written, turned into values."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from featx.errors import ParameterError, nearest
from featx.extraction._options import RunOptions
from featx.extraction._ray import RayOptions
from featx.extraction._shards import Shard, shard_of
from featx.extraction.encoder import DEFAULT_BACKBONE, Encoder

if TYPE_CHECKING:
    from torch import nn

__all__ = ["read_options"]

OF_ENCODER = {f.name for f in dataclasses.fields(Encoder)} - {"recipe"}
OF_RUN = {f.name for f in dataclasses.fields(RunOptions)}


def read_options(
    encoder: Encoder | str | nn.Module,
    shard: str | tuple[int, int] | None,
    ray: RayOptions | None,
    options: dict[str, Any],
) -> tuple[Encoder, RunOptions, Shard | RayOptions | None]:
    """Return the encoder, how it is run, and how the work is spread.

    Raises
    ------
    ParameterError
        If there is no such option, or one is given twice.
    """
    unknown = [name for name in options if name not in {*OF_ENCODER, *OF_RUN}]
    if unknown:
        known = sorted({*OF_ENCODER, *OF_RUN})
        raise ParameterError(
            f"{unknown[0]}: got an option of this name, expected one of {', '.join(known)}."
            f"{nearest(unknown[0], known)}"
        )
    spread = _spread(shard, ray, engine=options.get("engine", "auto"))
    if isinstance(spread, RayOptions):
        options = {**options, "engine": "auto"}
    fields = {name: value for name, value in options.items() if name in OF_ENCODER}
    run = {name: value for name, value in options.items() if name in OF_RUN}
    if isinstance(encoder, Encoder):
        if fields:
            raise ParameterError(
                f"{next(iter(fields))}: got one together with an Encoder, expected it as a field "
                "of the Encoder: dataclasses.replace(encoder, ...) makes another one"
            )
        return encoder, RunOptions(**run), spread
    if "backbone" in fields and encoder != DEFAULT_BACKBONE:
        raise ParameterError(
            f"backbone: got {fields['backbone']!r} and {encoder!r}, expected one of the two"
        )
    return Encoder(**{"backbone": encoder, **fields}), RunOptions(**run), spread


def _spread(
    shard: str | tuple[int, int] | None, ray: RayOptions | None, *, engine: Any
) -> Shard | RayOptions | None:
    part = shard_of(shard)
    if engine != "ray":
        if ray is not None:
            raise ParameterError(f"ray: got options with engine {engine!r}, expected engine 'ray'")
        return part
    if part is not None:
        raise ParameterError(
            "shard: got one together with engine 'ray', which shares the work out itself; "
            "expected one of the two"
        )
    return ray or RayOptions()
