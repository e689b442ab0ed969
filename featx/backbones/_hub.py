"""Fetch from a hub of networks, through huggingface_hub and its cache.

Its variables of the environment hold here: ``HF_ENDPOINT``, ``HF_HOME``, ``HF_TOKEN`` and
``HF_HUB_OFFLINE``.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from featx.errors import FeatxError, WeightsError, one_line

__all__ = ["fetching"]


@contextlib.contextmanager
def fetching(backbone: str, repo: str, local: str) -> Iterator[None]:
    """Have what goes wrong while a repository is fetched said once, with what to do.

    huggingface_hub logs two lines for each of six attempts.

    Parameters
    ----------
    backbone : str
        What needs it.
    repo : str
        As the hub has it.
    local : str
        What a name begins with that ends in a folder instead.

    Raises
    ------
    WeightsError
        Whatever is raised inside, as one, but for featx's own errors.
    """
    hub = logging.getLogger("huggingface_hub")
    level = hub.level
    hub.setLevel(logging.CRITICAL)
    try:
        yield
    except FeatxError:
        raise
    except Exception as err:
        raise WeightsError(
            f"backbone {backbone!r}: {repo} cannot be fetched from the hub "
            f"({type(err).__name__}: {one_line(err)}); fetch the folder on a machine that can (hf "
            f"download {repo} --local-dir FOLDER) and name backbone '{local}FOLDER', or pass "
            "--weights FOLDER (weights=FOLDER in Python); without one, backbone 'featx_base' "
            "needs no download"
        ) from err
    finally:
        hub.setLevel(level)
