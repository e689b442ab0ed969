"""Folders as people have them: pipes, broken links, folders without permission, other files."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import socket
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import featx
from featx.cli.main import main
from featx.errors import ImageDecodeError, ManifestError, ParameterError
from featx.fingerprint import file_digest
from featx.images import ImageManifest, decode_image
from featx.images._formats import has_heif_reader, is_heif
from featx.images.listing import describe_ignored
from featx.images.thumbnail import thumbnail_jpeg

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


# -- files that are left out are counted --------------------------------------------------------


@pytest.fixture
def phone(folder):
    """A telephone's folder: 3 pictures that are read and 12 files that are not."""
    names = ["x.NEF", "y.nef", "a.jp2", "notes.TXT", "README", "a/._0.jpg", "a/.DS_Store"]
    names += ["a/Thumbs.db", ".cache/1.jpg", ".cache/deep/2.jpg", "a/._1.JPG", "not.heic"]
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


LEFT_OUT = {".nef": 2, ".jp2": 1, ".txt": 1, "": 2, ".jpg": 4, ".db": 1, ".heic": 1}


def test_every_file_that_is_not_read_is_counted_by_suffix(phone, tmp_path, capsys):
    manifest = ImageManifest.from_source(phone)
    assert manifest.ignored == LEFT_OUT
    assert manifest.subset([0]).ignored == LEFT_OUT
    assert extract(phone, tmp_path / "f.h5").summary.ignored == LEFT_OUT
    words = ["extract", str(phone), "--store", str(tmp_path / "g.h5"), "--workers", "0"]
    assert main([*words, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["images"], result["ignored"]) == (3, LEFT_OUT)
    assert main(words) == 0
    (line,) = [x for x in capsys.readouterr().out.splitlines() if x.startswith("ignored")]
    assert line.startswith("ignored 12 files: .jpg 4 (hidden), .nef 2, ")
    assert line.index(".jp2 1") < line.index(".txt 1")


def test_a_glob_counts_what_it_matches_and_several_sources_add_up(phone):
    picture(5).save(phone / "top.png")
    at_top = {".nef": 2, ".jp2": 1, ".txt": 1, "": 1, ".heic": 1}
    assert ImageManifest.from_source(f"{phone}/*").ignored == at_top
    both = ImageManifest.from_source([phone / "a", f"{phone}/*"])
    assert both.ignored == {**at_top, "": 2, ".jpg": 2, ".db": 1}


def test_a_source_without_images_says_what_is_there_instead(tmp_path):
    (tmp_path / "a.nef").touch()
    for source in (tmp_path, str(tmp_path / "*")):
        with pytest.raises(ManifestError, match=r"ignored 1 file: \.nef 1$"):
            ImageManifest.from_source(source)


def test_files_at_urls_are_counted_too(phone):
    fsspec = pytest.importorskip("fsspec")
    fsspec.filesystem("memory").put(f"{phone}/", "/odd/", recursive=True)
    try:
        manifest = ImageManifest.from_source("memory://odd")
    finally:
        fsspec.filesystem("memory").rm("/odd", recursive=True)
    # a look into a file would be a request: there its name alone counts
    named = {**LEFT_OUT, ".heic": 0} if has_heif_reader() else LEFT_OUT
    assert manifest.ignored == {suffix: n for suffix, n in named.items() if n}


def test_every_shard_counts_the_files_of_the_whole_source(phone, tmp_path):
    for rank in range(2):
        store = extract(phone, tmp_path / "f.h5", shard=(rank, 2))
        assert store.summary.ignored == LEFT_OUT


@pytest.mark.parametrize("suffix", [".jpg", ".pjp", ".jfif", ".JPE", ".pjpeg", ".mpo"])
def test_every_common_name_of_a_jpeg_is_read(tmp_path, suffix):
    picture(0).save(tmp_path / f"a{suffix}", "JPEG")
    assert len(ImageManifest.from_source(tmp_path)) == 1


# -- HEIF ---------------------------------------------------------------------------------------


def test_a_heif_file_is_read_upright_and_known_by_its_content(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    turned = Image.Exif()
    turned[0x0112] = 6
    whole = Image.new("RGB", (64, 32), "red")
    whole.paste("blue", (0, 0, 32, 32))
    pillow_heif.from_pillow(whole).save(tmp_path / "a.heic", quality=-1, exif=turned.tobytes())
    picture(0).save(tmp_path / "jpeg.heic", "JPEG")  # as messengers name them
    (tmp_path / "text.heic").write_bytes(b"x")
    manifest = ImageManifest.from_source(tmp_path)
    assert [Path(p).name for p in manifest.paths] == ["a.heic", "jpeg.heic"]
    assert manifest.ignored == {".heic": 1}
    found = decode_image(tmp_path / "a.heic")
    assert found.size == (32, 64)
    assert found.getpixel((16, 8))[2] > 200  # blue is on top
    assert found.getpixel((16, 56))[0] > 200
    assert "HEIF" not in Image.OPEN  # the user's Pillow is as it was


def test_without_pillow_heif_the_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    head = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
    (tmp_path / "a.HEIC").write_bytes(head)
    picture(0).save(tmp_path / "b.jpg")
    manifest = ImageManifest.from_source(tmp_path)
    assert manifest.ignored == {".heic": 1}
    assert "pip install 'featx[heic]'" in describe_ignored(manifest.ignored)
    with pytest.raises(ImageDecodeError, match=r"HEIF.*pip install 'featx\[heic\]'"):
        decode_image(head)


def test_an_avif_file_is_not_taken_for_heif():
    assert is_heif(b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic")
    assert is_heif(b"\0\0\0\x14ftypmif1\0\0\0\0mif1")
    assert not is_heif(b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf")
    assert not is_heif(b"\0\0\0\x18ftypisom\0\0\0\0mp42isom")


# -- folders that cannot be read ----------------------------------------------------------------


@pytest.fixture
def deny(monkeypatch):
    """Refuse to list folders, also to root, who may read everything."""
    denied = set()
    real = os.scandir

    def scandir(path="."):
        if not isinstance(path, int) and str(Path(path).absolute()) in denied:
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    return denied


@pytest.mark.parametrize("pattern", ["", "/**/*.png", "/*/*"])
def test_a_folder_without_permission_is_a_failure_and_the_rest_is_done(
    folder, tmp_path, deny, pattern
):
    (folder / "locked").mkdir()
    picture(7).save(folder / "locked" / "7.png")
    source = f"{folder}{pattern}"
    extract(source, tmp_path / "f.h5")
    picture(8).save(folder / "a" / "8.png")
    deny.add(str(folder / "locked"))
    for n_new in (1, 0):
        store = extract(source, tmp_path / "f.h5")
        summary = store.summary
        assert (summary.images, summary.extracted, summary.failed) == (4, n_new, 1)
        assert reasons(store) == {"locked": "the folder cannot be listed (Permission denied)"}
        assert len(store) == 5  # the row of the image in it stays
    with pytest.raises(ImageDecodeError, match=r"locked': the folder cannot be listed"):
        extract(source, tmp_path / "f.h5", on_error="raise")
    deny.clear()
    store = extract(source, tmp_path / "f.h5")
    assert (store.summary.images, store.failures) == (5, ())


def test_a_source_that_cannot_be_listed_at_all_says_so(folder, deny):
    deny.add(str(folder))
    with pytest.raises(ManifestError, match=r"photos' cannot be read \(Permission denied\)"):
        ImageManifest.from_source(folder)


def test_a_folder_that_vanishes_while_it_is_listed_is_a_failure(folder, tmp_path, monkeypatch):
    (folder / "b").mkdir()
    real = os.scandir

    def scandir(path="."):
        if str(path) == str(folder / "b"):
            (folder / "b").rmdir()
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    store = extract(folder, tmp_path / "f.h5")
    assert (store.summary.extracted, list(reasons(store))) == (3, ["b"])
    assert extract(folder, tmp_path / "f.h5").failures == ()


# -- features that are no numbers ---------------------------------------------------------------


class Overflows:
    """Builds the mean colour, infinite for white pictures and NaN for black ones."""

    def __new__(cls, largest=float("inf")):
        import torch

        class Bright(torch.nn.Module):
            def forward(self, x):
                y = x.mean(dim=(2, 3))
                y = torch.where(y.amin(1, keepdim=True) > 2.0, torch.full_like(y, largest), y)
                return torch.where(y.amax(1, keepdim=True) < -1.7, y * float("nan"), y)

        return Bright()


@pytest.mark.parametrize("options", [{}, {"augment": "hflip"}, {"augment": "ten-crop:keep"}])
def test_an_image_without_finite_features_is_a_failure_at_every_run(folder, tmp_path, options):
    Image.new("RGB", (40, 30), "white").save(folder / "a" / "0white.png")
    Image.new("RGB", (40, 30), "white").save(folder / "a" / "9white.png")  # a copy of it
    Image.new("RGB", (40, 30), "black").save(folder / "black.png")
    for n_new in (3, 0):
        store = extract(
            folder, tmp_path / "f.h5", backbone=Overflows(), batch_size=2, crop_px=24, **options
        )
        assert (store.summary.extracted, store.summary.failed) == (n_new, 3)
        found = reasons(store)
        assert sorted(found) == ["0white.png", "9white.png", "black.png"]
        assert "are infinite" in found["0white.png"]
        assert "are NaN" in found["black.png"]
        assert np.isfinite(store[:]).all()


def test_a_number_too_large_for_the_table_is_a_failure(folder, tmp_path):
    Image.new("RGB", (40, 30), "white").save(folder / "white.png")
    store = extract(folder, tmp_path / "f.h5", backbone=Overflows(1e30), precision="bfloat16")
    expected = {} if store.dtype == np.float32 else {"white.png"}
    assert (store.summary.extracted, set(reasons(store))) == (4 - len(expected), set(expected))


def test_the_transformer_takes_features_that_are_no_numbers_as_bad_images(folder):
    Image.new("RGB", (40, 30), "white").save(folder / "white.png")
    paths = sorted(map(str, folder.rglob("*.png")))
    options = {"backbone": Overflows(), "workers": 0, "progress": False}
    with pytest.raises(ImageDecodeError, match=r"white.png': the network's features are not fin"):
        featx.FeatureExtractor(**options).transform(paths)
    vectors = featx.FeatureExtractor(**options, on_error="nan").transform(paths)
    assert np.isnan(vectors).all(axis=1).tolist() == [False, False, False, True]


def test_an_image_that_turns_infinite_keeps_its_row_and_gives_it_to_no_copy(folder, tmp_path):
    extract(folder, tmp_path / "f.h5", backbone=Overflows())
    for name in ("a/1.png", "new.png"):
        Image.new("RGB", (40, 30), "white").save(folder / name)
    store = extract(folder, tmp_path / "f.h5", backbone=Overflows())
    assert set(reasons(store)) == {"1.png", "new.png"}
    assert [Path(p).name for p in store.paths] == ["0.png", "1.png", "2.png"]


# -- a limit of failures ------------------------------------------------------------------------


def test_more_failures_than_allowed_end_the_run_and_keep_what_was_done(folder, tmp_path, capsys):
    for i in range(3):
        (folder / "a" / f"bad{i}.png").write_bytes(b"x")
    with pytest.raises(ImageDecodeError, match=r"3 images cannot.*max_failures = 2: '.*bad0\.png"):
        extract(folder, tmp_path / "f.h5", max_failures=2)
    store = featx.open_store(tmp_path / "f.h5")
    assert (len(store), len(store.failures)) == (3, 3)
    assert extract(folder, tmp_path / "f.h5", max_failures=3).summary.failed == 3
    words = ["extract", str(folder), "--store", str(tmp_path / "g.h5"), "--max-failures", "0"]
    assert main(words) == 1
    assert "bad0.png" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [({"max_failures": -1}, "got -1"), ({"max_failures": 1, "on_error": "raise"}, "one of the")],
)
def test_a_limit_that_makes_no_sense_is_refused(folder, tmp_path, options, message):
    with pytest.raises(ParameterError, match=f"max_failures: {message}|max_failures.*{message}"):
        extract(folder, tmp_path / "f.h5", **options)


def test_larger_images_are_read_where_more_pixels_are_allowed(folder, tmp_path, capsys):
    picture(9, (120, 100)).save(folder / "large.jpg")
    store = extract(folder, tmp_path / "f.h5", max_pixels=11_999)
    assert "allow for more with max_pixels (--max-pixels)" in reasons(store)["large.jpg"]
    assert extract(folder, tmp_path / "f.h5", max_pixels=12_000).failures == ()
    words = ["extract", str(folder), "--store", str(tmp_path / "g.h5"), "--max-pixels", "11999"]
    assert main([*words, "--workers", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["failed"] == 1
    options = {"backbone": Mean(), "workers": 0, "progress": False}
    with pytest.raises(ImageDecodeError, match="too large"):
        featx.FeatureExtractor(**options, max_pixels=99).transform([folder / "large.jpg"])
    with pytest.raises(ParameterError, match="max_pixels: got 0"):
        extract(folder, tmp_path / "f.h5", max_pixels=0)


def test_who_has_no_list_of_failures_refuses_a_folder_without_permission(folder, deny, capsys):
    (folder / "locked").mkdir()
    deny.add(str(folder / "locked"))
    assert ImageManifest.from_source(folder).unreadable == {
        str(folder / "locked"): "Permission denied"
    }
    assert main(["finetune", str(folder), "--out", str(folder / "w.safetensors")]) == 1
    assert "locked': cannot be read (Permission denied)" in capsys.readouterr().err


@pytest.mark.parametrize("workers", [0, 1])
def test_a_cut_file_that_pillow_has_open_is_a_bad_image_like_any_other(folder, tmp_path, workers):
    file = io.BytesIO()
    picture(9, (64, 64)).save(file, "JPEG")
    whole, cut = file.getvalue(), file.getvalue()[: len(file.getvalue()) // 2]
    options = {"backbone": Mean(), "workers": workers, "progress": False, "on_error": "nan"}
    for cache in (None, tmp_path / "cache.h5"):
        images = [Image.open(io.BytesIO(data)) for data in (cut, whole)]
        vectors = featx.FeatureExtractor(**options, cache=cache).transform(images)
        assert np.isnan(vectors).all(axis=1).tolist() == [True, False]
    images = [Image.open(io.BytesIO(cut))]
    with pytest.raises(ImageDecodeError, match="image file is truncated"):
        featx.FeatureExtractor(**{**options, "on_error": "raise"}).transform(images)


class TwoLayers:
    """Builds two layers, of which the second overflows for white pictures."""

    def __new__(cls):
        import torch

        class Square(torch.nn.Module):
            def forward(self, x):
                return torch.where(x.amin() > 1.5, x * float("inf"), x)

        class Net(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.first, self.second = torch.nn.AvgPool2d(4), Square()

            def forward(self, x):
                return self.second(self.first(x)).mean(dim=(2, 3))

        return Net()


def test_an_image_that_is_bad_in_one_layer_is_in_no_table(folder, tmp_path):
    Image.new("RGB", (40, 30), "white").save(folder / "white.png")
    options = {"backbone": TwoLayers(), "layers": ["first", "second"], "batch_size": 1}
    for n_new in (3, 0):
        store = extract(folder, tmp_path / "f.h5", **options)
        assert (store.summary.extracted, store.summary.failed) == (n_new, 1)
        assert "layer 'second'" in reasons(store)["white.png"]
        for table in store.summary.fingerprints:
            assert len(featx.open_store(tmp_path / "f.h5", table=table)) == 3
