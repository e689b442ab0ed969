"""The site: it builds without a warning, and no public name is missing from its reference."""

from __future__ import annotations

import ast
import html
import json
import re
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.ipynb"))


def names_of(module: Path) -> set[str]:
    """Return `__all__` of a module, without importing it."""
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    return set()


def public_names() -> dict[str, set[str]]:
    """Return the names of featx and of each of its public rooms."""
    package = ROOT / "featx"
    rooms = {f"featx.{p.parent.name}": names_of(p) for p in package.glob("*/__init__.py")}
    rooms |= {f"featx.{p.stem}": names_of(p) for p in package.glob("[!_]*.py")}
    rooms["featx"] = names_of(package / "__init__.py")
    return {room: names for room, names in rooms.items() if names}


def test_the_reference_has_every_public_name() -> None:
    """A name of the package is described there, and mentioned in the room that it comes from."""
    sections = (DOCS / "reference.rst").read_text(encoding="utf-8").split(".. currentmodule:: ")
    listed = {}
    for section in sections[1:]:
        room, _, text = section.partition("\n")
        listed[room] = set(re.findall(r"^   (\w+)$", text, re.MULTILINE))
        if room != "featx":
            listed[room] |= set(re.findall(r":obj:`~featx\.(\w+)`", text))
    assert listed == public_names()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_what_its_run_gave(path: Path) -> None:
    """Outputs grow the repository and go stale; the site's build runs it anew."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    for cell in notebook["cells"]:
        assert not cell.get("outputs"), cell["id"]
        assert cell.get("execution_count") is None, cell["id"]


def check_notebooks(site: Path) -> None:
    """Each was run by nbclient: its bar ended, and its objects show themselves as tables."""
    for path in NOTEBOOKS:
        page = (site / "notebooks" / f"{path.stem}.html").read_text(encoding="utf-8")
        outputs = html.unescape(re.sub("<[^>]+>", "", page))
        assert re.search(r"extract: 100%\|█+\| (\d+)/\1 ", outputs), path
        assert "<table><caption>" in page or 'src="data:image/jpeg;base64,' in page, path


@pytest.mark.slow
@pytest.mark.timeout(900)  # minutes of processor time: the gallery's examples and the notebooks
def test_the_site_builds_without_a_warning_or_a_network(tmp_path) -> None:
    """Would catch a page in no menu, a broken link, a failing example, a malformed docstring."""
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet"]
    done = subprocess.run(
        [*command, "-d", str(tmp_path / "doctrees"), str(DOCS), str(tmp_path / "site")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    check_notebooks(tmp_path / "site")
    described = set(objects(tmp_path / "site" / "objects.inv"))
    top = public_names().pop("featx")
    for room, names in public_names().items():
        for name in names:
            assert f"{room}.{name}" in described or (
                name in top and f"featx.{name}" in described
            ), f"{room}.{name}"
    for page in (tmp_path / "site").rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not re.findall(r'<(?:script|img)[^>]*\ssrc="(?:https?:)?//[^"]*', text), page
        assert not re.findall(r'<link[^>]*rel="stylesheet"[^>]*href="(?:https?:)?//', text), page
        assert not re.findall(r"[\s>]\u2013[a-z]", text), page  # two hyphens before an option
        assert not re.findall(r"\n\n</pre>", text), page


def objects(inventory: Path) -> list[str]:
    """Return the names that Sphinx's inventory describes."""
    data = inventory.read_bytes().split(b"\n", 4)[4]
    return [line.split(" ", 1)[0] for line in zlib.decompress(data).decode().splitlines()]
