"""Figures and one self-contained HTML page, with the same numbers inside as JSON."""

from featx.report._pictures import GalleryMatch, GalleryRow, Mistake
from featx.report.report import Report
from featx.report.scatter import ScatterPoint

__all__ = ["GalleryMatch", "GalleryRow", "Mistake", "Report", "ScatterPoint"]
