"""The examples in the documentation: Markdown shows them as code, and the tests run them."""

from __future__ import annotations

import contextlib
import doctest
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from featx.cli.main import build_parser

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    p
    for p in ROOT.rglob("*.md")
    if not any(part.startswith((".", "build")) for part in p.relative_to(ROOT).parts)
)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_examples_stand_in_fences_that_end_none_of_them(page: Path) -> None:
    """Outside a fence Markdown makes quotes of ">>>"; a fence is no output of an example."""
    text, fence = page.read_text(encoding="utf-8"), ""
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            fence = "" if fence else line.strip()
        elif line.lstrip().startswith(">>>"):
            assert fence == "```python", f"{page.name}:{number}: {line}"
    assert not fence
    for example in doctest.DocTestParser().get_examples(text):
        assert "```" not in example.want, f"{page.name}:{example.lineno + 1}: leave a line empty"


def _commands(page: Path) -> list[str]:
    """Return the lines of featx in a page's code: those in a shell fence, or indented by four."""
    found, is_shell = [], False
    for line in page.read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
        if line.startswith("```"):
            is_shell = line in ("```sh", "```bash", "```shell")
        elif line.startswith("    featx ") or (is_shell and line.startswith("featx ")):
            found.append(line.strip())
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_have_the_options_that_they_use(page: Path) -> None:
    for line in _commands(page):
        words = shlex.split(re.sub(r"\s[0-9]?[>|].*", "", line), comments=True)
        with contextlib.suppress(SystemExit) if "--help" in words else contextlib.nullcontext():
            build_parser().parse_args(words[1:])


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
    """In a checkout, too, where the site's own pages are not yet made."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", text)
    made = ("gallery/index.rst",)
    assert [link for link in links if not (page.parent / link).exists() and link not in made] == []


def test_the_readme_has_commands() -> None:
    """So that the test above reads pages as they are written."""
    assert len(_commands(ROOT / "README.md")) > 8


def test_the_readme_starts_a_newcomer_who_pastes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(block, names)
    assert names["classifier"].score(names["store"], names["store"].labels) == 1
    assert str(names["matches"].ids[0]) == str(names["store"].paths[0])
    assert all((ROOT / path).exists() for path in re.findall(r"\]\(((?!http)[^)#]+)", text))
