"""Every family of timm: does its smallest network give a feature at its own size and at another?

    python benchmarks/timm_families.py [FAMILY ...]

A family is a module of ``timm.models``. Weights are random; what fails is printed with its reason.
"""

from __future__ import annotations

import sys
import warnings

import numpy as np
import timm
import torch

from featx import Encoder
from featx.errors import FeatxError

MOST = 200e6  # parameters; a larger network is not tried, and said to be


def smallest(family: str) -> tuple[str, float]:
    """Return the network of a family with the fewest parameters, and their number."""
    counts = {}
    for name in timm.list_models(module=family):
        with torch.device("meta"):
            module = timm.create_model(name)
        counts[name] = float(sum(p.numel() for p in module.parameters()))
    return min(counts.items(), key=lambda item: item[1])


def try_size(name: str, px: int | None) -> str:
    """Return how wide the feature of one image is, or why there is none."""
    sizes = {} if px is None else {"resize_px": px, "crop_px": px}
    image = np.random.default_rng(0).integers(0, 256, (1, 300, 400, 3)).astype(np.uint8)
    try:
        encoder = Encoder(f"timm/{name}", weights=None, precision="float32", **sizes)
        return f"{encoder.encode(image, engine='torch').shape[1]} numbers"
    except FeatxError as err:
        return str(err).partition(": ")[2]


def main() -> None:
    """Print the table."""
    warnings.simplefilter("ignore")
    print("| family | network | own size | another size |\n|---|---|---|---|")
    for family in sys.argv[1:] or timm.list_modules():
        name, n = smallest(family)
        own = timm.models.get_pretrained_cfg(name).input_size[-1]
        step = 14 if own % 14 == 0 and own % 32 else 32
        other = max(step * 2, int(own * 0.75) // step * step)
        cells = (
            ["not tried", "not tried"] if n > MOST else [try_size(name, p) for p in (None, other)]
        )
        print(f"| {family} | {name} | {own} px: {cells[0]} | {other} px: {cells[1]} |", flush=True)


if __name__ == "__main__":
    main()
