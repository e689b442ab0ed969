"""A web page and a JSON API over one index: "what looks like this?" for many clients.

Needs ``pip install 'featx[serve]'``. Importing this room imports neither FastAPI nor torch;
`create_app` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from featx._optional import require
from featx.serve._options import ServeOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from featx.labelling import LabelSession
    from featx.serve._service import Service

__all__ = [
    "ServeOptions",
    "create_app",
    "open_service",
    "run_label_server",
    "run_server",
]

PURPOSE = "featx serve"


def open_service(
    index: str,
    *,
    model: str | None = None,
    options: ServeOptions | None = None,
    weights: str | None = None,
    device: str = "auto",
    map_page: str | None = None,
) -> Service:
    """Load an index, its network and a model, once.

    Parameters
    ----------
    index : str
        File of an index that was made from a store of featx extract. Its vectors stay in the file,
        or are read whole where `options.writable`; no other process may save over it then.
    model : str, optional
        File of a model of the same recipe; then every query image is labelled, too.
    options : ServeOptions, optional
        Limits and switches.
    weights : str, optional
        Where the network's weights are now, if they moved.
    device : str, default "auto"
        Where the network runs.
    map_page : str, optional
        A page of featx map, whose images that the index has are shown at ``/map``.

    Returns
    -------
    Service
        Close it, or give it to `create_app`, whose shutdown does.

    Raises
    ------
    BackboneError
        If the index was made from features of unknown origin.
    FingerprintMismatchError
        If the model is of another recipe.
    ParameterError
        If a column that is to be shown is not in the index.
    StoreWriteError
        If `options.writable` and another process holds the index.
    MissingDependencyError
        If a package of the extra is not installed.

    Examples
    --------
    >>> import tempfile
    >>> import featx
    >>> from featx.demo import sample_data_dir
    >>> folder = tempfile.mkdtemp()
    >>> store = featx.extract(sample_data_dir() / "instances", f"{folder}/f.h5", progress=False)
    >>> featx.RetrievalIndex().fit(store).save(f"{folder}/index")
    >>> service = open_service(f"{folder}/index")
    >>> service.database.n_samples == len(store)
    True
    >>> service.close()
    """
    _require_packages()
    from featx.serve._opening import load_service

    return load_service(
        index, model, options or ServeOptions(), weights=weights, device=device, map_page=map_page
    )


def _require_packages() -> None:
    for package in ("fastapi", "prometheus_client", "pydantic", "python_multipart"):
        require(package, extra="serve", purpose=PURPOSE)


def create_app(service: Service) -> Any:
    """Return the ASGI application, for a server of your own or for tests.

    Parameters
    ----------
    service : Service
        Of `open_service`; the application's shutdown closes it.

    Raises
    ------
    MissingDependencyError
        If FastAPI or prometheus-client is not installed.
    """
    _require_packages()
    from featx.serve._app import build_app

    return build_app(service)


def run_server(service: Service, on_ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is running.

    Parameters
    ----------
    service : Service
        Of `open_service`; closed at the end.
    on_ready : callable
        Gets the address, such as ``"http://127.0.0.1:8000/"``, once requests are answered.

    Raises
    ------
    ParameterError
        If the address cannot be listened on.
    MissingDependencyError
        If FastAPI, uvicorn or prometheus-client is not installed.
    """
    require("uvicorn", extra="serve", purpose=PURPOSE)
    app = create_app(service)
    from featx.serve._server import serve_until_stopped

    serve_until_stopped(app, service.options, on_ready)


def create_label_app(session: LabelSession, options: ServeOptions, *, out: str) -> Any:
    """Return the ASGI application of featx label.

    Parameters
    ----------
    session : LabelSession
        Used by one request at a time.
    options : ServeOptions
        Token and limits.
    out : str
        File of the model that the page trains.

    Raises
    ------
    MissingDependencyError
        If FastAPI or prometheus-client is not installed.
    """
    for package in ("fastapi", "prometheus_client"):
        require(package, extra="serve", purpose="featx label")
    from featx.serve._desk import Desk
    from featx.serve._label_app import build_label_app

    return build_label_app(Desk(session, options, out=out))


def run_label_server(
    session: LabelSession, options: ServeOptions, on_ready: Callable[[str], None], *, out: str
) -> None:
    """Serve the page of featx label until SIGTERM or SIGINT.

    Parameters
    ----------
    session, options, out
        As for `create_label_app`.
    on_ready : callable
        Gets the address once requests are answered.

    Raises
    ------
    ParameterError
        If the address cannot be listened on.
    MissingDependencyError
        If FastAPI, uvicorn or prometheus-client is not installed.
    """
    require("uvicorn", extra="serve", purpose="featx label")
    app = create_label_app(session, options, out=out)
    from featx.serve._server import serve_until_stopped

    serve_until_stopped(app, options, on_ready)
