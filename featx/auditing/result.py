"""`Audit`: what was found, as values, a table and a page."""

from __future__ import annotations

import csv
import os
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featx._optional import require
from featx._repr import OneLine, as_table, show_count
from featx.files.kinds import FINDING_COLUMNS
from featx.files.outputs import write_output
from featx.files.paths import show_path

if TYPE_CHECKING:
    from featx.report import Report

__all__ = ["COLUMNS", "KINDS", "PAIRS", "Audit", "Finding", "show_score"]

KINDS = {
    "label": "label that is probably wrong",
    "classes": "classes that cannot be told apart",
    "leak": "copy of an image of the other store",
    "copy": "the same file as another",
    "near copy": "nearly the same picture as another",
    "outlier": "unlike everything else here",
    "blank": "nothing to be seen",
    "dark": "too dark",
    "blurred": "blurred",
    "tiny": "few pixels",
    "shape": "very long and narrow",
    "unreadable": "cannot be read",
}
"""What is looked for, in the order of the findings."""

SAME_COSINE = 0.9995  # what three digits show as 1
PAIRS = ("leak", "copy", "near copy")
"""Kinds whose score is a cosine, and whose suggestion is the other image."""

COLUMNS = FINDING_COLUMNS[:-1]


def show_score(kind: str, score: float) -> str:
    """Return a finding's score as people read it: of copies how alike they are.

    Examples
    --------
    >>> show_score("near copy", 0.9996), show_score("near copy", 0.9512), show_score("label", 1)
    ('nearly identical', 'cosine 0.951', '1.00')
    >>> show_score("copy", 1), show_score("leak", 1), show_score("leak", 0.999999)
    ('identical', 'identical', 'nearly identical')
    """
    if kind == "copy" or (kind == "leak" and score == 1):
        return "identical"
    if kind in PAIRS:
        return f"cosine {score:.3f}" if score < SAME_COSINE else "nearly identical"
    return f"{score:.2f}"


@dataclass(frozen=True, repr=False)
class Finding(OneLine):
    """Something about an image that deserves a look.

    Parameters
    ----------
    path : str
        The image.
    kind : str
        One of `KINDS`.
    score : float
        How bad it is, comparable within a kind: of a label the probability that it is wrong; of a
        copy or a leak the cosine, 1 only for a leak whose bytes are equal; of an outlier how many
        times the usual distance it is from its neighbours; of classes 1 where they are told apart
        by chance alone; of a shape the longer side over the shorter; of dark, blurred, blank and
        tiny pictures from 0 to 1.
    given : str, default ""
        The label that it has; of an attribute ``name=1`` or ``name=0``; of classes the one.
    suggested : str, default ""
        The label that it should probably have; of a copy or a leak the path of the other image; of
        classes the other one; why it cannot be read.
    """

    path: str
    kind: str
    score: float
    given: str = ""
    suggested: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a JSON-serialisable dict."""
        return {name: getattr(self, name) for name in COLUMNS}


@dataclass(frozen=True, eq=False, repr=False)
class Audit(OneLine):
    """What `featx.audit` found.

    Parameters
    ----------
    findings : tuple of Finding
        In the order of `KINDS`, the worst of each first.
    n_samples, n_labelled : int
        Images, and those whose label was judged.
    estimated_label_errors : int or None
        How many labels are probably wrong; None where none was judged. Of attributes, each is a
        label of its own.
    interval : tuple of int, or None
        95 % interval of that number.
    wrong : ndarray of shape (n_samples,), float64
        Probability that each image's label is wrong, of attributes the largest; NaN where it was
        not judged.
    notes : tuple of str
        What was left out, and why; that no image is also in the other store.
    """

    findings: tuple[Finding, ...]
    n_samples: int
    n_labelled: int = 0
    estimated_label_errors: int | None = None
    interval: tuple[int, int] | None = None
    wrong: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    notes: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """Number of findings of each kind that was found."""
        found = Counter(finding.kind for finding in self.findings)
        return {kind: found[kind] for kind in KINDS if kind in found}

    def _repr_html_(self) -> str:
        """Show how many findings there are of each kind in a notebook."""
        found = show_count(len(self.findings), "finding")
        notes = list(self.notes)
        if self.estimated_label_errors is not None and self.interval is not None:
            low, high = self.interval
            wrong = (
                f"about {self.estimated_label_errors:,} of {self.n_labelled:,} labels are wrong"
            )
            notes.insert(0, f"{wrong} (95 % interval {low:,} to {high:,})")
        rows = [(KINDS[kind], f"{n:,}") for kind, n in self.counts.items()]
        caption = f"{found} in {show_count(self.n_samples, 'image')}"
        return as_table(caption, rows, head=("finding", "images"), note="; ".join(notes))

    def to_dict(self) -> dict[str, Any]:
        """Return findings, counts, estimate and notes as a JSON-serialisable dict."""
        return {
            "findings": [finding.to_dict() for finding in self.findings],
            "counts": self.counts,
            "estimated_label_errors": self.estimated_label_errors,
            "interval": None if self.interval is None else list(self.interval),
            "n_samples": self.n_samples,
            "n_labelled": self.n_labelled,
            "notes": list(self.notes),
        }

    def to_pandas(self) -> Any:
        """Return the findings as a pandas data frame, one row per finding.

        Raises
        ------
        MissingDependencyError
            If pandas is not installed, with the install command.
        """
        pandas = require("pandas", extra="pandas", purpose="a data frame")
        return pandas.DataFrame([f.to_dict() for f in self.findings], columns=list(COLUMNS))

    def save_csv(self, path: str | os.PathLike[str]) -> None:
        """Write one row per image: path, kind, score, given, suggested, also.

        An image with several findings has the first as its row, and the others in ``also``, so
        that the file is a source of images for ``featx label``, the likeliest mistakes first.

        Raises
        ------
        StoreWriteError
            If it cannot be written, or is a file of another kind.
        """
        rows: dict[str, tuple[Finding, list[str]]] = {}
        for finding in self.findings:
            _, others = rows.setdefault(finding.path, (finding, []))
            others.append(f"{finding.kind} {finding.score:.3g} {finding.suggested}".strip())
        with (
            write_output(path, "findings") as beside,
            beside.open("w", encoding="utf-8", newline="") as file,
        ):
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(FINDING_COLUMNS)
            for finding, others in rows.values():
                values = [finding.path, finding.kind, f"{finding.score:.6g}", finding.given,
                          finding.suggested, "; ".join(others[1:])]  # fmt: skip
                writer.writerow([show_path(value) for value in values])

    def to_report(self) -> Report:
        """Return the page, to which more can be added before it is saved."""
        from featx.auditing._page import make_page

        return make_page(self)

    def to_html(self) -> str:
        """Return the page: each finding with its picture, name, label and suggestion."""
        return self.to_report().to_html()
