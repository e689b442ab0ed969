"""Everything that serving needs, loaded once."""

from __future__ import annotations

import contextlib
from pathlib import Path

from featx.errors import ParameterError
from featx.extraction import LoadedEncoder, RunOptions
from featx.extraction.kept import load_soon
from featx.files.locks import hold_index
from featx.retrieval import InstanceIndex, RetrievalIndex, load_index
from featx.serve._database import Database, file_state
from featx.serve._instances import LocalNetwork
from featx.serve._labeller import Labeller
from featx.serve._map import Map
from featx.serve._options import ServeOptions
from featx.serve._service import Service
from featx.serve._state import Shown

__all__ = ["load_service"]


def _load_network(
    index: RetrievalIndex | InstanceIndex,
    path: str,
    options: ServeOptions,
    *,
    weights: str | None,
    device: str,
) -> LoadedEncoder | LocalNetwork:
    if isinstance(index, InstanceIndex):
        return LocalNetwork(index, options.max_pixels)
    index.set_params(weights=weights)
    run = RunOptions(device, max_pixels=options.max_pixels)
    network = load_soon(
        index.recipe_, index.made_with_, run, weights=weights, thing=f"index {path!r}"
    )
    network.choose_engine(1)  # int8 is calibrated before it can be asked
    return network


def _require_alone(model: str | None, map_page: str | None) -> None:
    """Refuse what an index of instances cannot be served with."""
    for name, value in (("model", model), ("map_page", map_page)):
        if value is not None:
            raise ParameterError(
                f"{name}: got {value!r} for an index of instances, expected none: it compares "
                "local features, not those of a network; serve another kind of index"
            )


def load_service(
    path: str,
    model: str | None,
    options: ServeOptions,
    *,
    weights: str | None,
    device: str,
    map_page: str | None = None,
) -> Service:
    """Do what `featx.serve.open_service` says."""
    with contextlib.ExitStack() as held:
        if options.writable and Path(path).is_file():  # else reading it says what is wrong
            path = str(held.enter_context(hold_index(path)))
        state = file_state(path)
        index = load_index(path, mmap=not options.writable)
        if isinstance(index, InstanceIndex):
            _require_alone(model, map_page)
        network = _load_network(index, path, options, weights=weights, device=device)
        labeller = None if model is None else Labeller(model, network.recipes[0])
        database = Database(
            index,
            path,
            state=state,
            shown=Shown.of(options),
            copy_distance=options.copy_distance,
        )
        shown = None if map_page is None else Map(map_page, database)
        return Service(database, network, labeller, options, held.pop_all(), shown)
