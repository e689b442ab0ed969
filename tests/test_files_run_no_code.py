"""A stranger's file of any kind: what would run as it is read does not.

Each holds a pickle that makes a folder, which is first shown to do so where pickle is asked to.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from featx import LinearProbeClassifier, RetrievalIndex
from featx.backbones.weights import read_state_dict
from featx.errors import FeatxError
from featx.estimators import load_model, save_model
from featx.store import open_store, write_features
from pipelines.datasets._pickle import read_plain_pickle


class Boom:
    """Makes a folder when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self):
        return os.mkdir, (self.marker,)


@pytest.fixture
def marker(tmp_path) -> Path:
    """Return a folder's name, of which it is known that the pickle makes it."""
    shown = tmp_path / "shown"
    pickle.loads(pickle.dumps(Boom(shown)))
    assert shown.is_dir()
    return tmp_path / "marker"


def object_array(marker: Path) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([Boom(marker)], dtype=object), allow_pickle=True)
    return file.getvalue()


def signed(path: Path, members: dict[str, bytes]) -> None:
    """Write a model file whose hash fits."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        for name, data in members.items():
            file.writestr(name, data)
        file.comment = b"0" * 64
    data = path.read_bytes()[:-64]
    path.write_bytes(data + hashlib.sha256(data).hexdigest().encode())


def test_a_model_file_runs_nothing(tmp_path, marker) -> None:
    path = tmp_path / "model"
    path.write_bytes(pickle.dumps(Boom(marker)))
    with pytest.raises(FeatxError):
        load_model(path)
    path.unlink()
    model = LinearProbeClassifier(Cs=2).fit(np.eye(6), ["a", "b"] * 3)
    save_model(model, path)
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    for name in [n for n in members if n.endswith(".npy")]:
        signed(path, members | {name: object_array(marker)})
        with pytest.raises(FeatxError):
            load_model(path)
    header = json.loads(members["model.json"])
    for name in ("os.system", "builtins.eval", "Boom"):
        forged = json.dumps({**header, "model": {**header["model"], "class": name}})
        signed(path, members | {"model.json": forged.encode()})
        with pytest.raises(FeatxError):
            load_model(path)
    save_model(model, path, format="joblib")
    with pytest.raises(FeatxError, match="trust_pickle"):
        load_model(path)
    assert not marker.exists()


def test_weights_run_nothing(tmp_path, marker) -> None:
    for name in ("w.pth", "w.safetensors"):
        torch.save({"state_dict": {"a": torch.ones(2)}, "more": Boom(marker)}, tmp_path / name)
        with pytest.raises(FeatxError):
            read_state_dict(tmp_path / name)
        (tmp_path / name).write_bytes(pickle.dumps(Boom(marker)))
        with pytest.raises(FeatxError):
            read_state_dict(tmp_path / name)
    assert not marker.exists()


def test_stores_and_indexes_run_nothing(tmp_path, marker) -> None:
    store, index = tmp_path / "f.h5", tmp_path / "index"
    write_features(store, np.eye(3), paths=["a", "b", "c"]).close()
    RetrievalIndex().fit(np.eye(3)).save(index)
    payload = np.frombuffer(pickle.dumps(Boom(marker)), np.uint8)
    with h5py.File(index, "r+") as h5:
        del h5["vectors"]
        h5["vectors"] = payload
    with h5py.File(store, "r+") as h5:
        h5["tables/outside"].attrs["made_with"] = np.void(payload.tobytes())
        h5["tables/outside"].attrs["recipe"] = np.void(object_array(marker))
    for read in (open_store, RetrievalIndex.load):
        with pytest.raises(FeatxError):
            read(store if read is open_store else index)
        plain = tmp_path / "plain"
        plain.write_bytes(payload.tobytes())
        with pytest.raises(FeatxError):
            read(plain)
    assert not marker.exists()


def test_a_data_sets_pickle_runs_nothing(marker) -> None:
    with pytest.raises((FeatxError, pickle.UnpicklingError)):
        read_plain_pickle(pickle.dumps({"gnd": [Boom(marker)]}))
    assert not marker.exists()
