r"""Command line: photographs and a teacher in, a small network out.

    python -m pipelines.distill --images photos/ --weights mobilenet_v2.pth \
        --init-from-teacher --epochs 10 --out featx_small.safetensors

Run the same line again to go on after a stop of any kind; ``--minutes`` stops by the clock.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import asdict
from pathlib import Path

import torch

from featx.errors import FeatxError, ParameterError
from pipelines.distill.config import DistillConfig
from pipelines.distill.export import export
from pipelines.distill.photographs import Photographs, find_photographs
from pipelines.distill.students import build_student
from pipelines.distill.targets import precompute
from pipelines.distill.teacher import load_teacher
from pipelines.distill.train import TrainResult, train

__all__ = ["distill", "main"]


def distill(
    photographs: Photographs,
    config: DistillConfig,
    *,
    weights: Path,
    out: Path,
    work_dir: Path,
    minutes: float = math.inf,
    device: str = "auto",
    progress: bool | None = None,
) -> TrainResult:
    """Run the three steps: teacher features, training, export."""
    chosen = torch.device(_device(device))
    work_dir.mkdir(parents=True, exist_ok=True)
    teacher = load_teacher(config.teacher, weights)
    features = precompute(
        teacher, photographs, config, work_dir=work_dir, device=chosen, progress=progress
    )
    torch.manual_seed(config.seed)
    start = teacher.cpu() if config.init_from_teacher else None
    student = build_student(config.student, features.shape[-1], teacher=start)
    result = train(
        student,
        features,
        photographs,
        config,
        checkpoint=work_dir / "checkpoint.pt",
        device=chosen,
        stop_after_s=60 * minutes,
        progress=progress,
    )
    history = {**asdict(config), "photographs": len(photographs), "corpus": photographs.digest}
    export(student, out, history=json.dumps({**history, "steps": result.step}))
    return result


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
    parser.add_argument("--teacher", default=defaults.teacher)
    parser.add_argument("--weights", type=Path, required=True, help="the teacher's state dict")
    parser.add_argument("--student", default=defaults.student)
    parser.add_argument("--init-from-teacher", action="store_true")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, help="default: OUT's name with .work")
    parser.add_argument("--epochs", type=int, default=defaults.epochs)
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop by the clock")
    parser.add_argument("--views", type=int, default=defaults.n_views)
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
        teacher=args.teacher,
        student=args.student,
        init_from_teacher=args.init_from_teacher,
        n_views=args.views,
        epochs=args.epochs,
        batch_size=args.batch_size,
        learning_rate=args.learning_rate,
        seed=args.seed,
    )
    return distill(
        find_photographs(args.images, include=args.include),
        config,
        weights=args.weights,
        out=args.out,
        work_dir=work_dir,
        minutes=args.minutes,
        device=args.device,
    )


if __name__ == "__main__":
    sys.exit(main())
