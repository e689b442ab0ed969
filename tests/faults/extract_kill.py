"""Kill extractions with SIGKILL at random instants, resume them, compare with one unbroken run.

Each trial forks an extraction over small generated images and kills it after a random time; the
next one goes on in the same store until it is complete, then a new store is begun. After every
kill each committed row must equal the unbroken run's to the last bit, `verify_store` must find
nothing, and no row may be gone. Prints one line of JSON.

    python tests/faults/extract_kill.py --trials 200
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import featx
from featx.errors import FeatxError
from featx.extraction import tables
from featx.store import open_store, verify_store

NET = {
    "backbone": "squeezenet1_1",
    "weights": None,
    "precision": "float32",
    "device": "cpu",
    "engine": "torch",  # OpenVINO's threads do not survive a fork either
}


@dataclass
class Tally:
    """Figures over all trials."""

    trials: int = 0
    killed: int = 0
    completed: int = 0
    committed_rows_checked: int = 0
    rows_lost: int = 0
    rows_different: int = 0
    verify_problems: int = 0
    tables_that_differ: int = 0


def draw(folder: Path, n: int) -> None:
    """Write n small images, every fiftieth of them broken."""
    rng = np.random.default_rng(0)
    for i in range(n):
        path = folder / f"{i % 7}" / f"{i:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (48, 48, 3), np.uint8)).save(path)
        if i % 50 == 49:
            path.write_bytes(path.read_bytes()[:100])


def start(folder: Path, store: Path, workers: int) -> int:
    """Fork an extraction; return its process id."""
    pid = os.fork()
    if pid:
        return pid
    os.setpgid(0, 0)
    torch.set_num_threads(1)  # OpenMP's threads do not survive a fork
    try:
        featx.extract(
            folder, store, batch_size=8, workers=workers, progress=False, crop_px=64,
            resize_px=64, **NET,
        )  # fmt: skip
    except BaseException:  # noqa: BLE001 - the parent looks at the status
        os._exit(1)
    os._exit(0)


def rows(store: Path) -> dict[str, bytes]:
    """Return each row's vector by path."""
    try:
        with open_store(store) as opened:
            return {p: v.tobytes() for p, v in zip(opened.paths.tolist(), opened[:], strict=True)}
    except FileNotFoundError:
        return {}
    except FeatxError as err:
        if "no table yet" in str(err):
            return {}
        raise


def main() -> int:
    """Run and print the tally; exit with 1 where a row was lost or changed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    chance, tally = random.Random(args.seed), Tally()
    tables.COMMIT_EVERY_S = 0.05  # more commits, so more kills that hit one
    with tempfile.TemporaryDirectory(prefix="extract-kill-") as name:
        root = Path(name)
        draw(root / "images", args.images)
        begun = time.monotonic()
        os.waitpid(start(root / "images", root / "whole.h5", 0), 0)
        whole_s, expected = time.monotonic() - begun, rows(root / "whole.h5")
        assert len(expected) == args.images - args.images // 50, len(expected)
        store, n_stores, seen = root / "0.h5", 0, {}
        while tally.trials < args.trials:
            tally.trials += 1
            pid = start(root / "images", store, tally.trials % 3)
            time.sleep(chance.uniform(0, 1.2 * whole_s))
            try:
                os.killpg(pid, signal.SIGKILL)
            except ProcessLookupError:  # too early: not yet its own group
                os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            tally.killed += os.WIFSIGNALED(status)
            found = rows(store)
            tally.committed_rows_checked += len(found)
            tally.rows_lost += len(seen.keys() - found.keys())
            tally.rows_different += sum(expected[p] != v for p, v in found.items())
            if store.exists():
                tally.verify_problems += len(verify_store(store).problems)
            seen = found
            if len(found) == len(expected):
                tally.completed += 1
                tally.tables_that_differ += found != expected
                n_stores += 1
                store, seen = root / f"{n_stores}.h5", {}
    print(json.dumps(asdict(tally)))  # noqa: T201
    bad = tally.rows_lost + tally.rows_different + tally.verify_problems + tally.tables_that_differ
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
