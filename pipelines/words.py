r"""Make the files by which words find images: ImageNet's names, and a classifier's rows.

    python -m pipelines.words names --wordnet /usr/share/wordnet --out featx/backbones/data
    python -m pipelines.words rows --network featx_small --weights mobilenet_v2.pth \
        --out featx/backbones/data

WordNet 3.0 is Debian's package ``wordnet-base``; ImageNet's classes are numbered by its places.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from featx.backbones import build_network
from featx.backbones.weights import read_state_dict, state_digest
from featx.backbones.words import NAMES_FILE, rows_file

# A word that means nearly every class finds nothing in particular.
MOST_CLASSES = 600
HYPERNYMS = ("@", "@i")
# Where the classifier lies in the weights that a network was derived from.
HEADS = {"featx_base": "classifier", "featx_small": "classifier.1"}
Synsets = dict[str, tuple[list[str], list[str]]]


def main() -> None:
    """Write one of the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    names = commands.add_parser("names")
    names.add_argument("--wordnet", type=Path, required=True)
    rows = commands.add_parser("rows")
    rows.add_argument("--network", choices=list(HEADS), required=True)
    rows.add_argument("--weights", type=Path, required=True, help="those that it started from")
    for command in (names, rows):
        command.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    if args.command == "names":
        text = "\n".join(list_names(args.wordnet)) + "\n"
        (args.out / NAMES_FILE).write_text(text, "utf-8")
    else:
        write_rows(args.network, args.weights, args.out / rows_file(args.network))


def list_names(wordnet: Path) -> Iterator[str]:
    """Yield a line for each class in ImageNet's order, then one for each wider term.

    A line is the place in WordNet, those of the terms right above, and the names. A wider term
    keeps a name that it has first or whose commonest sense it is: a lamp is a table lamp as well
    as a candle, but a cat is no lion, though WordNet has "big cat, cat".
    """
    from timm.data import ImageNetInfo

    synsets, senses = read_synsets(wordnet / "data.noun"), read_senses(wordnet / "index.noun")
    classes = [name.removeprefix("n") for name in ImageNetInfo("imagenet-1k").label_names()]
    found: dict[str, int] = {}
    for place in classes:
        for above in list_above(place, synsets):
            found[above] = found.get(above, 0) + 1
    wider = sorted(p for p, n in found.items() if n <= MOST_CLASSES and p not in classes)
    kept = set(wider)
    for place in [*classes, *wider]:
        names, parents = synsets[place]
        if place in kept:
            names = [
                name
                for name in names
                if name == names[0] or first_sense(senses[name.lower()], kept) == place
            ]
        yield "\t".join([place, " ".join(p for p in parents if p in kept), ", ".join(names)])


def first_sense(senses: list[str], among: set[str]) -> str | None:
    """Return the commonest sense among some."""
    return next((sense for sense in senses if sense in among), None)


def read_synsets(path: Path) -> Synsets:
    """Return names and hypernyms of WordNet's nouns, as wndb(5WN) lays them out."""
    found: Synsets = {}
    for line in path.read_text("utf-8").splitlines():
        if line.startswith(" "):  # the licence
            continue
        fields = line.partition("|")[0].split()
        end = 4 + 2 * int(fields[3], 16)
        names = [name.replace("_", " ") for name in fields[4:end:2]]
        pointers = [fields[end + 1 + 4 * i :][:4] for i in range(int(fields[end]))]
        found[fields[0]] = names, [place for kind, place, *_ in pointers if kind in HYPERNYMS]
    return found


def read_senses(path: Path) -> dict[str, list[str]]:
    """Return the places of each noun, the commonest first."""
    found: dict[str, list[str]] = {}
    for line in path.read_text("utf-8").splitlines():
        if not line.startswith(" "):
            fields = line.split()
            found[fields[0].replace("_", " ")] = fields[-int(fields[2]) :]
    return found


def list_above(place: str, synsets: Synsets) -> set[str]:
    """Return all terms that are wider."""
    above: set[str] = set()
    new = list(synsets[place][1])
    while new:
        one = new.pop()
        if one not in above:
            above.add(one)
            new += synsets[one][1]
    return above


def write_rows(name: str, weights: Path, out: Path) -> None:
    """Write the published classifier's rows as whole numbers with one step between them."""
    from safetensors.numpy import save_file

    state = read_state_dict(weights)
    rows, bias = (state[f"{HEADS[name]}.{part}"].double().numpy() for part in ("weight", "bias"))
    levels, step = to_int8(rows)
    header = {
        "step": json.dumps(step),
        "weights": state_digest(build_network(name).module),
    }
    save_file({"rows": levels, "bias": bias.astype(np.float32)}, out, header)
    error = np.abs(levels * step - rows).max()
    size, most = out.stat().st_size, np.abs(rows).max()
    print(f"{out}: {size:,} bytes, largest error {error:.2g} of {most:.2g}")


def to_int8(rows: NDArray[np.float64]) -> tuple[NDArray[np.int8], float]:
    """Return whole numbers, and what one of them stands for."""
    step = float(np.abs(rows).max() / 127)
    return np.round(rows / step).astype(np.int8), step


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
