"""Images a second end to end, against a plain DataLoader script, interleaved in one run.

    python benchmarks/throughput.py [--repeats 5]

Both read the same files with as many processes as there are cores, at the same batch size, and
end with features on disk. The script is what people write: torch DataLoader, torchvision's
transforms, float32, one numpy file at the end. featx runs in float32, as the script does, and as
it comes (precision auto). Loading the network and starting the processes count in both.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torchvision
from common import WEIGHTS, keep, need_assets, some_photographs
from PIL import Image
from torch.utils.data import DataLoader, Dataset

import featx

BATCH = 32


class Files(Dataset):
    """Images by path, transformed."""

    def __init__(self, paths, transform):
        self.paths, self.transform = paths, transform

    def __len__(self):
        """Count."""
        return len(self.paths)

    def __getitem__(self, i):
        """Decode and transform one."""
        return self.transform(Image.open(self.paths[i]).convert("RGB"))


def script(paths, out):
    """Do what a plain script does."""
    network = torchvision.models.mobilenet_v2(weights=None)
    network.load_state_dict(torch.load(WEIGHTS, weights_only=True))
    network.classifier = torch.nn.Identity()
    network.eval()
    transform = torchvision.models.MobileNet_V2_Weights.IMAGENET1K_V1.transforms()
    loader = DataLoader(Files(paths, transform), BATCH, num_workers=os.cpu_count())
    with torch.inference_mode():
        found = [network(x).numpy() for x in loader]
    np.save(out, np.concatenate(found))


def ours(paths, out, precision):
    """Do the same with featx."""
    featx.extract(
        paths, out, backbone="mobilenet_v2", weights=WEIGHTS, device="cpu", precision=precision,
        batch_size=BATCH, progress=False,
    )  # fmt: skip


def main():
    """Interleave the contenders and print medians."""
    need_assets()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--images", type=int, default=1200, help="taken evenly over all sets")
    args = parser.parse_args()
    paths = some_photographs(args.images)
    contenders = {
        "DataLoader script, float32": script,
        "featx, float32": lambda p, out: ours(p, out, "float32"),
        "featx, precision auto": lambda p, out: ours(p, out, "auto"),
    }
    rates = {name: [] for name in contenders}
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(args.repeats):
            for k, (name, run) in enumerate(contenders.items()):
                start = time.perf_counter()
                run(paths, Path(folder) / f"{repeat}-{k}.npy")
                rates[name].append(len(paths) / (time.perf_counter() - start))
    base = np.array(rates["DataLoader script, float32"])
    figures = {
        name: {
            "images_per_second": float(np.median(r)),
            "ratio_to_script": float(np.median(np.array(r) / base)),
        }
        for name, r in rates.items()
    }
    keep("throughput", {"n_images": len(paths), "repeats": args.repeats, **figures})


if __name__ == "__main__":
    main()
