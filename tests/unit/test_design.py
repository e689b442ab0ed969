"""One look: colours and sizes stand in one sheet, and no page's own goes its own way."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import featx
from featx._style import read_style

ROOT = Path(featx.__file__).parent
SHEETS = sorted(path for path in ROOT.rglob("*.css") if path.parent != ROOT)


def luminance(colour: str) -> float:
    """Return WCAG's relative luminance of #rgb or #rrggbb."""
    digits = colour.lstrip("#")
    digits = "".join(2 * c for c in digits) if len(digits) == 3 else digits
    linear = []
    for start in (0, 2, 4):
        share = int(digits[start : start + 2], 16) / 255
        linear.append(share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4)
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("sheet", SHEETS, ids=lambda path: path.name)
def test_a_page_takes_its_colours_from_the_one_sheet(sheet: Path) -> None:
    style = re.sub(r"/\*.*?\*/", "", sheet.read_text("utf-8"), flags=re.DOTALL)
    declared = re.findall(r"[{;]\s*[\w-]+:([^;}]*)", style)
    assert [value for value in declared if re.search(r"#[0-9a-fA-F]{3,8}\b", value)] == []
    assert ":root" not in style
    used = set(re.findall(r"var\((--[\w-]+)", style))
    named = set(re.findall(r"(--[\w-]+):", read_style() + style))
    assert used - named <= {"--p", "--zoom"}  # set on elements


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("ink", ["ink", "soft", "faint", "accent", "right", "wrong"])
@pytest.mark.parametrize("ground", ["paper", "card", "well"])
def test_text_has_contrast_on_every_ground(scheme: int, ink: str, ground: str) -> None:
    tokens = dict(
        re.findall(r"--([\w-]+): (#[0-9a-f]{3,6})\b", read_style().split(":root")[1 + scheme])
    )
    one, other = luminance(tokens[ink]), luminance(tokens[ground])
    assert (max(one, other) + 0.05) / (min(one, other) + 0.05) >= 4.5
