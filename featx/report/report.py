"""`Report`: collect results, and write them as one page that needs no other file.

The page works offline and as a mail attachment. It shows; it computes nothing but counts. Paths
are shortened to their last two parts in the page; JSON by itself keeps them whole.
"""

from __future__ import annotations

import datetime
import html
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from featx._version import __version__
from featx.errors import ParameterError, choose
from featx.files.outputs import write_output
from featx.files.paths import show_path
from featx.report._charts import bars_section, curve_section, precision_recall_section
from featx.report._matrix import confusion_section
from featx.report._pictures import (
    Card,
    GalleryRow,
    Mistake,
    cards_section,
    gallery_section,
    map_section,
    mistakes_section,
)
from featx.report._render import render, to_json
from featx.report._section import Section, as_json, as_text, require_length
from featx.report._thumbnails import PictureSource, ThumbnailPress
from featx.report.scatter import ScatterPoint, scatter_section

__all__ = ["Report"]

REPORT_FORMAT = 1
KINDS = {".html": "page", ".htm": "page", ".json": "numbers"}


class Report:
    """One self-contained HTML page with its numbers inside, or the numbers as JSON.

    Every `add_...` method appends a section and returns the report. All text is escaped: labels
    and paths may hold anything.

    Parameters
    ----------
    title : str
        Heading of the page.
    subtitle : str, default ""
        A line below it.
    thumbnail_px : int, default 128
        Longer side of embedded pictures; the page grows with its square (about 5 kB each at 128).
    max_image_bytes : int, default 8,000,000
        Budget for all embedded pictures. Beyond it placeholders are shown, and the foot of the
        page counts them. Mail servers commonly refuse attachments over 10 to 25 MB.

    Examples
    --------
    >>> report = Report("Fruit", subtitle="apples against pears")
    >>> _ = report.add_scores({"accuracy": 0.75}, intervals={"accuracy": (0.5, 1.0)})
    >>> _ = report.add_confusion_matrix(["apple", "apple", "pear", "pear"],
    ...                                 ["apple", "pear", "pear", "pear"])
    >>> "<h1>Fruit</h1>" in report.to_html()
    True
    >>> report.to_dict()["sections"][0]["scores"][0]
    {'name': 'accuracy', 'value': 0.75, 'low': 0.5, 'high': 1.0}
    """

    def __init__(
        self,
        title: str,
        *,
        subtitle: str = "",
        thumbnail_px: int = 128,
        max_image_bytes: int = 8_000_000,
    ) -> None:
        if not 16 <= thumbnail_px <= 1024:
            raise ParameterError(f"thumbnail_px: got {thumbnail_px!r}, expected 16 to 1024")
        self.title, self.subtitle = str(title), str(subtitle)
        self.created = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
        self._press = ThumbnailPress(thumbnail_px, max_image_bytes)
        self._sections: list[Section] = []

    def _add(self, section: Section) -> Self:
        self._sections.append(section)
        return self

    def add_text(self, text: str, *, title: str = "") -> Self:
        """Append paragraphs of plain text, divided by blank lines; an indented one is code."""
        paragraphs = [
            {"text": " ".join(p.split()), "is_code": p.startswith("    ")}
            for p in str(text).split("\n\n")
            if p.strip()
        ]
        return self._add(Section("text", title, {"paragraphs": paragraphs}, {"text": str(text)}))

    def add_scores(
        self,
        scores: Mapping[str, float],
        *,
        intervals: Mapping[str, tuple[float, float]] | None = None,
        title: str = "",
    ) -> Self:
        """Append headline numbers, each large, with its interval below."""
        spans: dict[str, Sequence[float]] = dict(intervals or {})
        for name, span in spans.items():
            choose("intervals", name, scores)
            if len(span) != 2 or span[0] > span[1]:
                raise ParameterError(
                    f"intervals[{name!r}]: got {tuple(as_json(span))}, expected (low, high)"
                )
        shown, data = [], []
        for name, value in scores.items():
            low, high = spans.get(name, (None, None))
            row = {"value": value, "low": low, "high": high}
            data.append({"name": str(name), **as_json(row)})
            texts = {k: None if v is None else as_text(v) for k, v in row.items()}
            shown.append({"name": str(name), **texts})
        return self._add(Section("scores", title, {"scores": shown}, {"scores": data}))

    def add_table(
        self,
        rows: Sequence[Sequence[Any]],
        columns: Sequence[str],
        *,
        title: str = "",
        caption: str = "",
    ) -> Self:
        """Append a table; numbers are set right and rounded, and stay exact in the JSON.

        Raises
        ------
        ParameterError
            If a row has another length than `columns`.
        """
        for k, row in enumerate(rows):
            require_length(row, len(columns), f"rows[{k}]", f"the columns {list(columns)!r}")
        numeric = [
            all(isinstance(as_json(row[j]), (int, float, type(None))) for row in rows)
            for j in range(len(columns))
        ]
        view = {
            "columns": [str(c) for c in columns],
            "numeric": numeric,
            "rows": [[{"text": as_text(v), "exact": as_json(v)} for v in row] for row in rows],
            "caption": caption,
        }
        data = {"columns": [str(c) for c in columns], "rows": as_json([list(r) for r in rows])}
        return self._add(Section("table", title, view, data))

    def add_key_values(
        self, values: Mapping[str, Any], *, title: str = "Versions and settings"
    ) -> Self:
        """Append names with their values: versions, fingerprint, command. Kept as they are."""
        view = {"pairs": [(str(k), str(v)) for k, v in values.items()]}
        return self._add(Section("key_values", title, view, {"values": as_json(dict(values))}))

    def add_confusion_matrix(
        self,
        y_true: Sequence[Any],
        y_pred: Sequence[Any],
        labels: Sequence[Any] | None = None,
        *,
        paths: Sequence[PictureSource] | None = None,
        title: str = "Confusions",
    ) -> Self:
        """Append how often each true label (row) was predicted as each label (column).

        Parameters
        ----------
        y_true, y_pred : sequence of str or int, of one length
            Labels of the same samples.
        labels : sequence, optional
            Order of rows and columns; default sorted. Over 40 labels the page lists the 40
            commonest confusions instead of a grid; the JSON has every count either way.
        paths : sequence of image sources, (n_samples,), optional
            The images: a click on a number shows up to 12 of them, 4 where the label is right. At
            most 160 pictures are put into the page, those of the commonest confusions first.
        title : str, default "Confusions"
            Heading.

        Raises
        ------
        ParameterError
            If lengths differ or a label is not among `labels`.
        """
        return self._add(confusion_section(y_true, y_pred, labels, title, paths, self._press))

    def add_bars(
        self,
        names: Sequence[Any],
        values: Any,
        intervals: Any = None,
        *,
        limit: float | None = None,
        title: str = "",
    ) -> Self:
        """Append one bar per name, for example accuracy by class.

        Parameters
        ----------
        names : sequence of str
            One for each bar.
        values : array-like of float, (n,)
            At least 0, finite.
        intervals : array-like of float, (n, 2), optional
            Low and high end of each, drawn as a whisker.
        limit : float, optional
            Value of a full bar; default 1 where all fit below it, else the next round number.
        title : str, default ""
            Heading.
        """
        return self._add(bars_section(names, values, intervals, limit, title))

    def add_curve(
        self,
        x: Any,
        curves: Mapping[str, Any],
        intervals: Mapping[str, Any] | None = None,
        *,
        x_label: str,
        y_label: str,
        log_x: bool = False,
        x_names: Sequence[Any] | None = None,
        title: str = "",
    ) -> Self:
        """Append lines over a common axis, for example a learning curve.

        Parameters
        ----------
        x : array-like of float, (n,)
            Where it was measured.
        curves : mapping of str to array-like of float, (n,)
            A line for each name.
        intervals : mapping of str to array-like of float, (n, 2), optional
            Low and high end for some of the names, drawn as a band.
        x_label, y_label : str
            What the axes show.
        log_x : bool, default False
            Equal ratios of x, which are above 0, take equal room; every x has a tick.
        x_names : sequence of str, (n,), optional
            What stands at each x, such as layers by their number; listed below the figure.
        title : str, default ""
            Heading.
        """
        section = curve_section(x, curves, intervals, x_label, y_label, log_x, x_names, title)
        return self._add(section)

    def add_scatter(
        self,
        points: Sequence[ScatterPoint],
        *,
        x_label: str,
        y_label: str,
        log_x: bool = False,
        frontier: bool | str = False,
        title: str = "",
    ) -> Self:
        """Append named points of two measures, for example accuracy against images per second.

        Parameters
        ----------
        points : sequence of ScatterPoint
            A name that finds no room beside its point is listed below the figure.
        x_label, y_label : str
            What the axes show.
        log_x : bool, default False
            Equal ratios of x, which are above 0, take equal room.
        frontier : bool or str, default False
            Draw the edge of what can be had, where more is better in both, and the points that
            another beats in both paler. Text says in the legend what the edge is.
        title : str, default ""
            Heading.

        Raises
        ------
        ParameterError
            For no points, or ones that are not finite.
        """
        return self._add(scatter_section(points, x_label, y_label, log_x, frontier, title))

    def add_precision_recall(
        self,
        curves: Mapping[str, tuple[Any, Any]],
        *,
        ap: Mapping[str, float] | None = None,
        title: str = "Precision and recall",
    ) -> Self:
        """Append precision over recall, for example of each attribute.

        Parameters
        ----------
        curves : mapping of str to (recall, precision), each array-like of float, (n,)
            As from `featx.evaluation.precision_recall_points`; in [0, 1], recall in order. Up to
            400 points are drawn, evenly over those given; the JSON has all.
        ap : mapping of str to float, optional
            Average precision for some of the names, shown in the legend.
        title : str, default "Precision and recall"
            Heading.
        """
        return self._add(precision_recall_section(curves, ap, title))

    def add_cards(self, cards: Sequence[Card], *, title: str = "", note: str = "") -> Self:
        """Append pictures with their names, and lines of text below each, as given."""
        return self._add(cards_section(cards, self._press, title, note))

    def add_gallery(self, rows: Sequence[GalleryRow], *, title: str = "Found images") -> Self:
        """Append queries with their matches, each `GalleryRow` on its own line.

        A picture that cannot be read is a placeholder with the reason.
        """
        return self._add(gallery_section(rows, self._press, title))

    def add_mistakes(
        self, mistakes: Sequence[Mistake], *, title: str = "Mistakes", note: str = ""
    ) -> Self:
        """Append images with their true and predicted label, most telling first as given."""
        return self._add(mistakes_section(mistakes, self._press, title, note))

    def add_embedding_map(
        self,
        points: Any,
        labels: Sequence[Any] | None = None,
        paths: Sequence[PictureSource] | None = None,
        *,
        title: str = "Map",
    ) -> Self:
        """Append a map of points, coloured by label.

        Parameters
        ----------
        points : array-like of float, (n, 2)
            Coordinates, y upwards; both axes have one scale. Up to 4,000 are drawn, chosen evenly
            over the order given, and the page says so; the JSON has all.
        labels : sequence, (n,), optional
            Colour by label.
        paths : sequence of image sources, (n,), optional
            Thumbnails instead of dots where n is at most 250.
        title : str, default "Map"
            Heading.
        """
        return self._add(map_section(points, labels, paths, self._press, title))

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers, as JSON holds them."""
        return {
            "report_format": REPORT_FORMAT,
            "featx_version": __version__,
            "title": self.title,
            "subtitle": self.subtitle,
            "created": self.created.isoformat(),
            "images": self._images(),
            "sections": [{"kind": s.kind, "title": s.title, **s.data} for s in self._sections],
        }

    def _images(self) -> dict[str, int]:
        press = self._press
        return {
            "embedded": press.n_embedded,
            "unreadable": press.n_missing,
            "over_budget": press.n_over_budget,
            "bytes": press.used_bytes,
            "max_bytes": press.max_bytes,
        }

    def to_html(self) -> str:
        """Return the page."""
        return render(
            self._sections,
            self.to_dict(),
            title=self.title,
            subtitle=self.subtitle,
            created=self.created,
            version=__version__,
            images=self._images(),
        )

    def _repr_html_(self) -> str:
        """Show the page in a notebook, in a frame that sees nothing of the notebook."""
        page = html.escape(self.to_html(), quote=True)
        look = "width:100%;height:720px;border:0"
        box = 'sandbox="allow-scripts" title="report"'
        return f'<iframe {box} style="{look}" srcdoc="{page}"></iframe>'

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the page, or its numbers.

        Parameters
        ----------
        path : path
            Ends in ``.html`` or ``.htm`` for the page, in ``.json`` for the numbers alone; its
            folder exists. An older report there is replaced at once, never half.

        Returns
        -------
        pathlib.Path
            The path.

        Raises
        ------
        ParameterError
            If the suffix is another.
        StoreWriteError
            If it cannot be written, or is a file that no report made.
        """
        target, suffix = Path(path), Path(path).suffix.lower()
        if suffix not in KINDS:
            raise ParameterError(
                f"report {str(target)!r}: got suffix {target.suffix!r}, expected '.html', or "
                "'.json' for the numbers alone"
            )
        text = to_json(self.to_dict()) if suffix == ".json" else self.to_html()
        with write_output(target, KINDS[suffix]) as beside:
            beside.write_bytes(show_path(text).encode())
        return target
