"""featx serve under load: queries per second, their times, memory, and what rubbish gets.

    python benchmarks/serve.py [--seconds 10] [--queries 2000] [--rubbish 1000]

A real process on an index of the sample images, asked over real connections that stay open, by
clients in this process: both share the machine. Each query is the upload of a sample image and an
answer of 12 neighbours.
"""

from __future__ import annotations

import argparse
import collections
import http.client
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import psutil
from common import keep

import featx
from featx.demo import sample_data_dir

FEATX = [sys.executable, "-c", "from featx.cli.main import main; raise SystemExit(main())"]
CLIENTS = (1, 8, 64)
JPEG = {"Content-Type": "image/jpeg"}


def ask(connection, data):
    """Send one query and return its status and body."""
    connection.request("POST", "/api/query?k=12", data, JPEG)
    response = connection.getresponse()
    return response.status, response.read()


def load(where, images, n_clients, seconds):
    """Let clients ask one query after the other, and return the times in ms and the span in s."""
    times, wrong = [], []
    end = time.monotonic() + seconds

    def client(seed):
        connection = http.client.HTTPConnection(where.hostname, where.port, timeout=120)
        choose = random.Random(seed)
        while time.monotonic() < end:
            begin = time.monotonic()
            status, _ = ask(connection, choose.choice(images))
            (times if status == 200 else wrong).append(1000 * (time.monotonic() - begin))

    begin = time.monotonic()
    threads = [threading.Thread(target=client, args=(i,)) for i in range(n_clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if wrong:
        raise SystemExit(f"{len(wrong)} queries were refused")
    return times, time.monotonic() - begin


def counters(where):
    """Return how many queries went through the network in how many batches."""
    connection = http.client.HTTPConnection(where.hostname, where.port)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    found = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return float(found["featx_batched_total"]), float(found["featx_batches_total"])


def rubbish(images, n):
    """Yield uploads that are cut, changed, random or of another kind."""
    choose = random.Random(0)
    starts = [b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\0", b"RIFF", b"P6 "]
    for i in range(n):
        good = choose.choice(images)
        if i % 4 == 0:
            yield good[: choose.randrange(1, len(good) // 2)]
        elif i % 4 == 1:
            bad = bytearray(good)
            for _ in range(200):
                bad[choose.randrange(len(bad))] = choose.randrange(256)
            yield bytes(bad)
        else:
            yield choose.choice(starts) + choose.randbytes(choose.randrange(1, 5000))


def measure(where, process, images, args):
    """Return all figures of a server that runs."""
    figures = {}
    load(where, images, 8, 2)  # warm
    for n in CLIENTS:
        queries, batches = counters(where)
        times, span = load(where, images, n, args.seconds)
        more, passes = counters(where)
        figures[f"{n} clients"] = {
            "queries_per_second": round(len(times) / span, 1),
            "p50_ms": round(float(np.percentile(times, 50)), 1),
            "p99_ms": round(float(np.percentile(times, 99)), 1),
            "queries_a_pass": round((more - queries) / (passes - batches), 1),
        }
    server = psutil.Process(process.pid)
    connection = http.client.HTTPConnection(where.hostname, where.port, timeout=120)
    memory = {}
    for i in range(args.queries + 1):
        if i % (args.queries // 4) == 0:
            memory[f"after {i} more queries"] = round(server.memory_full_info().uss / 2**20)
        ask(connection, images[i % len(images)])
    figures["memory_MiB"] = memory
    statuses = collections.Counter()
    for data in rubbish(images, args.rubbish):
        status, body = ask(connection, data)
        kind = "matches" if status == 200 else "error"
        statuses[f"{status} JSON" if kind in json.loads(body) else f"{status} other"] += 1
    figures["malformed_uploads"] = dict(statuses)
    figures["memory_MiB"]["after malformed uploads"] = round(server.memory_full_info().uss / 2**20)
    return figures


def main():
    """Build an index, serve it, measure, stop it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--queries", type=int, default=2000)
    parser.add_argument("--rubbish", type=int, default=1000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        store = featx.extract(sample_data_dir() / "objects", root / "f.h5", progress=False)
        featx.RetrievalIndex().fit(store).save(root / "index")
        images = [Path(path).read_bytes() for path in store.paths]
        process = subprocess.Popen(
            [*FEATX, "serve", root / "index", "--port", "0", "--rate", "0", "--json"],
            stdout=subprocess.PIPE,
        )
        try:
            where = urlsplit(json.loads(process.stdout.readline())["address"])
            figures = measure(where, process, images, args)
        finally:
            process.terminate()
            status = process.wait(60)
    figures |= {
        "exit_status": status,
        "load_average": round(psutil.getloadavg()[0], 1),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS", "not set"),
    }
    keep("serve", figures)


if __name__ == "__main__":
    main()
