"""Retrieval end to end, against rankings made by hand from the same vectors."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import featx
from featx.demo import sample_data_dir
from featx.errors import ImageDecodeError, ParameterError
from featx.evaluation import Relevance
from featx.images import ImageManifest
from pipelines.datasets import RetrievalDataset
from pipelines.protocols import RETRIEVAL_PRESETS, run_retrieval, task_report

FAST = {"workers": 0}


@pytest.fixture(scope="module")
def covers() -> RetrievalDataset:
    """Eight things of the samples: one view asks, the others and the other things answer."""
    found = ImageManifest.from_source(sample_data_dir() / "instances")
    names = np.array(found.labels)
    kept = np.flatnonzero(np.isin(names, np.unique(names)[:8]))
    paths, names = np.array(found.paths)[kept], names[kept]
    first = np.array([np.flatnonzero(names == n)[0] for n in np.unique(names)])
    rest = np.setdiff1d(np.arange(len(names)), first)
    positives = tuple(np.flatnonzero(names[rest] == names[q]) for q in first)
    none = tuple(np.empty(0, np.intp) for _ in first)
    return RetrievalDataset(
        "covers",
        tuple(paths[rest].tolist()),
        tuple(paths[first].tolist()),
        None,
        {"default": Relevance(positives, none)},
    )


def test_figures_are_those_of_a_ranking_made_by_hand(covers, tmp_path):
    found = run_retrieval(covers, tmp_path / "f.h5")
    with featx.extract(list(covers.database), tmp_path / "b.h5", **FAST) as base:
        order = {path: i for i, path in enumerate(base.paths.tolist())}
        B = base[[order[p] for p in covers.database]]
    with featx.extract(list(covers.queries), tmp_path / "q.h5", **FAST) as asked:
        order = {path: i for i, path in enumerate(asked.paths.tolist())}
        Q = asked[[order[p] for p in covers.queries]]
    B, Q = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (B, Q))
    firsts, steps = [], []
    for similarity, right in zip(Q @ B.T, covers.protocols["default"].positives, strict=True):
        hit = np.isin(np.argsort(-similarity), right)
        firsts.append(hit[0])
        precision = np.cumsum(hit) / np.arange(1, len(hit) + 1)
        steps.append(precision[hit].mean())
    assert found.figures["top1"].value == pytest.approx(np.mean(firsts))
    assert found.figures["map_step"].value == pytest.approx(np.mean(steps), abs=1e-6)
    assert found.counts == {"database": len(B), "queries": len(Q), "failed": 0}
    assert found.details.indices.shape == (len(Q), len(B))
    json.dumps(found.to_dict())


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(RETRIEVAL_PRESETS))
def test_every_preset_ranks_the_whole_database_once(name, covers, tmp_path):
    found = run_retrieval(covers, tmp_path / "f.h5", preset=name)
    for row in found.details.indices:
        assert sorted(row.tolist()) == list(range(len(covers.database)))
    assert (np.diff(found.details.distances, axis=1) >= 0).all()
    assert 0 < found.figures["map"].value <= 1
    assert "covers" in task_report([found]).to_html()


def test_whitening_says_what_it_was_learned_from(covers, tmp_path):
    own = run_retrieval(covers, tmp_path / "f.h5", preset="whitened")
    assert "learned on the database itself" in own.protocol
    others = list(covers.queries)
    other = run_retrieval(covers, tmp_path / "f.h5", preset="whitened", whiten_on=others)
    assert f"learned on {len(others)} other images" in other.protocol


def test_misses_are_named(covers, tmp_path):
    with pytest.raises(ParameterError, match=r"preset: got 'plane'.*Did you mean 'plain'"):
        run_retrieval(covers, tmp_path / "f.h5", preset="plane")
    with pytest.raises(ParameterError, match="protocol: got 'hard', expected 'default'"):
        run_retrieval(covers, tmp_path / "f.h5", protocol="hard")


def test_an_image_that_cannot_be_read_is_an_error(covers, tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no picture")
    Image.new("RGB", (40, 40)).save(tmp_path / "good.png")
    broken = dataclasses.replace(covers, database=(str(Path(bad)), *covers.database[1:]))
    with pytest.raises(ImageDecodeError, match=r"bad\.jpg.*replace the image"):
        run_retrieval(broken, tmp_path / "f.h5")
