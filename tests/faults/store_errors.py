"""Let every operation of a writer on the disk fail in turn, and count what is lost.

A store with two commits is written on, three commits more; its k-th write, resize, sync, rename
or removal fails, for k = 0, 1, 2, ... until none is left, with each error number, once or from
then on, a write before anything or after half of it. The writer must say so with a featx error.
Where the disk takes things again, it commits again and goes on. In the end every row that a commit
returned for must be there and right, and the next writer must be able to go on. Prints one line of
JSON.

    python tests/faults/store_errors.py --trials 4000
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import itertools
import json
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from store_kill import ROWS_A_COMMIT, Tally, add_round, check

from featx.errors import FeatxError
from featx.store import StoreWriter, _disk

NUMBERS = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS)
OPERATIONS = ("write_at", "resize", "sync", "sync_folder", "remove", "rename")
ROUNDS = 3


class Disk:
    """A disk whose k-th operation fails."""

    def __init__(self, step: int, number: int, *, is_broken: bool, half_done: bool) -> None:
        self.left, self.number = step, number
        self.is_broken, self.half_done = is_broken, half_done
        self.failed = 0

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Stand between featx and the system."""
        real = {name: getattr(_disk, name) for name in OPERATIONS}
        for name, operation in real.items():
            setattr(_disk, name, self._standing_before(name, operation))
        try:
            yield
        finally:
            for name, operation in real.items():
                setattr(_disk, name, operation)

    def _standing_before(self, name: str, real):
        def operation(*args):
            self.left -= 1
            if self.left == -1 or (self.left < -1 and self.is_broken):
                self.failed += 1
                if name == "write_at" and self.half_done:
                    real(args[0], args[1], memoryview(args[2])[: len(args[2]) // 2])
                raise OSError(self.number, os.strerror(self.number))
            return real(*args)

        return operation


def write_on(path: Path, n_rows: int, problems: list[str]) -> int:
    """Commit some rounds, each again where it failed; return the rows that were confirmed."""
    try:
        with StoreWriter(path) as writer:
            for _ in range(ROUNDS):
                add_round(writer)
                try:
                    writer.commit()
                except FeatxError:
                    writer.commit()  # fails again on a broken disk, and ends this
                n_rows += ROWS_A_COMMIT
    except FeatxError as err:
        if "\n" in str(err):
            problems.append(f"not one line: {err}")
    except Exception as err:  # noqa: BLE001 - that is what is looked for
        problems.append(f"{type(err).__name__}: {err}")
    return n_rows


def run(most: int, seed: int) -> Tally:
    """Run all combinations, or `most` of each kind of them drawn at random."""
    folder = Path(tempfile.mkdtemp(prefix="store_errors"))
    tally, base = Tally(), folder / "base.h5"
    try:
        with StoreWriter(base) as writer:
            for _ in range(2):
                add_round(writer)
                writer.commit()
        kinds = list(itertools.product(NUMBERS, (False, True), (False, True)))
        steps = _count_steps(base, folder)
        trials = list(itertools.product(range(steps), kinds))
        draw = random.Random(seed)
        for step, (number, is_broken, half_done) in draw.sample(trials, min(most, len(trials))):
            path = folder / "f.h5"
            for old in folder.glob("f.h5*"):
                old.unlink()
            shutil.copy(base, path)
            disk = Disk(step, number, is_broken=is_broken, half_done=half_done)
            with disk.in_place():
                n_rows = write_on(path, 2 * ROWS_A_COMMIT, tally.problems)
            tally.trials += 1
            tally.killed += bool(disk.failed)
            n_rows = check(path, b"%d\n" % n_rows, 0, tally)
            n_rows = write_on(path, n_rows, tally.problems)
            check(path, b"%d\n" % n_rows, 0, tally)
    finally:
        shutil.rmtree(folder)
    return tally


def _count_steps(base: Path, folder: Path) -> int:
    path = folder / "counted.h5"
    shutil.copy(base, path)
    disk = Disk(10**9, 0, is_broken=False, half_done=False)
    with disk.in_place():
        write_on(path, 0, [])
    return 10**9 - disk.left


def main() -> int:
    """Parse, run, print; 0 only if nothing was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=10_000, help="at most; all there are")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    tally = run(args.trials, args.seed)
    sys.stdout.write(json.dumps(asdict(tally)) + "\n")
    return int(bool(tally.rows_lost or tally.wrong_rows or tally.not_opened or tally.problems))


if __name__ == "__main__":
    sys.exit(main())
