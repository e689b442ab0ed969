"""Decoders of JPEGs beside each other: time, and how far their pixels are from Pillow's.

    python benchmarks/decode.py [--images 300] [--repeats 5]

The JPEGs of the shared photographs, evenly over all sets, and 40 of them made 3,000 px long. One
thread; the bytes are in memory; each ends with RGB pixels and then with the view of 224 px that
the network takes (resize 256, centre crop), by Pillow in all cases but torchvision's own. Reduced:
the JPEG is decoded at a fraction, such that its shorter side stays at least 256 px. Contenders
take turns image by image; times are medians of the repeats. Peers: ``pip install simplejpeg``.
"""

from __future__ import annotations

import argparse
import importlib
import io
import tempfile
import time
from pathlib import Path

import numpy as np
import simplejpeg
import torch
import torchvision.io
from common import keep, need_assets, some_photographs
from peers import photographs
from PIL import Image
from torchvision.transforms import v2

from featx.images import ImagePreprocessor, decode_image
from featx.recipe import Preprocessing

PX, CROP = 256, 224
VIEW = ImagePreprocessor(Preprocessing(resize_px=PX, crop_px=CROP))
TENSOR_VIEW = v2.Compose([v2.Resize(PX, antialias=True), v2.CenterCrop(CROP)])


def by_simplejpeg(data, factor):
    """Decode with libjpeg-turbo's own scaling, to any eighth."""
    height, width, _, _ = simplejpeg.decode_jpeg_header(data)
    least = PX if factor else 0
    return simplejpeg.decode_jpeg(
        data, min_height=min(least, height), min_width=min(least, width), min_factor=factor or 1
    )


DECODERS = {
    "featx, full": lambda data: decode_image(data),
    "featx, reduced": lambda data: decode_image(data, min_px=PX),
    "simplejpeg, full": lambda data: Image.fromarray(by_simplejpeg(data, 0)),
    "simplejpeg, reduced": lambda data: Image.fromarray(by_simplejpeg(data, 2)),
    "simplejpeg, any eighth": lambda data: Image.fromarray(by_simplejpeg(data, 1)),
    "torchvision.io": lambda data: torchvision.io.decode_jpeg(
        torch.frombuffer(bytearray(data), dtype=torch.uint8), torchvision.io.ImageReadMode.RGB
    ),
}


def view_of(image):
    """Return the view as an array (224, 224, 3)."""
    if isinstance(image, torch.Tensor):
        return TENSOR_VIEW(image).permute(1, 2, 0).numpy()
    return VIEW(image)[0]


def upright_jpegs(paths):
    """Return the bytes of RGB JPEGs without EXIF orientation, which only featx turns."""
    found = []
    for path in paths:
        data = Path(path).read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            if image.format == "JPEG" and image.mode == "RGB" and image.getexif().get(274, 1) == 1:
                found.append(data)
    return found


def compare(files, repeats):
    """Return milliseconds an image, and the mean difference in grey levels from featx, full."""
    times = {name: np.empty((repeats, len(files), 2)) for name in DECODERS}
    difference = {name: np.empty(len(files)) for name in DECODERS}
    for repeat in range(repeats):
        for i, data in enumerate(files):
            for name, decode in DECODERS.items():
                start = time.perf_counter()
                image = decode(data)
                decoded = time.perf_counter()
                view = view_of(image)
                done = time.perf_counter()
                times[name][repeat, i] = decoded - start, done - start
                if name == "featx, full":
                    right = view.astype(int)
                difference[name][i] = np.abs(view - right).mean()
    return {
        name: {
            "decode_ms": float(1000 * np.median(times[name][:, :, 0].mean(axis=1))),
            "decode_and_view_ms": float(1000 * np.median(times[name][:, :, 1].mean(axis=1))),
            "mean_difference": float(difference[name].mean()),
            "worst_difference": float(difference[name].max()),
        }
        for name in DECODERS
    }


def main():
    """Measure both sets."""
    need_assets()
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    about = {"libjpeg_turbo": importlib.import_module("PIL.features").version("libjpeg_turbo")}
    with tempfile.TemporaryDirectory() as folder:
        photographs(40, Path(folder), large=True)
        for kind, paths in (
            ("photographs", some_photographs(args.images)),
            ("3,000 px", sorted((Path(folder) / "images").iterdir())),
        ):
            files = upright_jpegs(paths)
            keep(f"decode, {kind}", {"n": len(files), **about, **compare(files, args.repeats)})


if __name__ == "__main__":
    main()
