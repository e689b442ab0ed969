"""Kill writers of a store with SIGKILL, over and over, and count what is lost.

Each trial forks a writer, which appends, updates and commits rows whose values follow from their
numbers, and reports each commit after it returned. The parent kills it, at a random instant
(``--mode random``), or it kills itself at its k-th operation on the disk, every second time with a
write left half done (``--mode steps``; k = 0, stride, 2 stride, ...). Then the parent checks that
every reported row is there and is right, that `verify_store` finds nothing, and that the next
writer goes on. Prints one line of JSON.

    python tests/faults/store_kill.py --trials 2000
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import h5py
import numpy as np

from featx.errors import FeatxError
from featx.store import Failure, FeatureStore, StoreWriter, _disk, open_store, verify_store

WIDTH = 48
ROWS_A_COMMIT = 40


@dataclass
class Tally:
    """Figures over all trials."""

    trials: int = 0
    killed: int = 0
    committed_rows_checked: int = 0
    rows_lost: int = 0
    wrong_rows: int = 0
    not_opened: int = 0
    not_opened_by_plain_h5py: int = 0
    journals_replayed: int = 0
    problems: list[str] = field(default_factory=list)


def vectors(rows: range | list[int], generation: int = 0) -> np.ndarray:
    """Return the vectors of some rows; each value follows from row, column and generation."""
    numbers = np.asarray(rows, np.float64)[:, None]
    return (np.sin(numbers * 0.7 + np.arange(WIDTH)) + generation).astype(np.float32)


def add_round(writer: StoreWriter) -> None:
    """Append and update, not yet committed."""
    table = writer.table(None, has_labels=True, n_features=WIDTH)
    rows = range(table.n_samples, table.n_samples + ROWS_A_COMMIT)
    generation = rows.stop // ROWS_A_COMMIT
    table.append(
        [f"/photos/{i}.jpg" for i in rows],
        vectors(rows),
        digests=[f"{i:064x}" for i in rows],
        sizes=list(rows),
        mtimes=list(rows),
        labels=[f"class {i % 7}" for i in rows],
    )
    table.update(0, features=vectors([0], generation), labels=[f"class {generation}"])
    writer.add_failures([Failure("/photos/bad.jpg", f"try {generation}")])


def write_rounds(path: Path, report: int) -> None:
    """Append and update for ever; report the number of rows after each commit."""
    with StoreWriter(path) as writer:
        while True:
            add_round(writer)
            writer.commit()
            n_rows = writer.table(None, has_labels=True, n_features=WIDTH).n_samples
            os.write(report, b"%d\n" % n_rows)


def die_at(step: int, *, half_done: bool) -> None:
    """Arrange that this process is killed at its `step`-th operation on the disk."""
    left = [step]

    def wrap(name: str) -> None:
        original = getattr(_disk, name)

        def operation(*args: object) -> object:
            left[0] -= 1
            if left[0] < 0:
                if name == "write_at" and half_done:
                    original(args[0], args[1], memoryview(args[2])[: len(args[2]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*args)

        setattr(_disk, name, operation)

    for name in ("write_at", "resize", "sync", "sync_folder", "remove", "rename"):
        wrap(name)


def run_trial(
    path: Path, *, step: int | None, half_done: bool, delay_s: float
) -> tuple[bytes, bool]:
    """Let a writer work until it is killed; return what it reported and whether it was killed."""
    receive, report = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receive)
        try:
            if step is not None:
                die_at(step, half_done=half_done)
            write_rounds(path, report)
        finally:
            os._exit(1)
    os.close(report)
    if step is None:
        time.sleep(delay_s)
        os.kill(child, signal.SIGKILL)
    reported = b""
    while piece := os.read(receive, 65536):
        reported += piece
    os.close(receive)
    _, status = os.waitpid(child, 0)
    return reported, os.WIFSIGNALED(status)


def check(path: Path, reported: bytes, n_before: int, tally: Tally) -> int:
    """Compare the file with what was reported; return its rows."""
    lines = reported.decode().split("\n")[:-1]
    n_rows = int(lines[-1]) if lines else n_before
    if not path.exists():
        tally.rows_lost += n_rows
        return 0
    tally.journals_replayed += path.with_name(f"{path.name}.journal").exists()
    try:
        with h5py.File(path, "r") as h5:
            h5["tables/outside/features"][...] if "outside" in h5["tables"] else None
    except (OSError, KeyError, RuntimeError):
        tally.not_opened_by_plain_h5py += 1
    try:
        with StoreWriter(path):
            pass
        result = verify_store(path)
        tally.problems += result.problems
        if not n_rows and not result.n_rows_checked:
            return 0
        with open_store(path) as store:
            return _compare(store, n_rows, tally)
    except FeatxError as err:
        tally.not_opened += 1
        tally.rows_lost += n_rows
        tally.problems.append(str(err))
    return 0


def _compare(store: FeatureStore, n_rows: int, tally: Tally) -> int:
    n = len(store)
    tally.committed_rows_checked += n_rows
    tally.rows_lost += max(0, n_rows - n)
    wrong = (store[1:] != vectors(range(1, n))).any(axis=1)
    wrong |= store.paths[1:] != [f"/photos/{i}.jpg" for i in range(1, n)]
    wrong |= store.labels[1:] != [f"class {i % 7}" for i in range(1, n)]
    wrong |= store.digests[1:] != [f"{i:064x}" for i in range(1, n)]
    tally.wrong_rows += int(wrong.sum())
    # The commit after the last reported one may have happened too, but only as a whole.
    generation = n // ROWS_A_COMMIT
    fits = n in (n_rows, n_rows + ROWS_A_COMMIT)
    fits &= bool((store[0] == vectors([0], generation)[0]).all())
    fits &= store.labels[0] == f"class {generation}"
    fits &= store.failures[0].reason == f"try {generation}"
    tally.wrong_rows += not fits
    return n


def run(trials: int, mode: str, *, stride: int, seed: int, max_delay_s: float) -> Tally:
    """Run all trials in a folder of their own; a store lives through ten of them."""
    folder = Path(tempfile.mkdtemp(prefix="store_kill"))
    draw, tally, n_rows = random.Random(seed), Tally(), 0
    try:
        for trial in range(trials):
            path = folder / f"{trial if mode == 'steps' else trial // 10}.h5"
            n_rows = n_rows if path.exists() else 0
            reported, was_killed = run_trial(
                path,
                step=trial * stride if mode == "steps" else None,
                half_done=trial % 2 == 1,
                delay_s=draw.uniform(0, max_delay_s),
            )
            tally.trials += 1
            tally.killed += was_killed
            n_rows = check(path, reported, n_rows, tally)
    finally:
        shutil.rmtree(folder)
    return tally


def main() -> int:
    """Parse, run, print; 0 only if nothing was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--mode", choices=("random", "steps"), default="random")
    parser.add_argument("--stride", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-delay-s", type=float, default=0.25)
    args = parser.parse_args()
    tally = run(
        args.trials,
        args.mode,
        stride=args.stride,
        seed=args.seed,
        max_delay_s=args.max_delay_s,
    )
    sys.stdout.write(json.dumps(asdict(tally)) + "\n")
    return int(bool(tally.rows_lost or tally.wrong_rows or tally.not_opened or tally.problems))


if __name__ == "__main__":
    sys.exit(main())
