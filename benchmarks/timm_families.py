"""Every family of timm: does its smallest network give a feature at its own size and at another?

    python benchmarks/timm_families.py RESULTS.jsonl [FAMILY ...]
    python benchmarks/timm_families.py RESULTS.jsonl --table

A family is a module of ``timm.models``. Weights are random. Each family is one line of the file,
written when it is done, so that a run that was stopped goes on where it was; `--table` prints
what the file holds.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch

from featx import Encoder
from featx.errors import FeatxError

MOST_BYTES = 6e9  # of float32 weights; a family whose smallest network has more is not tried
DONE = "gives"


def find_smallest(family: str) -> tuple[str, int]:
    """Return the network of a family with the fewest parameters, and their number."""
    counts = {}
    for name in timm.list_models(module=family):
        with torch.device("meta"):
            module = timm.create_model(name)
        counts[name] = sum(p.numel() for p in module.parameters())
    return min(counts.items(), key=lambda item: item[1])


def try_size(name: str, px: int | None) -> str:
    """Return how wide the feature of one image is, or why there is none."""
    sizes = {} if px is None else {"resize_px": px, "crop_px": px}
    image = np.random.default_rng(0).integers(0, 256, (1, 300, 400, 3)).astype(np.uint8)
    try:
        encoder = Encoder(f"timm/{name}", weights=None, precision="float32", **sizes)
        return f"{DONE} {encoder.encode(image, engine='torch').shape[1]} numbers"
    except FeatxError as err:
        return str(err).partition(": ")[2]
    except Exception as err:  # noqa: BLE001 - what featx lets through is to be in the table, too
        return f"RAISES {type(err).__name__}: {err}"


def try_family(family: str) -> dict[str, Any]:
    """Try its smallest network."""
    start = time.perf_counter()
    name, n = find_smallest(family)
    config = timm.models.get_pretrained_cfg(name)
    own = config.input_size[-1]
    step = 14 if own % 14 == 0 and own % 32 else 32
    other = max(step * 2, int(own * 0.75) // step * step)
    row = {"family": family, "network": name, "n_parameters": n, "own_px": own, "other_px": other}
    if n * 4 > MOST_BYTES:
        reason = f"not tried: {n * 4 / 1e9:.0f} GB of weights"
        return {**row, "own": reason, "other": reason}
    own_said, other_said = (try_size(name, px) for px in (None, other))
    seconds = round(time.perf_counter() - start, 1)
    return {**row, "own": own_said, "other": other_said, "seconds": seconds}


def read(path: Path) -> dict[str, dict[str, Any]]:
    """Return the rows of a file, by family; the last line may be cut off."""
    rows = {}
    for line in path.read_text("utf-8").splitlines() if path.is_file() else ():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        rows[row["family"]] = row
    return rows


def print_table(rows: dict[str, dict[str, Any]]) -> None:
    """Print what failed or was not tried, and count the rest."""
    families = timm.list_modules()
    missing = [f for f in families if f not in rows]
    n = {key: sum(row[key].startswith(DONE) for row in rows.values()) for key in ("own", "other")}
    print(
        f"timm {timm.__version__}: {len(rows)} of {len(families)} families tried; {n['own']} give "
        f"a feature at their own size, {n['other']} at the other one."
    )
    print("\n| family | network | size | what it says |\n|---|---|---|---|")
    for row in (rows[f] for f in families if f in rows):
        for key in ("own", "other"):
            if not row[key].startswith(DONE):
                print(
                    f"| {row['family']} | {row['network']} | {row[f'{key}_px']} px | {row[key]} |"
                )
    if missing:
        print(f"\nNot run: {', '.join(missing)}.")


def main() -> None:
    """Try what the file does not have, or print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("families", nargs="*")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    rows = read(options.results)
    if not options.table:
        warnings.simplefilter("ignore")
        for family in options.families or timm.list_modules():
            if family not in rows:
                rows[family] = try_family(family)
                with options.results.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(rows[family]) + "\n")
                print(f"{len(rows)} {family}: {rows[family].get('seconds')} s", flush=True)
    print_table(rows)


if __name__ == "__main__":
    main()
