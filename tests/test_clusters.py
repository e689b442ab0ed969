"""The examples of docs/clusters.md, each run as it stands there on its engine (extra `examples`).

CI has Ray alone: the other engines would add 670 MB to each run.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import featx

PAGE = Path(__file__).parents[1] / "docs" / "clusters.md"
# What a small machine needs beside an example, and how its batches become several.
BEFORE = {
    "Ray Data": "import ray\nray.init(num_cpus=2, include_dashboard=False, "
    "object_store_memory=100 * 2**20, log_to_driver=False)",
}
FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
N = 20

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def examples() -> dict[str, str]:
    """Return the code under each heading of the page; what all share is under ""."""
    first, *rest = re.split(r"^## (.+)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    parts = {"": first, **dict(zip(rest[::2], rest[1::2], strict=True))}
    return {head: "\n".join(FENCE.findall(text)) for head, text in parts.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Return a folder with `photos`: noise, one copy of another, and two that are broken."""
    folder = tmp_path_factory.mktemp("clusters")
    (folder / "photos").mkdir()
    for i in range(N):
        pixels = np.random.default_rng(min(i, N - 2)).integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "photos" / f"{i:02}.png")
    (folder / "photos" / "07.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    (folder / "photos" / "13.png").write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def local(folder) -> pd.DataFrame:
    paths = sorted(str(path) for path in (folder / "photos").iterdir())
    encoder = featx.Encoder(precision="float32")
    features, errors = encoder.try_encode(paths, workers=0)
    assert [bool(error) for error in errors] == [i in (7, 13) for i in range(N)]
    return pd.DataFrame({"path": paths, "features": list(features), "error": errors})


def run(code: str, folder: Path) -> None:
    """Run code as a person's script does, with the warnings of others left to them."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(featx.__file__).parents[1]),
        "OMP_NUM_THREADS": "1",
        "HF_HOME": str(folder / "huggingface"),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "PYSPARK_PYTHON": sys.executable,
        "DO_NOT_TRACK": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.mark.parametrize(
    ("head", "package"),
    [
        ("Ray Data", "ray"),
        ("Dask", "distributed"),
        ("datasets", "datasets"),
        ("Spark", "pyspark"),
        ("Daft", "daft"),
    ],
)
def test_an_engine_makes_the_table_of_one_process(head, package, folder, local) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    if head == "Spark" and not shutil.which("java"):
        pytest.skip("no Java runtime")
    code = examples()
    few = code[head].replace("64", "6").replace("repartition(8)", "repartition(3)")
    end = f"table.to_pickle({head!r} + '.pkl')"
    run("\n".join([BEFORE.get(head, ""), code[""], few, end]), folder)
    table = pd.read_pickle(folder / f"{head}.pkl").sort_values("path", ignore_index=True)
    assert table["path"].tolist() == local["path"].tolist()
    assert table["error"].tolist() == local["error"].tolist()
    found, expected = (np.stack([*t["features"]]).astype(float) for t in (table, local))
    # torch's last bits depend on how many images go through it together
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_table_becomes_a_store(folder, local) -> None:
    code = examples()
    local.to_pickle(folder / "local.pkl")
    read = "import pandas\ntable = pandas.read_pickle('local.pkl')"
    run("\n".join([code[""], read, code["From a table to a store"]]), folder)
    with featx.open_store(folder / "photos.h5") as store:
        assert store.shape == (N - 2, local["features"][0].size)
        np.testing.assert_array_equal(store[:], np.stack([*local["features"].drop([7, 13])]))
        assert store.recipe is not None
        assert store.recipe.precision == "float32"
