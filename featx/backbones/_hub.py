"""Fetch from a hub of networks, through huggingface_hub and its cache.

Its variables of the environment hold here: ``HF_ENDPOINT``, ``HF_HOME``, ``HF_TOKEN`` and
``HF_HUB_OFFLINE``.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import logging
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from featx._optional import is_installed
from featx.errors import FeatxError, WeightsError, one_line

__all__ = ["asking_hub", "fetching"]

ADDRESS_S, REACH_S = 3.0, 8.0  # for one address of a host, and for its name and all of them
REMEMBERED_S = 60  # a file after the other is asked for


@contextlib.contextmanager
def asking_hub() -> Iterator[None]:
    """Have huggingface_hub read its cache alone if its server cannot be reached.

    By itself it tries each file six times, waits longer each time, up to 8 s, and logs two lines
    about each.

    Raises
    ------
    ConnectionError
        If the server cannot be reached, or is not to be asked, and a file is not in the cache.
    """
    if not is_installed("huggingface_hub"):
        yield
        return
    constants: Any = importlib.import_module("huggingface_hub.constants")
    is_told = constants.HF_HUB_OFFLINE
    now = int(time.time() // REMEMBERED_S)
    obstacle = "" if is_told else _find_obstacle(constants.ENDPOINT, now)
    hub = logging.getLogger("huggingface_hub")
    level = hub.level
    hub.setLevel(logging.CRITICAL)
    constants.HF_HUB_OFFLINE = is_told or bool(obstacle)
    try:
        yield
    except Exception as err:
        if not constants.HF_HUB_OFFLINE or not _is_of_hub(err):
            raise
        why = "HF_HUB_OFFLINE is set" if is_told else f"{constants.ENDPOINT} cannot be reached"
        detail = f" ({obstacle})" if obstacle else ""
        raise ConnectionError(f"{why}{detail}, and the cache has no copy") from err
    finally:
        constants.HF_HUB_OFFLINE = is_told
        hub.setLevel(level)


@functools.lru_cache(maxsize=4)
def _find_obstacle(endpoint: str, _: int) -> str:
    """Say why no connection to a server, or to the proxy before it, can be opened; "" if one can.

    Parameters
    ----------
    endpoint : str
        The server's URL.
    _ : int
        Changes when it is to be tried again.
    """
    parts = urlsplit(endpoint)
    proxies = urllib.request.getproxies()
    proxy = proxies.get(parts.scheme, proxies.get("all"))
    if proxy and not urllib.request.proxy_bypass(parts.netloc):
        parts = urlsplit(proxy if "//" in proxy else f"//{proxy}")
    address = parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443)
    found: list[str] = []

    def try_it() -> None:
        try:
            socket.create_connection(address, timeout=ADDRESS_S).close()
            found.append("")
        except OSError as err:
            found.append(err.strerror or str(err))

    thread = threading.Thread(target=try_it, daemon=True)  # a name may resolve for a minute
    thread.start()
    thread.join(REACH_S)
    return found[0] if found else f"no answer within {REACH_S:g} s"


def _is_of_hub(err: BaseException | None) -> bool:
    """Tell whether huggingface_hub raised an error, or what led to it.

    transformers raises an OSError of its own without a cause.
    """
    if isinstance(err, OSError):
        return True
    while err is not None:
        if type(err).__module__.startswith("huggingface_hub"):
            return True
        err = err.__cause__ or err.__context__
    return False


@contextlib.contextmanager
def fetching(backbone: str, repo: str, local: str) -> Iterator[None]:
    """Have what goes wrong while a repository is fetched said once, with what to do.

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
    try:
        with asking_hub():
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
