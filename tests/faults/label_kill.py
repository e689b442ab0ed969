"""Kill labelling sessions with SIGKILL, over and over, and count labels that are lost.

Each trial forks one or two sessions on one label file, which label, undo and label on, and report
each stroke after it returned. The parent kills them at a random instant and checks that every
reported stroke is in the file, whole, and that the next session goes on. Prints one line of JSON.

    python tests/faults/label_kill.py --trials 500
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from featx.labelling.label_file import LabelFile

N_IMAGES = 4000
LONGEST_S = 0.25


def write_strokes(path: Path, images: list[str], first: int, report: int) -> None:
    """Label every second free image, from `first`; take each tenth stroke back."""
    file = LabelFile(path, images)
    for row in range(first, N_IMAGES, 2):
        if row in file.values:
            continue
        file.put({row: (f"class {row % 7}",)})
        if row % 20 == first:
            file.put({row: None})
            continue
        os.write(report, b"%d\n" % row)


def run_trial(path: Path, images: list[str], n_sessions: int, delay_s: float) -> set[int]:
    """Let sessions work until they are killed; return the rows that they reported."""
    receive, report = os.pipe()
    children = []
    for first in range(n_sessions):
        child = os.fork()
        if child == 0:
            os.close(receive)
            try:
                write_strokes(path, images, first, report)
                time.sleep(60)
            finally:
                os._exit(1)
        children.append(child)
    os.close(report)
    time.sleep(delay_s)
    for child in children:
        os.kill(child, signal.SIGKILL)
    reported = b""
    while piece := os.read(receive, 65536):
        reported += piece
    os.close(receive)
    for child in children:
        os.waitpid(child, 0)
    return {int(line) for line in reported.decode().split("\n")[:-1]}


def main() -> int:
    """Run the trials and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    tally = {"trials": 0, "rows_checked": 0, "rows_lost": 0, "wrong_rows": 0}
    problems: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        path, given = Path(folder) / "labels.csv", set()
        images = [str(Path(folder) / f"{i}.jpg") for i in range(N_IMAGES)]
        for trial in range(args.trials):
            if len(given) > N_IMAGES // 2:
                path.unlink()
                given = set()
            given |= run_trial(path, images, 1 + trial % 2, rng.uniform(0, LONGEST_S))
            tally["trials"] += 1
            if not path.exists():
                tally["rows_lost"] += len(given)
                continue
            with path.open(newline="") as file:
                found = {row["path"]: row["label"] for row in csv.DictReader(file)}
            for row in given:
                label = found.get(f"{row}.jpg")
                tally["rows_checked"] += 1
                tally["rows_lost"] += label is None
                tally["wrong_rows"] += label not in (None, f"class {row % 7}")
            left = [p.name for p in path.parent.iterdir() if p.name.endswith(".part")]
            if len(left) > 2:  # one of each session that was killed, until the next one sweeps
                problems.append(f"trial {trial}: {len(left)} half-written files are left")
    sys.stdout.write(json.dumps({**tally, "problems": problems}) + "\n")
    return int(bool(tally["rows_lost"] or tally["wrong_rows"] or problems))


if __name__ == "__main__":
    raise SystemExit(main())
