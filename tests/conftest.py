"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("dev", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "dev")

# Else every test that indexes, trains or asks would convert a network into the user's cache.
os.environ["FEATX_GRAPHS"] = "off"

REPOSITORY = Path(__file__).resolve().parents[1]

# These start Ray clusters, which find and disturb each other where two run at once.
OF_RAY = ("test_extraction_ray.py", "test_remote.py")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give a worker whole files, for their fixtures, and one worker all that start Ray."""
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return "ray" if file.endswith(OF_RAY) else file

    return ByFile(config, log)


@pytest.fixture(scope="session")
def shared_assets() -> Path:
    """Folder of real weights and photographs, beside the checkout; never needed by a user."""
    folder = Path(os.environ.get("FEATX_ASSETS", REPOSITORY.parent / "shared" / "assets"))
    if not folder.is_dir():
        pytest.skip(f"real weights and photographs are not at {folder} (set FEATX_ASSETS)")
    return folder
