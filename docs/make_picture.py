"""Draw the pictures of README.md and of docs/start.md from the sample images.

python docs/make_picture.py [--folder docs]
"""

from __future__ import annotations

import argparse
import contextlib
import runpy
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import featx
from featx.demo import sample_data_dir

N_COLUMNS, N_LABELS = 6, 5
# The figures of examples, in their order.
SHOWN = {
    "plot_1_classify.py": ("start-confusions.png", "start-doubtful.jpg"),
    "plot_5_search.py": ("start-search.jpg",),
}
INK, MUTED, ACCENT = "#1d2733", "#5b6775", "#1f6feb"


def main() -> None:
    """Draw and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(__file__).resolve().parent)
    args = parser.parse_args()
    photos = sample_data_dir() / "objects"
    with tempfile.TemporaryDirectory() as folder:
        store = featx.extract(photos, Path(folder) / "photos.h5", progress=False)
        labels = np.array([str(label) for label in store.labels])
        files = [photos / str(path) for path in store.paths]
        rows = [
            look_alike(store, labels, files),
            by_word(store, files),
            predicted(store, labels, files),
        ]
    draw(rows, args.folder / "featx.jpg")
    run_examples(args.folder)


Row = tuple[str, list[tuple[Path, str]]]


def look_alike(store: Any, labels: Any, files: list[Path]) -> Row:
    """Return a picture and those that look most like it."""
    at = int(np.flatnonzero(labels == "sailboat")[0])
    matches = featx.RetrievalIndex().fit(store).query(store[at : at + 1], k=N_COLUMNS)
    found = [files[_row(store, name)] for name in matches.ids[0]]
    return "What looks like the first one?", [(file, "") for file in found]


def by_word(store: Any, files: list[Path]) -> Row:
    """Return what a word finds."""
    matches = featx.RetrievalIndex().fit(store).query(text="umbrella", k=N_COLUMNS)
    return 'Find "umbrella"', [(files[_row(store, name)], "") for name in matches.ids]


def predicted(store: Any, labels: Any, files: list[Path]) -> Row:
    """Return test pictures of other classes with the label that five per class teach."""
    train = np.concatenate([np.flatnonzero(labels == c)[:N_LABELS] for c in np.unique(labels)])
    classifier = featx.LinearProbeClassifier(random_state=0).fit(store[train], labels[train])
    shown = [np.flatnonzero(labels == c)[-1] for c in np.unique(labels)[1 : 1 + N_COLUMNS]]
    found = classifier.predict(store[np.sort(shown)])
    named = [(files[i], str(label)) for i, label in zip(np.sort(shown), found, strict=True)]
    return "Labelled after five examples of each of ten classes", named


def _row(store: Any, name: Any) -> int:
    return [str(path) for path in store.paths].index(str(name))


def run_examples(folder: Path) -> None:
    """Write the figures of the examples that docs/start.md shows."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt
    from matplotlib.figure import Figure

    for script, names in SHOWN.items():
        plt.close("all")
        path = str(Path(__file__).resolve().parents[1] / "examples" / script)
        with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(scratch):
            found = runpy.run_path(path)
        drawn = [plt.figure(number) for number in plt.get_fignums()]
        drawn = drawn or [value for value in found.values() if isinstance(value, Figure)]
        for figure, name in zip(drawn, names, strict=True):
            figure.savefig(folder / name, facecolor="white")


def draw(rows: list[Row], out: Path) -> None:
    """Write the rows, a title above each."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    figure = plt.figure(figsize=(9, 6.2), dpi=110, facecolor="white", layout="constrained")
    for part, (title, pictures) in zip(figure.subfigures(len(rows), 1), rows, strict=True):
        part.suptitle(title, x=0.012, ha="left", fontsize=14, color=INK, weight="bold")
        for axes, (file, caption) in zip(part.subplots(1, N_COLUMNS), pictures, strict=True):
            with Image.open(file) as image:
                axes.imshow(image.convert("RGB").resize((180, 180)))
            axes.set_axis_off()
            axes.set_title(caption, fontsize=12, color=MUTED, y=-0.18)
    figure.savefig(out, pil_kwargs={"quality": 88})


if __name__ == "__main__":
    main()
