"""Loaded encoders from flat options, as tests write them."""

from __future__ import annotations

import dataclasses
from typing import Any

from featx.extraction import Encoder, LoadedEncoder, RunOptions

OF_RUN = {field.name for field in dataclasses.fields(RunOptions)}


def load_encoder(
    backbone: Any = "featx_base", *, known: Any = (), **options: Any
) -> LoadedEncoder:
    run = RunOptions(**{name: options.pop(name) for name in OF_RUN & options.keys()})
    return Encoder(backbone, **options).load(run, known=known)


def load_recipe(recipe: Any, *, weights: Any = "default", **run: Any) -> LoadedEncoder:
    return Encoder.from_recipe(recipe, weights=weights).load(RunOptions(**run))
