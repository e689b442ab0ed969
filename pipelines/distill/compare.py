r"""Choose a small network by measurement: several are trained alike, timed and probed.

    python -m pipelines.distill.compare --images CORPUS --weights mobilenet_v2.pth \
        --sets DATASETS --out candidates

Writes ``candidates.json`` and ``candidates.svg``. Run the same line again to go on after a stop: a
candidate that is trained and probed is not done again, the rates are measured anew each time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.fx.experimental.optimization import fuse

from featx.errors import FeatxError
from featx.images import ImagePreprocessor
from featx.images.loader import iter_batches
from featx.recipe import Preprocessing
from pipelines.distill.config import DistillConfig
from pipelines.distill.evaluate import Embed, LabelledSet, read_sets, score_sets
from pipelines.distill.photographs import Photographs, find_photographs
from pipelines.distill.plain import PlainSmall
from pipelines.distill.students import build_student
from pipelines.distill.targets import precompute, write_json
from pipelines.distill.teacher import load_teacher
from pipelines.distill.train import train
from pipelines.distill.views import standardise, to_unit

__all__ = ["CANDIDATES", "Candidate", "main"]

MAIN_SETS = ("flowers12", "scene15", "caltech101", "cats_dogs")


@dataclass(frozen=True)
class Candidate:
    """One network and how it is trained.

    Parameters
    ----------
    student : str or None
        A key of `pipelines.distill.students.STUDENTS`; None is the teacher as it is.
    init_from_teacher : bool
        Start from the teacher's weights, not from random ones.
    epochs : int
        Passes over four views of each photograph.
    every : int
        Train on each `every`-th photograph; `epochs` times `every` passes, so as many steps.
    crop_px : int
        Side of the image that it is probed and timed with.
    """

    student: str | None
    init_from_teacher: bool = False
    epochs: int = 2
    every: int = 1
    crop_px: int = 144


CANDIDATES: dict[str, Candidate] = {
    "teacher, 224 px": Candidate(None, crop_px=224),
    "teacher, 144 px": Candidate(None),
    "plain_small": Candidate("plain_small"),
    "plain_wide": Candidate("plain_wide"),
    "resnet_slim": Candidate("resnet_slim"),
    "mobilenet_half": Candidate("mobilenet_half"),
    "mobilenet_whole": Candidate("mobilenet_whole"),
    "from teacher": Candidate("featx_small", init_from_teacher=True),
    "from teacher, pruned": Candidate("featx_small_pruned", init_from_teacher=True),
    "from teacher, quarter of the data": Candidate("featx_small", init_from_teacher=True, every=4),
    "from teacher, twice the time": Candidate("featx_small", init_from_teacher=True, epochs=4),
}


def main(argv: list[str] | None = None) -> int:
    """Train, probe and time what is asked for; 1 on a featx error."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.distill.compare")
    parser.add_argument("--images", nargs="+", required=True, help="folders or tar shards")
    parser.add_argument("--include", nargs="*", default=[], help="first folders to take")
    parser.add_argument("--weights", type=Path, required=True, help="mobilenet_v2's state dict")
    parser.add_argument("--sets", type=Path, required=True, help="folder of labelled sets")
    parser.add_argument("--out", type=Path, required=True, help="name of the results, no suffix")
    parser.add_argument("--only", nargs="*", default=list(CANDIDATES), choices=list(CANDIDATES))
    args = parser.parse_args(argv)
    try:
        rows = _run(args)
    except FeatxError as err:
        sys.stderr.write(f"compare: {err}\n")
        return 1
    for row in rows:
        print(
            f"{row['name']:36s} {row['images_per_second']:7.0f} images/s  ratio {row['ratio']:.3f}"
        )
    return 0


def _run(args: argparse.Namespace) -> list[dict[str, Any]]:
    photographs = find_photographs(args.images, include=args.include)
    sets = read_sets(args.sets)
    work_dir = args.out.with_suffix(".work")
    networks = {name: _prepare(name, photographs, args.weights, work_dir) for name in args.only}
    scores = {name: _scored(name, networks[name], sets, work_dir) for name in args.only}
    rates = _rates(networks)
    base = scores.get("teacher, 224 px")
    rows = [
        {
            "name": name,
            **asdict(CANDIDATES[name]),
            "parameters": sum(p.numel() for p in networks[name].parameters()),
            "images_per_second": rates[name],
            "scores": scores[name],
            "ratio": _ratio(scores[name], base) if base else float("nan"),
        }
        for name in args.only
    ]
    write_json(args.out.with_suffix(".json"), {"torch": torch.__version__, "candidates": rows})
    _draw(rows, args.out.with_suffix(".svg"))
    return rows


