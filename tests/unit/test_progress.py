"""Progress in a notebook is a bar that stays, since a cell's output is its record."""

from __future__ import annotations

import sys
import warnings
from types import ModuleType

import pytest

from featx import _progress


def test_a_notebook_has_a_bar_that_stays(monkeypatch, capsys) -> None:
    """Of text here, since there is no notebook to draw a widget; without a warning."""
    monkeypatch.setitem(sys.modules, _progress.NOTEBOOK, ModuleType(_progress.NOTEBOOK))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with _progress.Progress(4, "extract") as progress:
            progress.advance(4)
    shown = capsys.readouterr().err
    assert "extract: 100%" in shown
    assert "4/4" in shown
    assert shown.endswith("\n")


@pytest.mark.parametrize("enabled", [False, None])
def test_elsewhere_there_is_no_bar(enabled, capsys) -> None:
    with _progress.Progress(4, "extract", enabled=enabled) as progress:
        progress.advance(4)
    assert capsys.readouterr().err == ""
