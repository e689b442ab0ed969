r"""Command line: photographs and a teacher in, a small network out.

    python -m pipelines.distill --images photos/ --init-from-teacher --epochs 10 \
        --teacher mobilenet_v2 mobilenet_v2.pth 160 --out featx_small.safetensors

Run the same line again to go on after a stop of any kind; ``--minutes`` stops by the clock.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from featx.backbones.embedded import InvertedResiduals
from featx.errors import FeatxError, ParameterError
from pipelines.distill.config import DistillConfig
from pipelines.distill.export import export
from pipelines.distill.photographs import Photographs, find_photographs
from pipelines.distill.students import build_student, start_student
from pipelines.distill.targets import open_teacher, precompute
from pipelines.distill.teacher import load_teacher
from pipelines.distill.train import TrainResult, train
from pipelines.distill.views import make_view, standardise, to_unit

__all__ = ["distill", "main"]

PRUNE_VIEWS, PRUNE_PX = 1200, 160  # 72,000 positions of each map; a minute and 3 GB


def distill(
    photographs: Photographs,
    config: DistillConfig,
    *,
    weights: Sequence[Path],
    out: Path,
    work_dir: Path,
    minutes: float = math.inf,
    device: str = "auto",
    progress: bool | None = None,
) -> TrainResult:
    """Run the four steps: teachers' features, the start, training, export."""
    chosen = torch.device(_device(device))
    work_dir.mkdir(parents=True, exist_ok=True)
    named = zip(config.teachers, weights, config.teacher_px, strict=True)
    teachers = [open_teacher(name, path, px, chosen.type) for name, path, px in named]
    features = [
        precompute(each, photographs, config, stem=work_dir / f"teacher-{i}", progress=progress)
        for i, each in enumerate(teachers)
    ]
    student = _start(
        photographs,
        config,
        weights[0],
        features[0].shape[-1],
        teachers[0].standard,
        progress,
    )
    result = train(
        student,
        features,
        photographs,
        config,
        standard=teachers[0].standard,
        checkpoint=work_dir / "checkpoint.pt",
        device=chosen,
        stop_after_s=60 * minutes,
        progress=progress,
    )
    history = {**asdict(config), "photographs": len(photographs), "corpus": photographs.digest}
    export(student, out, history=json.dumps({**history, "steps": result.step}))
    return result


def _start(
    photographs: Photographs,
    config: DistillConfig,
    weights: Path,
    n_features: int,
    standard: tuple[tuple[float, ...], tuple[float, ...]],
    progress: bool | None,
) -> InvertedResiduals:
    """Return the student that training begins with."""
    torch.manual_seed(config.seed)
    if not config.init_from_teacher:
        return build_student(config.student, n_features)

    def some_views() -> torch.Tensor:
        rng = np.random.default_rng((config.seed, 5))
        n = min(PRUNE_VIEWS, len(photographs))
        rows = rng.choice(len(photographs), n, replace=False).tolist()
        views = [make_view(photographs, config, i, i % config.n_views, PRUNE_PX) for i in rows]
        return standardise(to_unit(np.stack(views), torch.device("cpu")), *standard)

    teacher = load_teacher(config.teachers[0], weights)
    return start_student(config.student, teacher, some_views, progress)


def _device(name: str) -> str:
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ParameterError(f"--device: got {name!r}, but torch sees no CUDA device; give 'cpu'")
    return name


def main(argv: list[str] | None = None) -> int:
    """Parse, distil, print one JSON object; 1 on a featx error."""
    defaults = DistillConfig()
    parser = argparse.ArgumentParser(prog="python -m pipelines.distill", description=__doc__)
    parser.add_argument("--images", nargs="+", required=True, help="folders or tar shards")
    parser.add_argument("--include", nargs="*", default=[], help="first folders to take")
    parser.add_argument(
        "--teacher",
        nargs=3,
        action="append",
        required=True,
        metavar=("NAME", "WEIGHTS", "PX"),
        help="a backbone, its state dict and the side of its input; repeat it for more teachers",
    )
    parser.add_argument("--student", default=defaults.student)
    parser.add_argument("--init-from-teacher", action="store_true")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, help="default: OUT's name with .work")
    parser.add_argument("--epochs", type=int, default=defaults.epochs)
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop by the clock")
    parser.add_argument("--views", type=int, default=defaults.n_views)
    parser.add_argument("--mosaics", type=int, default=defaults.n_mosaics)
    parser.add_argument("--min-scale", type=float, default=defaults.min_scale)
    parser.add_argument("--student-px", type=int, nargs="+", default=defaults.student_px)
    parser.add_argument("--batch-size", type=int, default=defaults.batch_size)
    parser.add_argument("--learning-rate", type=float, default=defaults.learning_rate)
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--resume", action="store_true", help="require work of an earlier run")
    args = parser.parse_args(argv)
    try:
        result = _run(args)
    except FeatxError as err:
        sys.stderr.write(f"distill: {err}\n")
        return 1
    report = {"step": result.step, "steps": result.n_steps, "losses": result.losses}
    print(json.dumps({**report, "out": str(args.out)}))
    return 0


def _run(args: argparse.Namespace) -> TrainResult:
    work_dir = args.work or args.out.with_suffix(".work")
    if args.resume and not work_dir.is_dir():
        raise ParameterError(f"--resume: {str(work_dir)!r} does not exist; leave --resume out")
    config = DistillConfig(
        teachers=tuple(name for name, _, _ in args.teacher),
        teacher_px=tuple(_side(px) for _, _, px in args.teacher),
        student=args.student,
        init_from_teacher=args.init_from_teacher,
        n_views=args.views,
        n_mosaics=args.mosaics,
        min_scale=args.min_scale,
        student_px=tuple(args.student_px),
        epochs=args.epochs,
        batch_size=args.batch_size,
        learning_rate=args.learning_rate,
        seed=args.seed,
    )
    return distill(
        find_photographs(args.images, include=args.include),
        config,
        weights=[Path(weights) for _, weights, _ in args.teacher],
        out=args.out,
        work_dir=work_dir,
        minutes=args.minutes,
        device=args.device,
    )


def _side(text: str) -> int:
    if not text.isdecimal():
        raise ParameterError(f"--teacher: got {text!r} as PX, expected a whole number of pixels")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
