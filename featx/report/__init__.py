"""Figures and one self-contained HTML page, with the same numbers inside as JSON."""

from featx.report._maps import PictureMap
from featx.report._pictures import Card, GalleryMatch, GalleryRow, Mistake
from featx.report.report import Report
from featx.report.scatter import ScatterPoint

__all__ = [
    "Card",
    "GalleryMatch",
    "GalleryRow",
    "Mistake",
    "PictureMap",
    "Report",
    "ScatterPoint",
]
