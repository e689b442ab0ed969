"""What the networks inside the package are worth beside MobileNetV2 at 224 px.

    python benchmarks/embedded.py [--sides 176 192 208] [--out results.json] [--plot pareto.svg]

Accuracy by the probe of `pipelines.distill.evaluate` on every shared set, float32; each network's
scores are printed when they are there. Speed is end to end, with default settings: caltech101's
1,500 photographs from their files to features, networks in turn, as a ratio to MobileNetV2's.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from common import ASSETS, machine, need_assets

from featx import Encoder
from pipelines.distill.evaluate import Floats, read_sets, score_sets

MAIN_SETS = ("flowers12", "scene15", "caltech101", "cats_dogs")
FIRST = "mobilenet_v2, 224 px"
N_ROUNDS = 5


def make_encoders(sides: list[int], precision: str) -> dict[str, Encoder]:
    """Return the reference, the teachers, what the package has, and featx_base at other sides."""
    weights = ASSETS / "weights"
    found = {FIRST: Encoder("mobilenet_v2", weights=weights / "mobilenet_v2.pth")}
    for name, px in (("tf_efficientnet_lite0", 224), ("tf_efficientnet_lite2", 260)):
        found[f"{name}, {px} px"] = Encoder(f"timm/{name}", weights=weights / f"{name}.pth")
    found |= {name: Encoder(name) for name in ("featx_small", "featx_base")}
    for px in sides:
        found[f"featx_base, {px} px"] = Encoder(
            "featx_base", resize_px=round(px * 8 / 7), crop_px=px
        )
    return {name: replace(one, precision=precision) for name, one in found.items()}


def encode(encoder: Encoder, paths: tuple[Path, ...]) -> Floats:
    """Return features of photographs, (n, n_features)."""
    return np.asarray(encoder.encode([str(path) for path in paths]), np.float32)


def time_encoders(
    encoders: dict[str, Encoder], paths: tuple[Path, ...], n_rounds: int
) -> dict[str, tuple[float, float]]:
    """Return each network's images per second and speed over the first one's, medians."""
    rates: dict[str, list[float]] = {name: [] for name in encoders}
    for i in range(n_rounds + 1):
        for name, encoder in encoders.items():
            started = time.perf_counter()
            encode(encoder, paths)
            if i:  # the first round loads and converts the networks
                rates[name].append(len(paths) / (time.perf_counter() - started))
    first = np.array(rates[FIRST])
    return {
        name: (statistics.median(each), float(np.median(np.array(each) / first)))
        for name, each in rates.items()
    }


def plot(found: dict, path: Path) -> None:
    """Draw accuracy against speed, both over MobileNetV2's."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.4), layout="constrained")
    for name, ratio in found["ratio"].items():
        x = found["speed"][name][1]
        is_ours = name.startswith("featx")
        axes.plot(x, ratio, "o", color="tab:blue" if is_ours else "0.35")
        axes.annotate(name, (x, ratio), xytext=(6, 4), textcoords="offset points", fontsize=9)
    axes.set_xlabel("images per second, end to end, over mobilenet_v2's at 224 px")
    axes.set_ylabel("probe accuracy over mobilenet_v2's,\nmean of four sets")
    axes.margins(x=0.25, y=0.12)
    axes.grid(color="0.9")
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sides", nargs="*", type=int, default=[])
    parser.add_argument("--rounds", type=int, default=N_ROUNDS)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--plot", type=Path)
    args = parser.parse_args()
    need_assets()
    sets = read_sets(ASSETS / "datasets")
    photographs = next(one.paths for one in sets if one.name == "caltech101")
    speeds = time_encoders(make_encoders(args.sides, "auto"), photographs, args.rounds)
    found: dict = {"machine": machine(), "speed": speeds, "scores": {}, "ratio": {}, "few": {}}
    for name, (rate, ratio) in speeds.items():
        print(f"{name}: {rate:.0f} images per second, {ratio:.2f} of {FIRST}", flush=True)
    for name, encoder in make_encoders(args.sides, "float32").items():
        scores = score_sets(sets, lambda paths, encoder=encoder: encode(encoder, paths))
        base = found["scores"].setdefault(FIRST, scores)
        found["scores"][name] = scores
        for key, end in (("ratio", ""), ("few", ":5")):
            each = [scores[one + end] / base[one + end] for one in MAIN_SETS]
            found[key][name] = float(np.mean(each))
        print(
            f"{name}: ratio {found['ratio'][name]:.3f}, with 5 labels {found['few'][name]:.3f}",
            {key: round(value, 3) for key, value in scores.items()},
            flush=True,
        )
    if args.out:
        args.out.write_text(json.dumps(found, indent=1) + "\n")
    if args.plot:
        plot(found, args.plot)


if __name__ == "__main__":
    main()
