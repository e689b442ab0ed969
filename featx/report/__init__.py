"""Figures and one self-contained HTML page, with the same numbers inside as JSON."""

from featx.report._pictures import GalleryMatch, GalleryRow, Mistake
from featx.report._scatter import ScatterPoint
from featx.report.report import Report

__all__ = ["GalleryMatch", "GalleryRow", "Mistake", "Report", "ScatterPoint"]
