"""Draw the sample images that ship with featx, or check that the committed ones are what it draws.

``python data/draw_samples.py --out data/samples`` writes 432 JPEGs and ``attributes.csv``; with
``--check`` nothing is written, and the exit status is 1 where a file is missing, foreign or
different. Pixels are compared after decoding, since another libjpeg may write other bytes.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from drawing.butterflies import SPECIES, draw_butterfly
from drawing.creatures import ATTRIBUTES, attributes_of, draw_creature
from drawing.noise import seeded
from drawing.objects import draw_thing
from drawing.posters import N_POSTERS, draw_view
from drawing.scenes import SCENES, draw_scene
from drawing.things import THINGS
from PIL import Image

QUALITY = 82
N_OBJECTS, N_SCENES, N_BUTTERFLIES, N_CREATURES, N_VIEWS = 14, 14, 16, 80, 4
# Means over blocks: another libjpeg or processor may round single pixels otherwise.
BLOCK_PX, BLOCK_TOLERANCE = 16, 4.0

Drawer = Callable[[np.random.Generator], Image.Image]


def images() -> dict[str, Drawer]:
    """Return a function that draws it, for each path below the output folder."""
    drawers: dict[str, Drawer] = {}
    for kind in THINGS:
        for i in range(N_OBJECTS):
            drawers[f"objects/{kind}/{kind}_{i:02d}.jpg"] = partial(draw_thing, kind)
    for kind in SCENES:
        for i in range(N_SCENES):
            drawers[f"scenes/{kind}/{kind}_{i:02d}.jpg"] = partial(draw_scene, kind)
    for kind in SPECIES:
        for i in range(N_BUTTERFLIES):
            path = f"fine_grained/{kind}/{kind}_{i:02d}.jpg"
            drawers[path] = partial(draw_butterfly, kind)
    for i in range(N_CREATURES):
        drawers[f"attributes/creature_{i:02d}.jpg"] = draw_creature
    for name in (f"poster_{i:02d}" for i in range(N_POSTERS)):
        for view in range(N_VIEWS):
            path = f"instances/{name}/view_{view}.jpg"
            drawers[path] = partial(draw_view, name, view)
    return drawers


def attribute_table() -> str:
    """Return attributes.csv: a path and one 0/1 column an attribute."""
    text = io.StringIO()
    table = csv.DictWriter(text, ["path", *ATTRIBUTES], lineterminator="\n")
    table.writeheader()
    for i in range(N_CREATURES):
        name = f"creature_{i:02d}.jpg"
        table.writerow({"path": name, **attributes_of(seeded(f"attributes/{name}"))})
    return text.getvalue()


def encode(image: Image.Image) -> bytes:
    """Return the image as JPEG."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY, optimize=True)
    return file.getvalue()


def difference(found: bytes, expected: bytes) -> str | None:
    """Say how two JPEGs differ once decoded, or None where they are the same picture."""
    try:
        with Image.open(io.BytesIO(found)) as a, Image.open(io.BytesIO(expected)) as b:
            x, y = (np.asarray(i.convert("RGB"), np.float32) for i in (a, b))
    except OSError as err:
        return f"cannot be decoded: {err}"
    if x.shape != y.shape:  # y's sides are multiples of BLOCK_PX
        return f"has {x.shape[1]} x {x.shape[0]} px, expected {y.shape[1]} x {y.shape[0]}"
    tiles = (x - y).reshape(x.shape[0] // BLOCK_PX, BLOCK_PX, -1, BLOCK_PX, 3).mean((1, 3))
    if (worst := float(np.abs(tiles).max())) > BLOCK_TOLERANCE:
        return f"one block of {BLOCK_PX} px differs by {worst:.1f} levels"
    return None


def problems(out: Path, every: int = 1) -> Iterator[str]:
    """Compare each `every`-th image with what is drawn now; yield one line a problem."""
    drawers = images()
    present = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    for path in sorted(present ^ {*drawers, "attributes/attributes.csv"}):
        yield f"{path}: {'not drawn by this script' if path in present else 'missing'}"
    for path in [p for p in drawers if p in present][::every]:
        found = difference((out / path).read_bytes(), encode(drawers[path](seeded(path))))
        if found:
            yield f"{path}: {found}"
    csv_path = out / "attributes/attributes.csv"
    if csv_path.is_file() and csv_path.read_text(encoding="utf-8") != attribute_table():
        yield "attributes/attributes.csv: other attributes than the ones drawn"


def main() -> int:
    """Draw or check; return the exit status."""
    parser = argparse.ArgumentParser(description="Draw the sample images.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "samples")
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    parser.add_argument("--every", type=int, default=1, help="check only every n-th image")
    args = parser.parse_args()
    if args.check:
        found = list(problems(args.out, args.every))
        sys.stdout.write("\n".join([*found, f"{len(found)} problems in {args.out}"]) + "\n")
        return 1 if found else 0
    for path, draw in images().items():
        target = args.out / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(encode(draw(seeded(path))))
    (args.out / "attributes/attributes.csv").write_text(attribute_table(), encoding="utf-8")
    sys.stdout.write(f"{len(images())} images in {args.out}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
