"""Features against a plain torchvision loop, over every photograph: decode and precision.

    python benchmarks/equality.py

The loop turns photographs upright as their EXIF says, which a script without that line does not.
Prints the worst and mean cosine of: full decoding in float32 against the loop; reduced-scale
decoding against full; bfloat16 against float32.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
import torchvision
from common import ASSETS, SETS, WEIGHTS, keep, need_assets
from PIL import Image, ImageOps

import featx


def loop(paths):
    """Compute features as a script on torchvision would, one image at a time."""
    network = torchvision.models.mobilenet_v2(weights=None)
    network.load_state_dict(torch.load(WEIGHTS, weights_only=True))
    network.classifier = torch.nn.Identity()
    network.eval()
    transform = torchvision.models.MobileNet_V2_Weights.IMAGENET1K_V1.transforms()
    out = []
    with torch.inference_mode():
        for path in paths:
            image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
            out.append(network(transform(image)[None])[0].numpy())
    return np.stack(out)


def cosines(a, b):
    """Return the worst and the mean cosine of paired rows."""
    a, b = a.astype(float), b.astype(float)
    found = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return {
        "worst": float(found.min()),
        "worst_row": int(found.argmin()),
        "mean": float(found.mean()),
        "n": len(found),
        "n_below_0.99999": int((found < 0.99999).sum()),
    }


def main():
    """Extract three times and compare."""
    need_assets()
    sources = [ASSETS / "datasets" / name for name in SETS]
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "f.h5"
        found = {}
        for name, options in (
            ("full", {"decode": "full", "precision": "float32"}),
            ("reduced", {"decode": "reduced", "precision": "float32"}),
            ("bfloat16", {"decode": "full", "precision": "bfloat16"}),
        ):
            opened = featx.extract(
                sources, store, backbone="mobilenet_v2", weights=WEIGHTS, device="cpu", **options
            )
            found[name] = opened[:]
            paths = opened.paths.tolist()
        keep(
            "equality",
            {
                "float32, full decode, against a torchvision loop": cosines(
                    found["full"], loop(paths)
                ),
                "reduced against full decode, float32": cosines(found["reduced"], found["full"]),
                "bfloat16 against float32": cosines(found["bfloat16"], found["full"]),
            },
        )


if __name__ == "__main__":
    main()
