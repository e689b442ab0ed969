"""Folders as people have them: pipes, broken links, folders without permission, other files."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import featx
from featx.errors import ImageDecodeError
from featx.fingerprint import file_digest
from featx.images import thumbnail_jpeg

posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")


class Mean:
    """Builds the cheapest network there is: the mean colour of a picture."""

    def __new__(cls):
        import torch

        class MeanColour(torch.nn.Module):
            def forward(self, x):
                return x.mean(dim=(2, 3))

        return MeanColour()


def picture(seed, size=(40, 30)):
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "photos"
    (root / "a").mkdir(parents=True)
    for i in range(3):
        picture(i).save(root / "a" / f"{i}.png")
    return root


def extract(source, store, **options):
    options = {"backbone": Mean(), "workers": 0, "progress": False, **options}
    return featx.extract(source, store, **options)


def reasons(store):
    return {Path(f.path).name: f.reason for f in store.failures}


@posix
@pytest.mark.parametrize("spelling", ["folder", "glob", "list", "csv"])
def test_what_is_no_regular_file_is_a_failure_at_every_run(folder, tmp_path, spelling):
    os.mkfifo(folder / "a" / "pipe.jpg")
    (folder / "a" / "gone.jpg").symlink_to(folder / "no such file")
    (folder / "a" / "loop.jpg").symlink_to("loop.jpg")
    (folder / "a" / "device.jpg").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listening:
        here = os.open(folder / "a", os.O_RDONLY)  # a socket's path may have 107 bytes
        try:
            listening.bind(f"/proc/self/fd/{here}/socket.jpg")
        except OSError:
            pytest.skip("no sockets in folders here")
        finally:
            os.close(here)
        names = sorted(str(p) for p in (folder / "a").iterdir())
        source = {"folder": folder, "glob": f"{folder}/*/*", "list": names}.get(spelling)
        if spelling == "csv":
            source = tmp_path / "images.csv"
            source.write_text("path\n" + "\n".join(names) + "\n")
        for n_new in (3, 0):
            store = extract(source, tmp_path / "f.h5")
            assert (store.summary.extracted, store.summary.failed) == (n_new, 5)
            found = reasons(store)
            assert found.pop("gone.jpg") == "No such file"
            assert "symbolic links" in found.pop("loop.jpg")
            assert found == dict.fromkeys(
                ("pipe.jpg", "device.jpg", "socket.jpg"), "not a regular file"
            )


@posix
def test_an_image_that_becomes_a_pipe_is_a_failure_and_its_row_stays(folder, tmp_path):
    extract(folder, tmp_path / "f.h5")
    (folder / "a" / "1.png").unlink()
    os.mkfifo(folder / "a" / "1.png")
    store = extract(folder, tmp_path / "f.h5")
    assert reasons(store) == {"1.png": "not a regular file"}
    assert len(store) == 3


@posix
def test_a_pipe_is_neither_hashed_nor_shown(tmp_path):
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="not a regular file"):
        file_digest(pipe)
    with pytest.raises(ImageDecodeError, match="not a regular file"):
        thumbnail_jpeg(pipe, 64)
