"""`featx duplicates`: what was copied is found, and nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image, ImageOps

from featx.cli.main import main
from featx.demo import sample_data_dir


@pytest.fixture(scope="module")
def stores(tmp_path_factory) -> tuple[Path, Path]:
    """Six different things, a copy of the first's bytes and a mirrored, resaved second; beside it
    a store with the third saved again."""
    root = tmp_path_factory.mktemp("copies")
    classes = sorted(p for p in (sample_data_dir() / "objects").iterdir() if p.is_dir())
    originals = [min(c.iterdir()) for c in classes[:6]]
    for name in ("one", "other"):
        (root / name).mkdir()
    for i, path in enumerate(originals):
        shutil.copy(path, root / "one" / f"{i}{path.suffix}")
    shutil.copy(originals[0], root / "one" / f"copy{originals[0].suffix}")
    with Image.open(originals[1]) as image:
        ImageOps.mirror(image.convert("RGB")).save(root / "one" / "mirror.jpg", quality=90)
    with Image.open(originals[2]) as image:
        image.convert("RGB").save(root / "other" / "again.jpg", quality=90)
    for name in ("one", "other"):
        store = root / f"{name}.h5"
        assert main(["extract", str(root / name), "--store", str(store), "--workers", "0"]) == 0
    return root / "one.h5", root / "other.h5"


def found(capsys, *words: str) -> dict:
    capsys.readouterr()
    assert main(["duplicates", *map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def stems(group: dict) -> set[str]:
    return {Path(path).stem for path in group["paths"]}


def test_groups_are_the_copies_that_were_made(stores, capsys) -> None:
    result = found(capsys, stores[0])
    by_names = {frozenset(stems(g)): g["exact"] for g in result["groups"]}
    assert by_names == {frozenset({"0", "copy"}): True, frozenset({"1", "mirror"}): False}
    assert (result["n_samples"], result["n_groups"], result["n_copies"]) == (8, 2, 2)


def test_across_two_stores_the_pair_is_found(stores, capsys) -> None:
    result = found(capsys, *stores)
    assert [stems(g) for g in result["groups"]] == [{"2", "again"}]
    assert result["groups"][0]["cosine"] > 0.95
    assert not result["groups"][0]["exact"]


def test_a_page_shows_them(stores, capsys, tmp_path) -> None:
    result = found(capsys, stores[0], "--html", tmp_path / "copies.html")
    page = Path(result["report"]).read_text()
    assert page.count("data:image/jpeg") == 4
    assert "same bytes" in page


def test_none_is_said_so(stores, capsys, tmp_path) -> None:
    assert main(["duplicates", str(stores[1]), "--html", str(tmp_path / "none.html")]) == 0
    assert "0 groups of copies among 1 image," in capsys.readouterr().out
    assert "None found." in (tmp_path / "none.html").read_text()


def test_a_threshold_out_of_range_is_one_line(stores, capsys) -> None:
    assert main(["duplicates", str(stores[0]), "--threshold", "2"]) == 1
    error = capsys.readouterr().err
    assert "threshold: got 2.0" in error
    assert error.count("\n") == 1


def test_a_page_says_which_copy_is_the_largest(tmp_path, capsys) -> None:
    """Pixels are those of the upright picture, from the header, and then bytes decide."""
    (tmp_path / "in").mkdir()
    large = Image.effect_noise((300, 200), 60).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    large.rotate(90, expand=True).save(tmp_path / "in" / "large.jpg", exif=exif)
    large.save(tmp_path / "in" / "small.jpg", quality=15)
    store = tmp_path / "f.h5"
    assert main(["extract", str(tmp_path / "in"), "--store", str(store), "--workers", "0"]) == 0
    result = found(capsys, store, "--threshold", "0.5", "--html", tmp_path / "copies.html")
    page = Path(result["report"]).read_text()
    assert page.count("<span>300 x 200 px</span>") == 2
    assert page.count("<b>largest</b><span>in/<wbr>large.jpg</span>") == 1
    for name in ("large.jpg", "small.jpg"):
        n_bytes = (tmp_path / "in" / name).stat().st_size
        assert f"<span>{n_bytes / 1000:,.0f} kB</span>" in page