def _prepare(name: str, photographs: Photographs, weights: Path, work_dir: Path) -> nn.Module:
    """Return the candidate, trained and with batch norm folded."""
    candidate = CANDIDATES[name]
    teacher = load_teacher("mobilenet_v2", weights)
    if candidate.student is None:
        return fuse(teacher)
    every = candidate.every
    chosen = Photographs(photographs.names[::every], photographs.places[::every])
    config = DistillConfig(
        student=candidate.student,
        init_from_teacher=candidate.init_from_teacher,
        n_views=4,
        epochs=candidate.epochs * every,
        learning_rate=2e-4 if candidate.init_from_teacher else 2e-3,
    )
    targets = work_dir / f"every{every}"
    targets.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    features = precompute(teacher, chosen, config, work_dir=targets, device=device)
    torch.manual_seed(config.seed)
    start = teacher.cpu() if candidate.init_from_teacher else None
    student = build_student(candidate.student, features.shape[-1], teacher=start)
    checkpoint = work_dir / f"{_slug(name)}.pt"
    train(student, features, chosen, config, checkpoint=checkpoint, device=device)
    student = student.cpu().eval()
    return student.folded() if isinstance(student, PlainSmall) else fuse(student)


def _scored(
    name: str, network: nn.Module, sets: tuple[LabelledSet, ...], work_dir: Path
) -> dict[str, float]:
    path = work_dir / f"{_slug(name)}.scores.json"
    if not path.exists():
        work_dir.mkdir(parents=True, exist_ok=True)
        write_json(path, score_sets(sets, _embed(network, CANDIDATES[name].crop_px)))
    found: dict[str, float] = json.loads(path.read_text())
    return found


def _embed(network: nn.Module, crop_px: int) -> Embed:
    preprocessing = Preprocessing(resize_px=round(crop_px * 8 / 7), crop_px=crop_px)
    network = network.eval().to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def embed(paths: tuple[Path, ...]) -> Any:
        batches = iter_batches(
            [str(p) for p in paths], ImagePreprocessor(preprocessing), batch_size=64, workers=0
        )
        device = torch.device("cpu")
        found = [network(standardise(to_unit(b.views[0], device))).numpy() for b in batches]
        return np.concatenate(found)

    return embed


def _rates(networks: dict[str, nn.Module], *, n_rounds: int = 5) -> dict[str, float]:
    """Images a second of each network alone, float32, batches of 32, interleaved; medians."""
    found: dict[str, list[float]] = {name: [] for name in networks}
    for _ in range(n_rounds):
        for name, network in networks.items():
            px = CANDIDATES[name].crop_px
            x = torch.zeros(32, 3, px, px).contiguous(memory_format=torch.channels_last)
            fast = network.eval().to(memory_format=torch.channels_last)
            found[name].append(_rate(fast, x))
    return {name: statistics.median(rates) for name, rates in found.items()}


@torch.inference_mode()
def _rate(network: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> float:
    network(x)
    started = time.perf_counter()
    for _ in range(4):
        network(x)
    return 4 * len(x) / (time.perf_counter() - started)


def _ratio(scores: dict[str, float], base: dict[str, float]) -> float:
    return float(np.mean([scores[s] / base[s] for s in MAIN_SETS]))


def _slug(name: str) -> str:
    return name.replace(", ", "-").replace(" ", "_")


def _draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw ratio over rate; names stand in a legend, since good candidates lie close together."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    colours = {"teacher": "0.35", "random": "tab:orange", "from teacher": "tab:blue"}
    figure = Figure(figsize=(7.2, 4.8), layout="constrained")
    axes = figure.subplots()
    for row, marker in zip(rows, "osD^v<>PXhp*dH8", strict=False):
        kind = "teacher" if row["student"] is None else "random"
        kind = "from teacher" if row["init_from_teacher"] else kind
        axes.plot(
            row["images_per_second"],
            row["ratio"],
            marker,
            color=colours[kind],
            label=f"{row['name']}{' (random weights)' if kind == 'random' else ''}",
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:.0f}")
    axes.set_xticks([100, 200, 500, 1000, 2000])
    axes.set_xlabel("images per second, network alone, float32, two CPU cores")
    axes.set_ylabel("probe accuracy over the teacher's at 224 px,\nmean of four sets")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="center", bbox_to_anchor=(0.5, 0.48))
    with mpl.rc_context({"svg.hashsalt": "featx"}):
        figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    sys.exit(main())
