"""Pictures that are dark, blurred, blank, tiny or odd in shape."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featx._progress import Progress
from featx.auditing.result import Finding
from featx.files.remote import is_url
from featx.images.loader import iter_batches
from featx.images.quality import PictureMeasurer

__all__ = ["find_poor_pictures"]

# Of 785 photographs of seven sets none passes any of these: the darkest has a brightness of 0.49,
# the emptiest a contrast of 0.08, the most blurred a blur of 0.49. Nine of ten that are blurred by
# a Gaussian of a 85th of the longer side pass; so does every one at 15 % of its light.
DARK = 0.3
BLANK = 0.03
LEAST_LIGHT = 0.1
BLURRED = 0.55
TINY_PX = 64  # and under half of the usual, so that a set of thumbnails is not called tiny
LONG = 3.0  # longer side over shorter, and over twice the usual
BATCH = 64


def find_poor_pictures(
    paths: Sequence[str], *, workers: int | None, show: bool | None
) -> tuple[list[Finding], int]:
    """Read each picture once, and say what is poor about it.

    Returns
    -------
    findings : list of Finding
        Pictures that cannot be read are "unreadable".
    n_missing : int
        Images that are not on this machine's disk, and are left out.
    """
    there = [path for path in paths if not is_url(path) and Path(path).is_file()]
    findings: list[Finding] = []
    rows: list[int] = []
    measures: list[NDArray[np.float32]] = []
    with Progress(len(there), "audit: look at pictures", enabled=show) as progress:
        for batch in iter_batches(there, PictureMeasurer(), batch_size=BATCH, workers=workers):
            findings += [
                Finding(there[row], "unreadable", 1.0, suggested=reason)
                for row, reason in batch.failures
            ]
            rows += batch.good.tolist()
            measures += list(batch.views[0]) if batch.views else []
            progress.advance(len(batch.rows))
    if rows:
        findings += _judge([there[row] for row in rows], np.stack(measures))
    return findings, len(paths) - len(there)


def _judge(paths: Sequence[str], measures: NDArray[np.float32]) -> Iterator[Finding]:
    shorter, longer = measures[:, :2].min(axis=1), measures[:, :2].max(axis=1)
    shape = longer / np.maximum(shorter, 1)
    tiny_px = min(TINY_PX, float(np.median(shorter)) / 2)
    long = max(LONG, 2 * float(np.median(shape)))
    for i, (_, _, brightness, contrast, blur) in enumerate(measures.tolist()):
        if (share := contrast / max(brightness, LEAST_LIGHT)) < BLANK:  # so that dark is not blank
            yield Finding(paths[i], "blank", 1 - share / BLANK)
        elif brightness < DARK:
            yield Finding(paths[i], "dark", 1 - brightness)
        elif blur > BLURRED:
            yield Finding(paths[i], "blurred", blur)
        if shorter[i] < tiny_px:
            yield Finding(paths[i], "tiny", 1 - float(shorter[i]) / TINY_PX)
        if shape[i] > long:
            yield Finding(paths[i], "shape", float(shape[i]))
