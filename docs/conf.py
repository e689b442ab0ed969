"""Settings of the site; `make docs` builds it. Reasons in docs/decisions/site.md."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import featx

# The theme's a11y_pygments sets the root logger to INFO unless somebody has set it before.
logging.basicConfig(level=logging.WARNING)

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "_extensions"))

project = "featx"
author = "the featx developers"
version = release = featx.__version__

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_gallery.gen_gallery",
    "featx_site",
]
# .rst is first, since autosummary writes its pages as the first.
source_suffix = {".rst": "restructuredtext", ".md": "myst-nb", ".ipynb": "myst-nb"}
exclude_patterns = ["_*", "gallery/*.md5", "gallery/*.ipynb"]
templates_path = ["_templates"]
highlight_language = "none"
myst_heading_anchors = 4

# One page for each public name: what it is called in docs/reference.rst.
autosummary_generate = True
autodoc_typehints = "none"  # numpydoc's sections say the types, with shapes and units
autodoc_member_order = "bysource"
# scikit-learn makes these for every estimator; they take what its user guide explains.
METADATA_ROUTING = [
    f"set_{step}_request" for step in ("fit", "partial_fit", "predict", "score", "transform")
]
autodoc_default_options = {"exclude-members": ", ".join(METADATA_ROUTING)}
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
default_role = "py:obj"

sphinx_gallery_conf = {
    "examples_dirs": str(HERE.parent / "examples"),
    "gallery_dirs": "gallery",
    "within_subsection_order": "FileNameSortKey",
    "image_scrapers": ("matplotlib", "featx_site.scrape_figures"),
    "abort_on_example_error": True,
    "capture_repr": ("_repr_html_",),  # tables are shown, names of matplotlib's objects are not
    "show_signature": False,
    "write_computation_times": False,
    "download_all_examples": False,
}

# The notebooks are kept without outputs and run at each build, in a folder that is thrown away.
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_merge_streams = True
nb_ipywidgets_js: dict[str, dict[str, str]] = {}  # nothing comes from another server

smartquotes_action = "q"  # quotes only: two hyphens begin an option

html_theme = "furo"
html_title = f"featx {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False
