"""Make tests/golden/recipes.json: options of an extraction and the recipes that they resolve to.

    python tests/golden/make_recipes.py

A recipe is the key of a table, so that a changed one would make every store of that recipe be
extracted again. The file is added to where an option is new and never made anew.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SMALL = {"backbone": "featx_small", "precision": "float32"}
RANDOM = {"weights": None, "precision": "float32"}
OPTIONS = [
    SMALL,
    SMALL | {"precision": "bfloat16"},
    SMALL | {"decode": "full"},
    SMALL | {"layers": ["blocks.6"]},
    SMALL | {"layers": ["blocks.6", "blocks.13"], "poolings": ["avg", "gem(3)"]},
    SMALL | {"layers": ["blocks.13"], "poolings": ["max", "spoc", "crow", "rmac"]},
    SMALL | {"layers": ["blocks.13"], "poolings": ["gem(4.5)", "flatten"]},
    SMALL | {"layers": ["blocks.13"], "poolings": ["mac"]},
    *(
        SMALL | {"augment": name}
        for name in ("hflip", "multi-scale", "ten-crop", "sixteen-view", "patches(3)")
    ),
    *(SMALL | {"augment": name} for name in ("hflip:keep", "ten-crop:keep", "patches(2):keep")),
    SMALL | {"resize_px": 320, "crop_px": 288},
    SMALL | {"resize_px": 112, "crop_px": 112, "augment": "hflip"},
    SMALL | {"crop_px": 160},
    *(
        RANDOM | {"backbone": name}
        for name in (
            "resnet18",
            "mobilenet_v2",
            "efficientnet_b0",
            "densenet121",
            "vgg11",
            "vit_b_16",
            "swin_t",
            "convnext_tiny",
            "inception_v3",
            "regnet_y_400mf",
        )
    ),
    RANDOM | {"backbone": "resnet18", "layers": ["layer3", "penultimate"]},
    RANDOM | {"backbone": "vit_b_16", "layers": ["encoder.layers.encoder_layer_5"]},
    RANDOM | {"backbone": "resnet18", "augment": "hflip", "decode": "full", "resize_px": 232},
]


def resolve(options: dict[str, object]) -> list[dict[str, object]]:
    """Return the recipes of some options, as a store keeps them.

    Digests of seeded random weights depend on torch's version and are blanked.
    """
    import dataclasses

    from featx import Encoder
    from featx.extraction import RunOptions

    recipes = Encoder(**options).load(RunOptions("cpu")).recipes  # type: ignore[arg-type]
    if options.get("weights", "default") is None:
        recipes = tuple(dataclasses.replace(recipe, weights="0" * 64) for recipe in recipes)
    return [{"fingerprint": recipe.fingerprint, **recipe.to_dict()} for recipe in recipes]


def main() -> None:
    """Add what the file lacks."""
    path = HERE / "recipes.json"
    known = json.loads(path.read_text()) if path.exists() else []
    done = [entry["options"] for entry in known]
    known += [{"options": o, "recipes": resolve(o)} for o in OPTIONS if o not in done]
    path.write_text(json.dumps(known, indent=1) + "\n")
    sys.stdout.write(f"{len(known)} entries\n")


if __name__ == "__main__":
    main()
