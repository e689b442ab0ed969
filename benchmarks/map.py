"""Measure `featx map`: seconds, memory, bytes, frames in a browser, and what moves.

    python benchmarks/map.py --sizes 1000 10000 100000

Features are made up: rectified sums of 40 directions about 100 centres, 1,280 long, as those of a
network are; pictures are links to 200 files of 320 x 240. Each map is drawn in a process of its
own. Up to 10,000 images, scikit-learn's t-SNE lays out the same components for comparison. Frames
are those of chromium without a graphics card: `drawn` is the script's own time for one frame,
`between` the time from frame to frame while the wheel zooms the map in, about and out.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

N_FEATURES, N_LATENT, N_CLASSES, N_FILES = 1280, 40, 100, 200
TRUSTED_ON, NEIGHBOURS = 4000, 15

MEASURE_FRAMES = """
const done = arguments[0], canvas = document.getElementById("plane");
const box = canvas.getBoundingClientRect(), between = [], drawn = [];
let last = 0, k = 0;
const turn = (deltaY, aside) => canvas.dispatchEvent(new WheelEvent("wheel", {
  bubbles: true, cancelable: true, view: window, deltaY,
  clientX: box.x + box.width / 2 + aside, clientY: box.y + box.height / 2,
}));
const shares = (values) => {
  values.sort((p, q) => p - q);
  return [0.5, 0.95, 1].map((q) => values[Math.min(values.length - 1, Math.floor(q * values.length))]);
};
function step(now) {
  if (last) between.push(now - last);
  last = now;
  if (k === 240) return done({ between: shares(between), drawn: shares(drawn) });
  if (k < 80) turn(-30, 0);
  else if (k < 160) turn(k % 2 ? -20 : 20, k);
  else turn(30, 0);
  drawn.push(featxMap.frame());
  k++;
  requestAnimationFrame(step);
}
requestAnimationFrame(step);
"""  # noqa: E501


def make_features(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(0)
    axes = rng.standard_normal((N_LATENT, N_FEATURES), np.float32) / np.sqrt(N_LATENT)
    centres = rng.standard_normal((N_CLASSES, N_LATENT), np.float32)
    spread = np.linspace(1.5, 0.3, N_LATENT, dtype=np.float32) * 0.9
    rng = np.random.default_rng(seed + 1)
    X = np.empty((n, N_FEATURES), np.float32)
    for start in range(0, n, 4096):
        y = np.arange(start, min(start + 4096, n)) % N_CLASSES
        latent = centres[y] + rng.standard_normal((len(y), N_LATENT), np.float32) * spread
        noise = rng.standard_normal((len(y), N_FEATURES), np.float32) * 0.3
        X[start : start + len(y)] = np.maximum(latent @ axes - 0.5 + noise, 0)
    return X


def make_store(folder: Path, X: np.ndarray, name: str) -> Path:
    from featx.store import write_features

    photos = folder / "photos"
    paths = [str(photos / f"{i // 1000:03}" / f"{i:06}.jpg") for i in range(len(X))]
    if not photos.exists():
        _make_files(folder / "files")
    for i, path in enumerate(paths):
        if i % 1000 == 0:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(path):
            os.link(folder / "files" / f"{i % N_FILES}.jpg", path)
    labels = [f"class {i % N_CLASSES}" for i in range(len(X))]
    write_features(folder / name, X, paths=paths, labels=labels)
    return folder / name


def _make_files(folder: Path) -> None:
    from PIL import Image

    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(N_FILES):
        coarse = rng.integers(0, 256, (6, 8, 3), np.uint8)
        Image.fromarray(coarse).resize((320, 240), Image.Resampling.BICUBIC).save(
            folder / f"{i}.jpg"
        )


def draw(store: Path, page: Path, *more: str) -> dict:
    """Run the command in a process of its own; return its result with the peak of its memory."""
    code = (
        "import json, resource, sys; from featx.cli.main import main; "
        "status = main(sys.argv[1:]); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr); "
        "sys.exit(status)"
    )
    words = ["map", str(store), "--html", str(page), "--json", "--quiet", *more]
    run = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    if run.returncode:
        sys.exit(run.stderr)
    return json.loads(run.stdout) | {"peak_mb": int(run.stderr.split()[-1]) / 1024}


def read_places(page: Path) -> np.ndarray:
    text = page.read_text()
    start = text.index('<script id="map"')
    document = json.loads(text[text.index(">", start) + 1 : text.index("</script>", start)])
    return (
        np.frombuffer(base64.b64decode(document["place"]), "<u2").reshape(-1, 2).astype(np.int64)
    )


def measure_frames(page: Path) -> dict | None:
    driver = shutil.which("chromedriver")
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if not (driver and browser):
        return None
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for word in ("headless=new", "no-sandbox", "disable-gpu", "window-size=1280,900"):
        options.add_argument(f"--{word}")
    found = webdriver.Chrome(options=options, service=Service(driver))
    try:
        found.set_script_timeout(300)
        start = time.monotonic()
        found.get(page.as_uri())
        found.execute_script("return featxMap.frame()")
        ready_s = time.monotonic() - start
        return found.execute_async_script(MEASURE_FRAMES) | {"ready_s": ready_s}
    finally:
        found.quit()


def compare_with_scikit_learn(X: np.ndarray, places: np.ndarray) -> tuple[float, float, float]:
    """Return the trustworthiness of the map, of scikit-learn's t-SNE, and the seconds of that."""
    from sklearn.manifold import TSNE, trustworthiness

    from featx.mapping.projection import reduce_features

    components = reduce_features(lambda: [X], len(X))
    rows = np.random.default_rng(0).choice(len(X), min(TRUSTED_ON, len(X)), replace=False)

    def judge(flat: np.ndarray) -> float:
        return float(trustworthiness(components[rows], flat[rows], n_neighbors=NEIGHBOURS))

    ours = judge(places)
    if len(X) > 10_000:
        return ours, float("nan"), float("nan")
    start = time.monotonic()
    plain = TSNE(init="pca", random_state=0).fit_transform(components)
    return ours, judge(plain), time.monotonic() - start


def measure(n: int, folder: Path) -> None:
    X = make_features(n + n // 100)
    store = make_store(folder, X[:n], "f.h5")
    page = folder / "map.html"
    first = draw(store, page)
    before = read_places(page)
    frames = measure_frames(page)
    n_page = page.stat().st_size
    grown = draw(make_store(folder, X, "g.h5"), page)
    moved = int(np.abs(read_places(page)[:n] - before).max())
    ours, plain, plain_s = compare_with_scikit_learn(X[:n], before)
    print(
        f"\n{n:,} images: {first['seconds']:.0f} s, {first['peak_mb']:,.0f} MB at most; page "
        f"{n_page / 1e6:.2f} MB, with pictures {first['n_bytes'] / 1e6:.1f} MB\n"
        f"  {grown['n_new']:,} more: {grown['seconds']:.0f} s; an old point moved by {moved}\n"
        f"  trustworthiness {ours:.4f}; scikit-learn's t-SNE {plain:.4f} in {plain_s:.0f} s"
    )
    if frames is None:
        print("  no chromium and chromedriver: frames were not measured")
        return
    drawn, between = (
        ", ".join(f"{value:.0f}" for value in frames[name]) for name in ("drawn", "between")
    )
    print(
        f"  browser: ready after {frames['ready_s']:.1f} s; a frame is drawn in {drawn} ms, from "
        f"frame to frame {between} ms (median, 95 %, most)",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000])
    args = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for n in args.sizes:
        with tempfile.TemporaryDirectory() as name:
            measure(n, Path(name))


if __name__ == "__main__":
    main()
