"""Kill a server with SIGKILL while images are added to it; whatever it confirmed must be there.

Each trial starts ``featx serve --writable`` on one index and adds images over HTTP until it is
killed at a random instant after the first. Then the index must open, and have every image whose
addition was ever confirmed, with its file; at the end each is asked for and must find itself.
Prints one line of JSON.

    python tests/faults/serve_kill.py --trials 20 --seed 0
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import io
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from featx import RetrievalIndex, extract
from featx.demo import sample_data_dir

TOKEN = "faults-only"
CODE = "import sys; from featx.cli.main import main; sys.exit(main())"


def picture(seed: int) -> bytes:
    """Return a JPEG unlike the others."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8))
    file = io.BytesIO()
    coarse.resize((160, 160), Image.Resampling.BICUBIC).save(file, "JPEG", quality=95)
    return file.getvalue()


@contextlib.contextmanager
def serving(index: Path) -> Iterator[tuple[subprocess.Popen[str], str, int]]:
    """Start a server; yield it, with where it listens."""
    words = [sys.executable, "-c", CODE, "serve", str(index), "--port", "0", "--json"]
    process = subprocess.Popen(
        [*words, "--writable"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "FEATX_TOKEN": TOKEN, "OMP_NUM_THREADS": "1"},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://([\d.]+):(\d+)/", line)
        if found is None:
            raise RuntimeError(f"the server said {line!r}")
        yield process, found[1], int(found[2])
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def post(host: str, port: int, path: str, data: bytes) -> tuple[int, Any]:
    """Send an image; return status and answer."""
    connection = http.client.HTTPConnection(host, port, timeout=60)
    head = {"content-type": "image/jpeg", "authorization": f"Bearer {TOKEN}"}
    try:
        connection.request("POST", path, data, head)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def main() -> int:
    """Parse, run, print; 0 only if nothing was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    chance = random.Random(args.seed)
    tally = {"trials": 0, "adds_confirmed": 0, "rows_checked": 0, "rows_lost": 0, "cut_off": 0}
    confirmed: dict[int, int] = {}  # seed of the picture -> row
    with tempfile.TemporaryDirectory(prefix="serve-kill-") as name:
        folder = Path(name)
        with extract(
            sample_data_dir() / "objects", folder / "f.h5", device="cpu", progress=False
        ) as store:
            RetrievalIndex().fit(store).save(folder / "index")
        number, gone = 0, set()
        for _ in range(args.trials):
            with serving(folder / "index") as (process, host, port):
                killer = threading.Timer(chance.uniform(0.0, 0.5), process.kill)
                try:
                    while True:
                        number += 1
                        status, answer = post(host, port, "/api/add?label=new", picture(number))
                        if status == 201:
                            confirmed[number] = answer["row"]
                        if killer.ident is None:  # the first one waits for the network
                            killer.start()
                except (OSError, http.client.HTTPException, ValueError):
                    tally["cut_off"] += 1
                if killer.ident is not None:
                    killer.join()
            tally["trials"] += 1
            gone |= lost(folder / "index", confirmed)
            tally["rows_checked"] += len(confirmed)
            time.sleep(0.01)
        tally["adds_confirmed"] = len(confirmed)
        with serving(folder / "index") as (_, host, port):  # and it serves as before
            for number in confirmed:
                status, answer = post(host, port, "/api/query?k=1", picture(number))
                while status == 429:  # more questions a second than one client may ask
                    time.sleep(1)
                    status, answer = post(host, port, "/api/query?k=1", picture(number))
                if answer["matches"][0]["distance"] > 1e-3:
                    gone.add(number)
        tally["rows_lost"] = len(gone)
    sys.stdout.write(json.dumps(tally) + "\n")
    return int(tally["rows_lost"] > 0)


def lost(path: Path, confirmed: dict[int, int]) -> set[int]:
    """Return confirmed images whose file or row the index has not."""
    kept = {
        Path(name).read_bytes()
        for name in RetrievalIndex.load(path).ids_.tolist()
        if Path(name).is_file()
    }
    return {number for number in confirmed if picture(number) not in kept}


if __name__ == "__main__":
    sys.exit(main())
