"""The examples in the documentation: Markdown shows them as code, and the tests run them."""

from __future__ import annotations

import doctest
import re
from pathlib import Path
from typing import Any

import pytest

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
