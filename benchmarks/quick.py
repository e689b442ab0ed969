"""A few ratios of featx to a plain script in the same run, beside the last ones that were kept.

    make bench-quick                       # or python benchmarks/quick.py [--keep]

Under five minutes on two cores. Every ratio is the median over rounds in which the two take
turns, and above 1 featx is faster. `--keep` puts them into the results of this machine, with which
the next run compares: a ratio that fell by more than a tenth is marked.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from common import ROOT, WEIGHTS, keep, machine, need_assets, some_photographs
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from torch.utils.data import DataLoader, Dataset
from torchvision import models, transforms

import featx
from featx import Encoder, LinearProbeClassifier, RetrievalIndex

N_ROUNDS = 5
N_PHOTOGRAPHS = 256
FALL = 0.9


class Photographs(Dataset):
    """What a script with torchvision reads."""

    def __init__(self, paths: list[str]) -> None:
        self.paths = paths
        mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
        self.transform = transforms.Compose(
            [
                transforms.Resize(256),
                transforms.CenterCrop(224),
                transforms.ToTensor(),
                transforms.Normalize(mean, std),
            ]
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> torch.Tensor:
        with Image.open(self.paths[i]) as image:
            return self.transform(image.convert("RGB"))


def compare(ours: Callable[[], object], theirs: Callable[[], object]) -> dict:
    """Let both take turns; the first round warms up."""
    ratios = []
    for i in range(N_ROUNDS + 1):
        seconds = []
        for each in (ours, theirs):
            started = time.perf_counter()
            each()
            seconds.append(time.perf_counter() - started)
        if i:
            ratios.append(seconds[1] / seconds[0])
    return {"ratio": statistics.median(ratios), "least": min(ratios), "most": max(ratios)}


def extraction() -> dict[str, dict]:
    """Features of photographs by mobilenet_v2, beside a DataLoader with torch."""
    paths = some_photographs(N_PHOTOGRAPHS)
    network = models.mobilenet_v2()
    network.load_state_dict(torch.load(WEIGHTS, weights_only=True))
    network.classifier = torch.nn.Identity()
    network.eval()

    @torch.inference_mode()
    def script() -> np.ndarray:
        loader = DataLoader(Photographs(paths), batch_size=32, num_workers=2)
        return torch.cat([network(batch) for batch in loader]).numpy()

    found = {}
    for name, engine, precision in (
        ("extraction, default settings", "auto", "auto"),
        ("extraction, torch, float32", "torch", "float32"),
    ):
        encoder = Encoder("mobilenet_v2", weights=WEIGHTS, precision=precision)
        found[name] = compare(lambda e=encoder, g=engine: e.encode(paths, engine=g), script)
    return found


def learning(rng: np.random.Generator) -> dict[str, dict]:
    """A probe of 2,000 vectors of 20 classes, beside a grid search of scikit-learn over its C."""
    y = np.arange(2000) % 20
    X = (rng.standard_normal((20, 512))[y] + 2 * rng.standard_normal((2000, 512))).astype("f4")
    Cs = np.logspace(-2, 2, 5)
    probe = LinearProbeClassifier(Cs=Cs)
    search = GridSearchCV(LogisticRegression(max_iter=1000), {"C": Cs}, cv=5)
    return {"probe, C chosen": compare(lambda: probe.fit(X, y), lambda: search.fit(X, y))}


def searching(rng: np.random.Generator) -> dict[str, dict]:
    """Exact search of 50,000 vectors of 512 numbers, beside faiss by hand."""
    try:
        import faiss
    except ImportError:
        return {}
    X = rng.standard_normal((50_000, 512), np.float32)
    Q = rng.standard_normal((256, 512), np.float32)
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    Q /= np.linalg.norm(Q, axis=1, keepdims=True)
    index, flat = RetrievalIndex().fit(X), faiss.IndexFlatIP(512)
    flat.add(X)
    few = Q[:32]
    return {
        "exact search, 256 together": compare(
            lambda: index.query(Q, k=10), lambda: flat.search(Q, 10)
        ),
        "exact search, one by one": compare(
            lambda: [index.query(q, k=10) for q in few],
            lambda: [flat.search(q[None], 10) for q in few],
        ),
    }


def starting() -> dict[str, dict]:
    """A fresh interpreter that imports featx, beside one that imports numpy alone."""

    def run(code: str) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, "-c", code], check=True)

    return {"import featx": compare(run("import numpy, featx"), run("import numpy"))}


def show(found: dict[str, dict], before: dict[str, dict]) -> None:
    """Print a table; mark what fell."""
    print(f"featx {featx.__version__}; ratios above 1: featx is faster\n")
    print(f"{'':32} {'now':>6} {'(least to most)':>18} {'last':>6}")
    for name, each in found.items():
        last = before.get(name, {}).get("ratio")
        spread = f"({each['least']:.2f} to {each['most']:.2f})"
        shown = f"{last:6.2f}" if last else "     -"
        mark = "  fell" if last and each["ratio"] < FALL * last else ""
        print(f"{name:32} {each['ratio']:6.2f} {spread:>18} {shown}{mark}")


def main() -> None:
    """Measure, compare with the last run, and keep if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", action="store_true", help="the next run compares with this one")
    args = parser.parse_args()
    need_assets()
    rng = np.random.default_rng(0)
    found = extraction() | learning(rng) | searching(rng) | starting()
    path = ROOT / "benchmarks" / "results" / f"{machine()['name']}.json"
    kept = json.loads(path.read_text()) if path.exists() else {}
    show(found, kept.get("quick", {}))
    if args.keep:
        keep("quick", found)


if __name__ == "__main__":
    main()
