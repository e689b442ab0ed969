"""HDF5 files whose content lies elsewhere, or that claim more than they hold, are refused."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from featx import RetrievalIndex, open_store
from featx.errors import FeatxError, FileFormatError
from featx.store import write_features

LIBVER = ("v110", "v110")


def link_out(h5, name: str, other: Path) -> None:
    del h5[name]
    h5[name] = h5py.ExternalLink(str(other), f"/{name}")


def link_in(h5, name: str, other: Path) -> None:
    h5[f"{name} moved"] = h5[name]
    del h5[name]
    h5[name] = h5py.SoftLink(f"/{name} moved")


def lay_out(h5, name: str, other: Path) -> None:
    shape, dtype = h5[name].shape, h5[name].dtype
    del h5[name]
    h5.create_dataset(name, shape, dtype, external=[(str(other), 0, h5py.h5f.UNLIMITED)])


def make_virtual(h5, name: str, other: Path) -> None:
    shape, dtype = h5[name].shape, h5[name].dtype
    del h5[name]
    layout = h5py.VirtualLayout(shape, dtype)
    layout[...] = h5py.VirtualSource(str(other), name, shape)
    h5.create_virtual_dataset(name, layout)


def swell(h5, name: str, other: Path) -> None:
    """Claim a terabyte that was never written."""
    dtype = h5[name].dtype
    del h5[name]
    h5.create_dataset(name, (2**40 // dtype.itemsize,), dtype, chunks=(2**20,))


def pack(h5, name: str, other: Path) -> None:
    """Claim a gigabyte, packed: deflate makes a megabyte of it."""
    dtype = h5[name].dtype
    del h5[name]
    h5.create_dataset(name, (2**40,), dtype, chunks=(2**20,), compression="gzip")


FORGERIES = [link_out, link_in, lay_out, make_virtual, swell, pack]


@pytest.fixture
def pipe(tmp_path) -> Path:
    """A named pipe: whoever opens it waits for ever."""
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__)
@pytest.mark.parametrize("name", ["norms", "vectors", "header"])
def test_an_index_that_lies_elsewhere_is_refused(tmp_path, pipe, forge, name) -> None:
    RetrievalIndex().fit(np.eye(4)).save(tmp_path / "i")
    with h5py.File(tmp_path / "i", "r+", libver=LIBVER) as h5:
        forge(h5, name, pipe)
    for mmap in (False, True):
        with pytest.raises(FileFormatError, match=rf"index .*{name}.*plain datasets"):
            RetrievalIndex.load(tmp_path / "i", mmap=mmap)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__)
@pytest.mark.parametrize("name", ["features", "size_bytes", "digest"])
def test_a_store_that_lies_elsewhere_is_refused(tmp_path, pipe, forge, name) -> None:
    write_features(tmp_path / "f.h5", np.eye(4), paths=list("abcd")).close()
    with h5py.File(tmp_path / "f.h5", "r+", libver=LIBVER) as h5:
        forge(h5["tables/outside"], name, pipe)
    with pytest.raises(FileFormatError, match=rf"store .*{name}.*plain datasets"):
        open_store(tmp_path / "f.h5")


def test_a_filter_that_hdf5_does_not_have_is_refused_by_its_number(tmp_path) -> None:
    """HDF5 would look for a plug-in with it, on the paths of this machine."""
    RetrievalIndex().fit(np.eye(4)).save(tmp_path / "i")
    with h5py.File(tmp_path / "i", "r+", libver=LIBVER) as h5:
        del h5["norms"]
        h5.create_dataset("norms", (4,), "<f4", chunks=(4,), compression="lzf")
    with pytest.raises(FileFormatError, match=r"'norms' is packed by filter 32000"):
        RetrievalIndex.load(tmp_path / "i")


@pytest.mark.timeout(20)
def test_what_is_no_regular_file_is_refused_before_it_is_opened(tmp_path) -> None:
    places = [tmp_path]
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        places.append(tmp_path / "pipe")
    for place in places:
        with pytest.raises(FileFormatError, match=r"opened \((not a regular file|is a folder)"):
            RetrievalIndex.load(place)
        with pytest.raises(FeatxError):
            open_store(place)


def test_what_is_damaged_is_an_error_of_featx_wherever_it_is(tmp_path) -> None:
    """An error within HDF5's own walk over a file came out as a SystemError."""
    write_features(tmp_path / "f.h5", np.eye(4), paths=list("abcd")).close()
    data = (tmp_path / "f.h5").read_bytes()
    found = 0
    for at in range(0, len(data), 97):
        (tmp_path / "g.h5").write_bytes(data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :])
        try:
            open_store(tmp_path / "g.h5").close()
        except FeatxError:
            found += 1
    assert found > 10
