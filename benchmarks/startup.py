"""How long featx takes to start: imports, the help, extractions, a query, a prediction, a server.

    python benchmarks/startup.py [--repeats 15] [--cpu] [--only WORD] [--against FOLDER]

Each is a fresh interpreter, medians of interleaved runs, in the state of a second run: bytecode is
written and the network's graph is kept (docs/deploy.md). Where a network is needed, "torch" has
the same command with FEATX_GRAPHS=off. `--against` takes another checkout of featx, whose runs
come in turns with this one's, beside a graph folder of its own. `--cpu` counts processor time, of
all threads and children, in place of the clock's: for a machine that others use too.

A query by vector is asked of an index of 10,000 x 512 that is memory-mapped: what a program that
only searches pays. Images go through the embedded network; queries and predictions are asked of an
index and a model of the package's sample objects. A server is timed until it has answered its
first picture. 1,000 photographs are taken where FEATX_ASSETS has them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np
from common import ROOT, WEIGHTS, keep, some_photographs

from featx import RetrievalIndex
from featx.cli.main import main as featx
from featx.demo import sample_data_dir
from featx.store import write_features

QUERY = """
import sys
import numpy as np
from featx import RetrievalIndex
index = RetrievalIndex.load(sys.argv[1], mmap=True)
index.query(np.ones(512, np.float32))
assert "torch" not in sys.modules
"""

IMAGE = """
import sys
import featx
featx.Encoder().encode(sys.argv[1:], device="cpu", workers=0)
"""

HELP = "from featx.cli.main import main; raise SystemExit(main(['--help']))"
OBJECTS = sample_data_dir() / "objects"
N_IMAGES, N_PHOTOGRAPHS = (1, 10, 84), 1000
NETWORK = ("extract", "query", "predict", "serve")  # the commands that need one


def prepare(folder: Path, only: str) -> dict[str, list[str]]:
    """Return what is run, by name; makes what the jobs with `only` in their names read."""
    rng = np.random.default_rng(0)
    vectors, store, rows, index, model = (str(folder / name) for name in "vsrim")
    RetrievalIndex().fit(rng.standard_normal((10_000, 512), np.float32)).save(vectors)
    names = [f"{i}.jpg" for i in range(1000)]
    X = rng.standard_normal((1000, 1280), np.float32)
    write_features(rows, X, paths=names, labels=[str(i % 10) for i in range(1000)]).close()
    image, *_ = images = sorted(map(str, OBJECTS.rglob("*.jpg")))
    new, out = str(folder / "new.h5"), str(folder / "out")
    commands = {
        "nothing": ["-c", ""],
        "import numpy": ["-c", "import numpy"],
        "import numpy, featx": ["-c", "import numpy, featx"],
        "import numpy, sklearn.base": ["-c", "import numpy, sklearn.base"],
        "import torch": ["-c", "import torch"],
        "featx --help": ["-c", HELP],
        "query of a saved index": ["-c", QUERY, vectors],
        "features of an image": ["-c", IMAGE, image],
        "featx query": ["-m", "featx", "query", index, image],
        "featx predict": ["-m", "featx", "predict", model, image],
        "featx serve": ["-m", "featx", "serve", index, "--port", "0", "--json"],
        "featx train, 1,000 rows": ["-m", "featx", "train", rows, "--out", out],
        "featx index, 1,000 rows": ["-m", "featx", "index", rows, "--out", f"{out}.index"],
    }
    sources = {str(n): images[:n] for n in N_IMAGES}
    if WEIGHTS.is_file():
        sources[f"{N_PHOTOGRAPHS:,}"] = some_photographs(N_PHOTOGRAPHS)
    for n, given in sources.items():
        words = ["-m", "featx", "extract", *given, "--store", new]
        commands[f"featx extract, images: {n}"] = words
    commands = {name: words for name, words in commands.items() if only in name}
    read = {word for words in commands.values() for word in words}
    steps = {index: ["index", store, "--out", index], model: ["train", store, "--out", model]}
    if read & steps.keys():
        for step in (["extract", str(OBJECTS), "--store", store], *steps.values()):
            assert featx([*step, "--quiet"]) == 0
    return commands


def run(words: list[str], tree: Path, graphs: str, by_cpu: bool) -> float:
    """Return how long it takes, in ms; a server until it has answered a picture."""
    environment = {**os.environ, "FEATX_GRAPHS": graphs, "PYTHONPATH": str(tree)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # as where featx is installed
    if "--store" in words:
        Path(words[-1]).unlink(missing_ok=True)
    before, start = os.times(), time.perf_counter()
    with subprocess.Popen(
        [sys.executable, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        cwd=tree,
    ) as process:
        if "serve" in words:
            url = json.loads(process.stdout.readline())["address"]
            request = urllib.request.Request(
                f"{url}api/query?k=1",
                min(OBJECTS.rglob("*.jpg")).read_bytes(),
                {"Content-Type": "image/jpeg"},
            )
            try:
                urllib.request.urlopen(request).read()
                took = time.perf_counter() - start
            finally:
                process.terminate()
        process.communicate()
    if "serve" not in words:
        took = time.perf_counter() - start
        assert process.returncode == 0, words
    after = os.times()
    cpu = sum(after[2:4]) - sum(before[2:4])
    return 1000 * (cpu if by_cpu else took)


def main() -> None:
    """Print medians in ms, and put those of this checkout into the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--cpu", action="store_true", help="processor time, of all threads")
    parser.add_argument("--only", default="", metavar="WORD", help="what has this in its name")
    parser.add_argument("--against", type=Path, metavar="FOLDER", help="another checkout")
    args = parser.parse_args()
    os.environ.pop("FEATX_GRAPHS", None)
    with tempfile.TemporaryDirectory() as name:
        ways = {"now": (ROOT, f"{name}/graphs"), "torch": (ROOT, "off")}
        if args.against:
            ways = {"before": (args.against.resolve(), f"{name}/graphs-before"), **ways}
        os.environ["FEATX_GRAPHS"] = f"{name}/graphs"
        jobs = prepare(Path(name), args.only)
        times: dict[str, dict[str, list[float]]] = {
            what: {w: [] for w in ways if w != "torch" or what.startswith(_with_network())}
            for what in jobs
        }
        for i in range(args.repeats + 1):
            for what, of_ways in times.items():
                for way, taken in of_ways.items():
                    took = run(jobs[what], *ways[way], args.cpu)
                    if i:  # the first writes bytecode, and keeps graphs
                        taken.append(took)
    report(times, list(ways), "CPU ms" if args.cpu else "ms", is_whole=not args.only)


def _with_network() -> tuple[str, ...]:
    return tuple(f"featx {command}" for command in NETWORK)


def report(
    times: dict[str, dict[str, list[float]]], ways: list[str], unit: str, *, is_whole: bool
) -> None:
    """Print a table, and keep the figures of all rows."""
    print(f"\n| {unit}, medians | {' | '.join(ways)} |\n|---|{'---|' * len(ways)}")
    for what, of_ways in times.items():
        cells = [f"{np.median(of_ways[w]):,.0f}" if w in of_ways else "" for w in ways]
        print(f"| {what} | {' | '.join(cells)} |")
    if not is_whole:
        return
    figures = {
        f"{what}{', by torch' if way == 'torch' else ''}, {unit}": float(np.median(taken))
        for what, of_ways in times.items()
        for way, taken in of_ways.items()
        if way != "before"
    }
    both = zip(times["import numpy, featx"]["now"], times["import numpy"]["now"], strict=True)
    figures[f"featx beyond numpy, {unit}"] = float(np.median([a - b for a, b in both]))
    keep("start-up", figures)


if __name__ == "__main__":
    main()
