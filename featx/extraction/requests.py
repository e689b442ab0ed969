"""What requests came to, noted beside the kept graphs: the same request again needs no torch.

A note may be out of date, where weights were replaced; what it leads to are the features of its
recipe in any case, since graphs are kept by recipe.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

from featx.backbones.licenses import warn_of_license
from featx.engines.kept import graphs_dir
from featx.engines.sessions import choose_runtime
from featx.errors import one_line
from featx.extraction.kept import is_for_graph, keep_network, open_kept
from featx.extraction.loaded import BATCH_SIZE, LoadedEncoder
from featx.extraction.options import RunOptions
from featx.files.atomic import replacing
from featx.fingerprint import json_digest
from featx.recipe import Recipe

__all__ = ["keep_request", "load_request"]

log = logging.getLogger(__name__)


def load_request(request: str, run: RunOptions) -> LoadedEncoder | None:
    """Return what a request came to before, by its kept graph; None where that is not at hand.

    Parameters
    ----------
    request : str
        Digest of what is asked for.
    run : RunOptions
        How it is to be run.
    """
    try:
        note = json.loads(_path(request).read_text())
        noted, digest = note["noted"], note["digest"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as err:
        log.warning("%s: cannot be read (%s), made anew", _path(request), one_line(err))
        return None
    if json_digest(noted) != digest:
        log.warning("%s: cannot be read (not what was written), made anew", _path(request))
        return None
    recipe, made_with = Recipe.from_dict(noted["recipe"]), noted["made_with"]
    found = _open(recipe, made_with, run)
    if found is not None:
        warn_of_license(recipe.backbone, made_with["license"])
    return found


def keep_request(request: str, loaded: LoadedEncoder) -> LoadedEncoder:
    """Keep the graph of an encoder that torch has loaded, and return it by that.

    Parameters
    ----------
    request : str
        Digest of what is asked for, which is noted.
    loaded : LoadedEncoder

    Returns
    -------
    LoadedEncoder
        The very same where it is for torch: several layers, a GPU, or a network that OpenVINO
        does not convert.
    """
    recipe, made_with = loaded.recipes[0], loaded.made_with
    if len(loaded.recipes) > 1 or not _is_fit(recipe, loaded.run):
        return loaded
    keep_network(recipe, made_with)
    found = _open(recipe, made_with, loaded.run)
    if found is None:
        return loaded
    noted = {"recipe": recipe.to_dict(), "made_with": made_with}
    try:
        with replacing(_path(request)) as beside:
            beside.write_text(json.dumps({"noted": noted, "digest": json_digest(noted)}))
    except OSError as err:
        log.info("%s: cannot be written (%s)", _path(request), one_line(err))
    return found


def _path(request: str) -> Path:
    return graphs_dir() / f"{request[:16]}.json"


def _is_fit(recipe: Recipe, run: RunOptions) -> bool:
    return is_for_graph(recipe, run, None) and choose_runtime(recipe.precision) == "openvino"


def _open(recipe: Recipe, made_with: dict[str, Any], run: RunOptions) -> LoadedEncoder | None:
    if not _is_fit(recipe, run):
        return None
    said = made_with["request"]
    found = open_kept(
        recipe, made_with, run,
        at_once=run.batch_size or BATCH_SIZE, preprocessing_reason=said["preprocessing_reason"],
    )  # fmt: skip
    return found and dataclasses.replace(found, precision_reason=said["precision_reason"])
