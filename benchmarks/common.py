"""What the measurements share: where photographs and weights are, how a result is kept."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

import featx

ROOT = Path(__file__).resolve().parents[1]
ASSETS = Path(os.environ.get("FEATX_ASSETS", ROOT.parent / "shared" / "assets"))
WEIGHTS = ASSETS / "weights" / "mobilenet_v2.pth"
SETS = ("caltech101", "cats_dogs", "flowers12", "imagenet_samples", "scene15", "smvs_dvd")


def need_assets() -> None:
    """Stop with a reason where the photographs are absent."""
    if not WEIGHTS.is_file():
        raise SystemExit(f"photographs and weights are not at {ASSETS}; set FEATX_ASSETS")


def some_photographs(n: int) -> list[str]:
    """Return n of the shared photographs, evenly over all sets."""
    every = featx.ImageManifest.from_source([ASSETS / "datasets" / name for name in SETS]).paths
    return [every[i] for i in np.linspace(0, len(every) - 1, min(n, len(every))).astype(int)]


def gflop_of(module: torch.nn.Module, x: torch.Tensor) -> float:
    """Return what a pass takes, two FLOPs per multiplication."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        module(x)
    return counter.get_total_flops() / 1e9


def machine() -> dict:
    """Describe the machine; its name is that of the results' file."""
    device = _processor()
    if torch.cuda.is_available():
        device = torch.cuda.get_device_name()
    return {
        "name": f"{platform.machine()}-{os.cpu_count()}cores-{device.replace(' ', '_')}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "featx": featx.__version__,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }


def _processor() -> str:
    """Name a processor by what tells generations apart, where the system says it."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.is_file():
        return "cpu"
    pairs = (line.split(":", 1) for line in cpuinfo.read_text().splitlines() if ":" in line)
    said = {key.strip(): value.strip() for key, value in pairs}
    words = (said.get("vendor_id"), said.get("cpu family"), said.get("model"))
    return "-".join(word for word in words if word) or "cpu"


def keep(section: str, figures: dict) -> None:
    """Print figures, and put them into the results of this machine."""
    print(section, json.dumps(figures, indent=1))
    path = ROOT / "benchmarks" / "results" / f"{machine()['name']}.json"
    path.parent.mkdir(exist_ok=True)
    kept = json.loads(path.read_text()) if path.exists() else {}
    kept |= {"machine": machine(), section: figures}
    path.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
