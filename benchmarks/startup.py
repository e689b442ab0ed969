"""How long featx takes to start: an import, the help, a query, a prediction, a server.

    python benchmarks/startup.py [--repeats 15]

Each is a fresh interpreter, medians of interleaved runs. A query by vector is asked of an index of
10,000 x 512 that is memory-mapped: what a program that only searches pays. One image goes through
the embedded network: in Python by torch; on the command line by torch and by the graph that is
kept (docs/deploy.md), asked of an index and a model of the package's sample objects.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from common import keep

from featx import RetrievalIndex
from featx.cli.main import main as featx
from featx.demo import sample_data_dir

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


def prepare(folder: Path) -> dict[str, list[str]]:
    """Return what is run, by name; makes an index, a model and the kept graph."""
    X = np.random.default_rng(0).standard_normal((10_000, 512), np.float32)
    vectors, store, index, model = (str(folder / name) for name in ("v", "s.h5", "i", "m"))
    RetrievalIndex().fit(X).save(vectors)
    image = str(min(OBJECTS.rglob("*.jpg")))
    for words in (
        ["extract", str(OBJECTS), "--store", store],
        ["index", store, "--out", index],
        ["train", store, "--out", model],
    ):
        assert featx([*words, "--quiet"]) == 0
    return {
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
    }


def run(words: list[str], graphs: str) -> float:
    """Return how long it takes, in ms; a server until it is ready."""
    environment = {**os.environ, "FEATX_GRAPHS": graphs}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # as where featx is installed
    start = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        if "serve" in words:
            json.loads(process.stdout.readline())
            took = time.perf_counter() - start
            process.terminate()
        process.communicate()
        if "serve" in words:
            return 1000 * took
        assert process.returncode == 0, words
    return 1000 * (time.perf_counter() - start)


def main() -> None:
    """Print medians in ms."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        graphs = os.environ["FEATX_GRAPHS"] = str(Path(name) / "graphs")
        jobs = prepare(Path(name))
        pairs = [(what, "off") for what in jobs]
        pairs += [
            (what, graphs) for what in jobs if what.startswith("featx ") and "--" not in what
        ]
        times: dict[tuple[str, str], list[float]] = {pair: [] for pair in pairs}
        for i in range(args.repeats + 1):
            for what, where in pairs:
                took = run(jobs[what], where)
                if i:  # the first writes bytecode
                    times[what, where].append(took)
    figures = {
        f"{what}{'' if where == 'off' else ', kept graph'}, ms": float(np.median(of))
        for (what, where), of in times.items()
    }
    both = zip(times["import numpy, featx", "off"], times["import numpy", "off"], strict=True)
    figures["featx beyond numpy, ms"] = float(np.median([a - b for a, b in both]))
    keep("start-up", figures)


if __name__ == "__main__":
    main()
