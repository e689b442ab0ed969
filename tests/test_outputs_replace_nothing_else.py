"""An output replaces an older file of its kind, and never an input or anything else."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from featx import LinearProbeClassifier, RetrievalIndex
from featx.cli.main import main
from featx.cli.predict import _write_table as write_table
from featx.errors import FeatxError, StoreWriteError
from featx.estimators import save_model
from featx.files.kinds import kind_of
from featx.files.outputs import check_output, write_output
from featx.report import Report
from featx.store import StoreWriter, export_store, write_features

X = np.random.default_rng(0).standard_normal((12, 8)).astype(np.float32)
PATHS = [f"/p/{i}.jpg" for i in range(12)]
LABELS = ["a", "b"] * 6


def tuned_weights(path: Path) -> None:
    header = json.dumps({"__metadata__": {"creator": "featx 0.1"}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)


def foreign_weights(path: Path) -> None:
    header = json.dumps({"__metadata__": {"format": "pt"}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)


# every kind that featx writes, under a name that says nothing
MADE: dict[str, Callable[[Path], object]] = {
    "store": lambda p: write_features(p, X, paths=PATHS, labels=LABELS).close(),
    "index": lambda p: RetrievalIndex().fit(X).save(p),
    "model": lambda p: save_model(LinearProbeClassifier(Cs=1.0).fit(X, LABELS), p),
    "weights": tuned_weights,
    "page": lambda p: shutil.move(Report("r").save(f"{p}.html"), p),
    "numbers": lambda p: shutil.move(Report("r").save(f"{p}.json"), p),
    "npz": lambda p: export(p, ".npz"),
    "npy": lambda p: export(p, ".npy"),
    "parquet": lambda p: export(p, ".parquet"),
    "predictions": lambda p: predictions(p),
    "csv": lambda p: export(p, ".csv"),
}
# and what others write
FOREIGN: dict[str, Callable[[Path], object]] = {
    "labels": lambda p: p.write_text("path,label\nx.jpg,cat\n"),
    "picture": lambda p: Image.new("RGB", (8, 8)).save(p, "JPEG"),
    "page of others": lambda p: p.write_text("<!DOCTYPE html><title>thesis</title>"),
    "JSON of others": lambda p: p.write_text('{"a": 1}'),
    "weights of others": foreign_weights,
    "HDF5 of others": lambda p: other_hdf5(p),
    "arrays of others": lambda p: p.write_bytes(zipped_arrays(p)),
    "Parquet of others": lambda p: parquet_of_others(p),
    "list of numbers": lambda p: shutil.move(saved_numbers(p), p),
    "text": lambda p: p.write_text("notes"),
    "table edited in pandas": lambda p: p.write_text("path,label,confidence,note\na,b,1,\n"),
    "table with an index": lambda p: p.write_text(",path,label,feature_0\n0,a,b,1\n"),
    "features and more": lambda p: p.write_text("path,label,feature_0,cluster\na,b,1,2\n"),
    "features from the middle": lambda p: p.write_text("path,label,feature_7\na,b,1\n"),
    "bytes": lambda p: p.write_bytes(b"\1\0" * 50),
}


def export(path: Path, suffix: str) -> None:
    store = path.with_name(f"{path.name}.source")
    write_features(store, X, paths=PATHS).close()
    export_store(store, f"{path}{suffix}")
    store.unlink()
    store.with_name(f".{store.name}.lock").unlink(missing_ok=True)
    shutil.move(f"{path}{suffix}", path)


def predictions(path: Path) -> None:
    write_table(f"{path}.parquet", [("path", PATHS), ("label", LABELS)])
    shutil.move(f"{path}.parquet", path)


def parquet_of_others(path: Path) -> None:
    pd.DataFrame({"path": PATHS, "featx_small": LABELS}).to_parquet(path)


def other_hdf5(path: Path) -> None:
    import h5py

    with h5py.File(path, "w") as h5:
        h5.attrs["format"] = "something else"


def saved_numbers(path: Path) -> str:
    np.save(path, np.arange(3))
    return f"{path}.npy"


def zipped_arrays(path: Path) -> bytes:
    with path.open("wb") as file:
        np.savez(file, features=X)
    return path.read_bytes()


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    for name, make in {**MADE, **FOREIGN}.items():
        make(folder / name)
    return folder


@pytest.mark.parametrize("found", [*MADE, *FOREIGN])
@pytest.mark.parametrize("wanted", MADE)
def test_only_an_older_file_of_the_kind_may_be_replaced(files, wanted, found) -> None:
    place = files / found
    # a store that cannot be opened is for the writer of stores to refuse, as is a foreign one
    if found == wanted or (wanted, found) == ("store", "HDF5 of others"):
        assert check_output(place, wanted) == place.resolve()
        return
    with pytest.raises(StoreWriteError, match=r"^\w+ '.*': is .*expected a new name or an older"):
        check_output(place, wanted)


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        ("path,label,confidence", "predictions"),
        ("\ufeffpath,label,confidence\r", "predictions"),
        ("path,red,score.red", "predictions"),
        ('path,"red, dark",big,"score.red, dark",score.big', "predictions"),
        ("path,label,feature_0", "csv"),
        ("path,label,feature_note,year,feature_0,feature_1", "csv"),
        ("path,label", ""),
        ("path,red,score.big", ""),
        ("path,label,feature_99999999999", ""),
        ("path", ""),
        ("path;label;confidence", ""),
    ],
)
def test_a_csv_of_featx_is_known_by_its_columns(tmp_path, header, kind) -> None:
    (tmp_path / "t").write_bytes(f"{header}\n1\n".encode())
    assert kind_of(tmp_path / "t")[0] == kind


def test_predictions_in_parquet_are_known_without_their_note(tmp_path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    for names, kind in (
        (["path", "label", "confidence"], "predictions"),
        (["path", "red", "score.red"], "predictions"),
        (["path", "label", "note"], ""),
    ):
        table = arrow.table({name: ["1"] for name in names})
        parquet.write_table(table, tmp_path / "t")
        assert kind_of(tmp_path / "t")[0] == kind
        table.to_pandas().to_parquet(tmp_path / "t")
        assert kind_of(tmp_path / "t")[0] == ""


@pytest.mark.parametrize("name", ["store-v1.h5", "index-v1", "index-v2", "model-v1.featx"])
def test_files_of_every_earlier_format_are_known(name: str) -> None:
    assert kind_of(Path(__file__).parent / "golden" / name)[0] == name.partition("-")[0]


@pytest.mark.parametrize("found", ["model", "labels"])
def test_every_writer_refuses_a_file_of_another_kind(files, tmp_path, found) -> None:
    model = LinearProbeClassifier(Cs=1.0).fit(X, LABELS)
    writers: dict[str, Callable[[Path], object]] = {
        "f.index": lambda p: RetrievalIndex().fit(X).save(p),
        "f.h5": lambda p: StoreWriter(p),
        "g.h5": lambda p: write_features(p, X, paths=PATHS),
        "f.html": lambda p: Report("r").save(p),
        "f.json": lambda p: Report("r").save(p),
        "f.npz": lambda p: export_store(files / "store", p),
        "f.npy": lambda p: export_store(files / "store", p),
        "f.parquet": lambda p: export_store(files / "store", p),
        "store": lambda p: save_model(model, p),
        "joblib": lambda p: save_model(model, p, format="joblib"),
    }
    for name, write in writers.items():
        source = files / ("store" if found == "model" and name in ("store", "joblib") else found)
        place = Path(shutil.copy(source, tmp_path / name))
        before = place.read_bytes()
        with pytest.raises(FeatxError, match=name):
            write(place)
        assert place.read_bytes() == before, name


def test_an_empty_file_may_become_anything(tmp_path) -> None:
    for name in ("a", "b.h5"):
        (tmp_path / name).touch()
    save_model(LinearProbeClassifier(Cs=1.0).fit(X, LABELS), tmp_path / "a")
    assert len(write_features(tmp_path / "b.h5", X, paths=PATHS)) == 12


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_link_stays_a_link_and_its_file_is_written(tmp_path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real/model")
    model = LinearProbeClassifier(Cs=1.0).fit(X, LABELS)
    for _ in range(2):  # a new file, then an older one
        save_model(model, tmp_path / "link")
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "real" / "model").is_file()
    (tmp_path / "round").symlink_to("round")
    with pytest.raises(StoreWriteError, match=r"round'.*(symbolic links|is a device)"):
        save_model(model, tmp_path / "round")


@pytest.mark.skipif(sys.platform == "win32", reason="has no such devices")
def test_a_device_is_never_replaced(tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for place in ("/dev/null", tmp_path / "pipe"):
        with pytest.raises(StoreWriteError, match="is a device or a pipe"):
            RetrievalIndex().fit(X).save(place)


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 300, "no/such/folder/x", "new/"])
def test_a_name_that_cannot_be_written_is_refused_before_the_work(
    tmp_path, monkeypatch, name
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreWriteError, match=r"expected|writ"):
        check_output(name, "model")


def test_an_input_by_any_other_name_is_not_replaced(tmp_path) -> None:
    place = tmp_path / "model"
    MADE["model"](place)
    os.link(place, tmp_path / "hard")
    (tmp_path / "soft").symlink_to(place)
    (tmp_path / "d").mkdir()
    for other in (place, tmp_path / "hard", tmp_path / "soft", tmp_path / "d" / ".." / "model"):
        for out, read in ((place, other), (other, place)):
            with pytest.raises(StoreWriteError, match="an output never replaces an input"):
                check_output(out, "model", inputs=["no such file", read])
    with pytest.raises(StoreWriteError), write_output(place, "model", inputs=[place]):
        pytest.fail("the work was begun")


# -- the command line -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """Pictures in two folders, and a store, a model, an index and a page of them."""
    root = tmp_path_factory.mktemp("world")
    rng = np.random.default_rng(0)
    for i in range(8):
        place = root / "photos" / "ab"[i % 2] / f"{i}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 200, (40, 40, 3), dtype=np.uint8) + np.uint8(i % 2 * 50)
        Image.fromarray(pixels).save(place)
    for words in (
        ["extract", root / "photos", "--store", root / "s.h5", "--workers", "0"],
        ["train", root / "s.h5", "--out", root / "m"],
        ["index", root / "s.h5", "--out", root / "i"],
    ):
        assert main([str(w) for w in words]) == 0
    lines = [f"{p},{p.parent.name}\n" for p in sorted((root / "photos").rglob("*.png"))]
    (root / "l.csv").write_text("path,label\n" + "".join(lines))
    (root / "p.html").write_text("<!DOCTYPE html><title>mine</title>")
    (root / "p.json").write_text("{}")
    write_features(root / "wide.h5", np.eye(3), paths=["x", "y", "z"]).close()
    return root


REFUSED = {
    "train onto its store": "train s.h5 --out s.h5",
    "train onto its store by another spelling": "train s.h5 --out ./photos/../s.h5",
    "train onto its labels": "train s.h5 --labels l.csv --out l.csv",
    "train onto an index": "train s.h5 --out i",
    "train onto a picture": "train s.h5 --out photos/a/0.png",
    "train onto a folder": "train s.h5 --out photos",
    "train into no folder": "train s.h5 --out none/m",
    "index onto its store": "index s.h5 --out s.h5",
    "index onto a model": "index s.h5 --out m",
    "extract onto labels": "extract photos --store l.csv",
    "extract onto a picture": "extract photos --store photos/a/0.png",
    "extract onto its list": "extract l.csv --store l.csv",
    "extract onto a model": "extract photos --store m",
    "extract onto an index": "extract photos --store i",
    "extract onto a folder": "extract photos --store photos",
    "export onto its store": "export s.h5 s.h5",
    "export onto a page": "export s.h5 p.npz",
    "finetune onto the store": "finetune photos --out s.h5",
    "finetune onto weights of others": "finetune photos --out w.safetensors",
    "query onto a page": "query i photos/a/0.png --html p.html",
    "query onto a JSON": "query i photos/a/0.png --html p.json",
    "query onto an ending": "query i photos/a/0.png --html p.txt",
    "duplicates onto a page": "duplicates s.h5 --html p.html",
    "map onto a page": "map s.h5 --html p.html",
    "map onto its labels": "map s.h5 --labels l.csv --html l.csv",
    "audit onto a page": "audit s.h5 --html p.html",
    "audit onto labels": "audit s.h5 --out l.csv",
    "audit onto the other store": "audit s.h5 --against wide.h5 --out wide.h5",
    "compare onto a page": "compare photos --store c.h5 --html p.html",
    "compare onto a model": "compare photos --store m",
    "bench onto a page": "bench photos --html p.html",
    "demo onto a file": "demo --out s.h5",
}


@pytest.mark.parametrize("words", REFUSED.values(), ids=REFUSED)
def test_a_command_refuses_before_its_work_and_changes_nothing(
    world, words, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(world)
    shutil.copy("p.html", "p.npz")
    foreign_weights(world / "w.safetensors")
    before = {p: p.read_bytes() for p in world.rglob("*") if p.is_file()}
    monkeypatch.setattr(
        "featx.cli._command.hide_progress", lambda _: pytest.fail("work was begun")
    )
    assert main(words.split()) == 1
    (line,) = capsys.readouterr().err.splitlines()
    command, *_ = words.split()
    assert line.startswith(f"featx {command}: ")
    assert "unexpected" not in line
    assert "expected" in line
    assert {p: p.read_bytes() for p in world.rglob("*") if p.is_file()} == before


def test_older_files_of_the_kind_are_replaced(world, tmp_path, capsys) -> None:
    for words in (
        "train s.h5 --out {}/m",
        "index s.h5 --out {}/i",
        "export s.h5 {}/o.npz",
        "export s.h5 {}/o.parquet",
        "export s.h5 {}/o.csv",
        "export wide.h5 {}/o.csv",
        "predict m s.h5 --out {}/f.csv",
        "predict m s.h5 --out {}/f.parquet",
        "query i photos/a/0.png --html {}/q.html",
        "audit s.h5 --workers 0 --out {}/a.csv --html {}/q.html",
        "duplicates s.h5 --html {}/q.html",
        "duplicates s.h5 --html {}/q.json",
        "map s.h5 --workers 0 --html {}/z.html",
    ):
        made = [str(world / w) if (world / w).exists() else w for w in words.split()]
        for _ in range(2):
            assert main([w.format(tmp_path) for w in made]) == 0, capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "a.csv", "f.csv", "f.parquet", "i", "m", "o.csv", "o.npz", "o.parquet", "q.html", "q.json",
        "z.html",
    ]  # fmt: skip


def test_the_demo_leaves_other_work_in_its_folder_alone(world, tmp_path, capsys) -> None:
    folders = {"is the page of other work": "report.html", "is no sample image": "features.h5"}
    for number, (reason, name) in enumerate(folders.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        if name == "report.html":
            Report("mine").save(folder / name)
        else:
            shutil.copy(world / "s.h5", folder / name)
        before = (folder / name).read_bytes()
        assert main(["demo", "--out", str(folder)]) == 1
        assert reason in capsys.readouterr().err
        assert (folder / name).read_bytes() == before
        assert not [p for p in folder.iterdir() if p.suffix and p.name != name]


def test_a_file_may_be_called_like_a_word_of_its_command(world, tmp_path, monkeypatch) -> None:
    shutil.copy(world / "s.h5", tmp_path / "s.h5")
    monkeypatch.chdir(tmp_path)
    for words in (
        "index s.h5 --out index",
        "index s.h5 --kind exact --out exact",
        "train s.h5 --method logistic --out logistic",
        f"extract {world}/photos --backbone featx_small --workers 0 --store featx_small",
    ):
        for _ in range(2):
            assert main(words.split()) == 0, words


def test_weights_in_a_folder_that_is_named_are_an_input(world, monkeypatch, capsys) -> None:
    monkeypatch.chdir(world)
    (world / "tuned").mkdir()
    tuned_weights(world / "tuned" / "model.safetensors")
    words = "finetune photos --weights tuned --out tuned/model.safetensors"
    assert main(words.split()) == 1
    assert "an output never replaces an input" in capsys.readouterr().err


def test_nothing_is_made_of_a_store_without_images(world, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(world)
    (tmp_path / "bad.png").touch()
    assert main(f"extract {tmp_path} --store none.h5 --workers 0".split()) == 1
    capsys.readouterr()
    for words in (
        "train none.h5 --out m",
        "index none.h5 --out i",
        "predict m none.h5 --out f.csv",
        "evaluate m none.h5",
        "query i none.h5",
        "audit none.h5",
        "duplicates none.h5",
        "duplicates s.h5 none.h5",
        "map none.h5 --html z.html",
    ):
        assert main(words.split()) == 1
        assert "'none.h5': has no images, expected at least one" in capsys.readouterr().err
    assert kind_of(world / "m")[0] == "model"
    assert not (world / "f.csv").exists()


def test_two_outputs_have_two_names(world, tmp_path, capsys) -> None:
    words = f"compare {world}/photos --store {tmp_path}/c.html --html {tmp_path}/c.html"
    assert main(words.split()) == 1
    assert "expected two files" in capsys.readouterr().err
