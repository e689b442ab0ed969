"""The page of predictions: pictures with their labels, and where the model sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from featx._repr import show_confidence, show_count
from featx.report import Card, Report
from featx.tasks.class_maps import ClassMaps, DrawMaps
from featx.tasks.pages import list_versions

__all__ = ["predictions_report"]

N_CARDS = 200
MAX_LARGE = 80  # cards whose pictures are of 256 px, about 15 kB each


def predictions_report(
    predictions: Sequence[Mapping[str, Any]],
    *,
    model: str,
    n_unreadable: int = 0,
    maps: DrawMaps | None = None,
    command: str = "",
) -> Report:
    """Make the page of predictions: the unknown, then the least sure first.

    Parameters
    ----------
    predictions : sequence of mapping
        As ``featx predict --json`` gives them.
    model : str
        What the page calls the model, such as its file.
    n_unreadable : int, default 0
        Images that could not be read, which the page counts.
    maps : callable, optional
        Draws the maps of the labels of those that are shown, as
        `featx.tasks.class_maps.draw_class_maps` of the model; default none.
    command : str, default ""
        What the user ran.
    """
    strange = sorted((p for p in predictions if p["is_unknown"]), key=lambda p: -p["unknown"])
    rest = sorted((p for p in predictions if not p["is_unknown"]), key=lambda p: p["confidence"])
    sure = float(np.mean([p["confidence"] for p in predictions])) if predictions else 0.0
    n_shown = min(len(strange), N_CARDS) + min(len(rest), N_CARDS)
    report = Report(
        "Predicted labels",
        subtitle=f"{show_count(len(predictions), 'image')}, labelled by the model in {model}",
        thumbnail_px=256 if n_shown <= MAX_LARGE else 128,
    )
    figures = {
        "images": len(predictions),
        "unlike all training images": len(strange),
        "mean confidence": sure,
    }
    report.add_scores(figures | ({"unreadable images": n_unreadable} if n_unreadable else {}))
    shown = [*strange[:N_CARDS], *rest[:N_CARDS]]
    mapped = {p["path"]: label for p in shown if (label := _likeliest(p)) is not None}
    drawn = maps({path: (label,) for path, label in mapped.items()}) if maps else ClassMaps()
    if strange:
        title = "Unlike all training images"
        note = "These resemble no training image, so the labels are guesses."
        _add_cards(report, strange, title, note, drawn)
    if rest:
        _add_cards(report, rest, "Least confident first", "", drawn)
    if drawn.note:
        report.add_text(drawn.note)
    return report.add_key_values(list_versions(command))


def _likeliest(prediction: Mapping[str, Any]) -> str | None:
    """Return the label of a prediction, of several the most probable one."""
    label = prediction["label"]
    if isinstance(label, str):
        return label
    return max(label, key=prediction["scores"].__getitem__, default=None)


def _add_cards(
    report: Report,
    predictions: Sequence[Mapping[str, Any]],
    title: str,
    note: str,
    drawn: ClassMaps,
) -> None:
    shown = predictions[:N_CARDS]
    if len(shown) < len(predictions):
        note = f"{note} The first {N_CARDS} of {len(predictions):,}.".strip()
    cards = []
    for p in shown:
        over = next(iter(drawn.by_path.get(p["path"], ())), None)
        several = over is not None and not isinstance(p["label"], str) and len(p["label"]) > 1
        lines = (*_describe(p), *([f"map of {over.name}"] if over and several else []))
        cards.append(Card(p["path"], lines, map=over))
    report.add_cards(cards, title=title, note=note)


def _describe(prediction: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the lines below a picture."""
    label = prediction["label"]
    names = [label] if isinstance(label, str) else label
    label = ", ".join(names) or "none"
    lines = [f"{label}, {show_confidence(prediction['confidence'])}"]
    if prediction["is_unknown"]:  # how sure the classes are of each other says nothing here
        stranger = f"{100 * prediction['unknown']:.0f}\u00a0%"
        lines = [f"guess: {label}", f"stranger than {stranger} of the training images"]
    if "labels" in prediction:  # as featx predict prints them
        lines.append(f"possible: {', '.join(prediction['labels']) or 'none'}")
    return tuple(lines)
