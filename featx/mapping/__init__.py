"""A map: all images of a store or an index on a page, near each other where they look alike."""

from featx.mapping.drawing import MapSummary, draw_map
from featx.mapping.projection import project

__all__ = ["MapSummary", "draw_map", "project"]
