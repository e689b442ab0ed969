"""What to label next: coverage against a plain computation, and what every strategy keeps to."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from featx.errors import ManifestError, ParameterError
from featx.labelling import suggest
from featx.labelling._guesses import Guesser
from featx.labelling._pool import Pool
from featx.labelling.suggest import STRATEGIES
from featx.store import write_features


def blobs(n_classes=4, n_each=15, d=8, spread=0.25, seed=0):
    rng = np.random.default_rng(seed)
    centres = np.eye(n_classes, d)
    y = np.repeat(np.arange(n_classes), n_each)
    return (centres[y] + spread * rng.normal(size=(len(y), d))).astype(np.float32), y


@pytest.fixture
def store(tmp_path):
    X, y = blobs()
    paths = [str(tmp_path / f"class{c}" / f"{i}.jpg") for i, c in enumerate(y)]
    return write_features(tmp_path / "f.h5", X, paths=paths)


def plain_likeness(X):
    """Return exp(-d² / w), by the definition of `Pool`."""
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    squares = ((unit[:, None] - unit[None]) ** 2).sum(axis=2)
    nearest = np.sort(squares + np.diag([np.inf] * len(X)), axis=1)[:, :10]
    return np.exp(-squares / (0.5 * nearest.mean()))


def plain_greedy(L, taken, weights, n):
    """Return the greedy maximum of the weighted coverage, trying every image at every step."""
    chosen = []
    for _ in range(n):
        covered = L[[*taken, *chosen]].max(axis=0) if taken or chosen else np.zeros(len(L))
        gains = (np.maximum(L, covered) - covered) @ weights
        gains[[*taken, *chosen]] = -1
        chosen.append(int(gains.argmax()))
    return chosen


def test_likeness_is_that_of_the_definition():
    X, _ = blobs()
    assert Pool(X).likeness(np.arange(len(X))) == pytest.approx(plain_likeness(X), abs=1e-4)


@pytest.mark.parametrize("taken", [[], [3, 40]], ids=["nothing taken", "two taken"])
def test_choice_is_that_of_trying_every_image_at_every_step(taken):
    X, _ = blobs(spread=0.4, seed=1)
    weights = np.random.default_rng(2).random(len(X)).astype(np.float32)
    found = Pool(X).choose(8, np.array(taken, np.intp), weights)
    assert found.tolist() == plain_greedy(plain_likeness(X), taken, weights, 8)


def test_following_labels_one_by_one_chooses_what_a_new_pool_chooses():
    X, _ = blobs(seed=3)
    followed, taken = Pool(X), np.empty(0, np.intp)
    for _ in range(5):
        found = followed.choose(2, taken)
        assert found.tolist() == Pool(X).choose(2, taken).tolist()
        taken = np.concatenate([taken, found])
    # an undo: fewer are taken than before
    assert followed.choose(2, taken[:3]).tolist() == Pool(X).choose(2, taken[:3]).tolist()


def test_copies_come_after_all_others():
    X, _ = blobs(n_each=3)
    doubled = np.concatenate([X, X * 2])
    found = Pool(doubled).choose(24, np.empty(0, np.intp)).tolist()
    assert len({row % 12 for row in found[:12]}) == 12
    assert sorted(found) == list(range(24))


def test_a_pool_larger_than_its_samples_is_covered_too(monkeypatch):
    monkeypatch.setattr("featx.labelling._pool.N_WITNESSES", 80)
    monkeypatch.setattr("featx.labelling._pool.N_CANDIDATES", 30)
    X, y = blobs(n_each=50)
    pool, taken = Pool(X), np.empty(0, np.intp)
    assert set(y[pool.choose(4, taken)]) == {0, 1, 2, 3}
    for _ in range(20):
        found = pool.choose(10, taken)
        assert not set(found.tolist()) & set(taken.tolist())
        taken = np.concatenate([taken, found])
    assert sorted(taken.tolist()) == list(range(200))
    assert len(pool.choose(3, taken)) == 0


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("labelled", [0, 1, 8], ids=["no labels", "one class", "two classes"])
def test_suggestions_are_free_and_different(store, strategy, labelled):
    given = {*range(labelled), *(range(52, 60) if labelled == 8 else ())}
    labels = [f"c{i // 30}" if i in given else "" for i in range(60)]
    found = suggest(store, labels, n=10, strategy=strategy)
    rows = [s.row for s in found]
    assert len(set(rows)) == 10
    assert all(not labels[row] for row in rows)
    assert [s.path for s in found] == store.paths[rows].tolist()
    assert all((s.label is None) == (labelled < 8) for s in found)
    assert all(s.reason for s in found)


def test_labels_say_the_same_in_every_form(store, tmp_path):
    labels = ["cat" if i in (0, 4) else "dog" if i in (20, 33) else "" for i in range(60)]
    given = [i for i, label in enumerate(labels) if label]
    table = {"path": store.paths[given].tolist(), "label": [labels[i] for i in given]}
    file = tmp_path / "labels.csv"
    rows = zip(table["path"], table["label"], strict=True)
    file.write_text("path,label\n" + "".join(f"{path},{label}\n" for path, label in rows))
    by_row, by_table, by_file = (suggest(store, source, n=5) for source in (labels, table, file))
    assert by_row == by_table == by_file


def test_an_image_without_a_label_in_the_file_is_not_suggested_again(store):
    first = suggest(store, n=1)[0]
    again = suggest(store, {"path": [first.path], "label": [None]}, n=60)
    assert first.row not in [s.row for s in again]
    assert len(again) == 59


def test_images_of_no_class_are_left_once_some_were_found(store):
    """Would catch strangers that stay hard to tell, and are therefore suggested for ever."""
    y = np.arange(60) // 15  # the classes, and strangers from 2 on
    paths, given = store.paths, [0, 1, 15, 16, 30, 31, 32, 45, 46, 47]
    labels = {"path": paths[given], "label": [None if y[i] > 1 else f"c{y[i]}" for i in given]}
    found = [y[s.row] for s in suggest(store, labels, n=8)]
    assert np.mean(np.array(found) < 2) > 0.7
    blind = {"path": paths[given[:4]], "label": labels["label"][:4]}
    assert np.mean([y[s.row] < 2 for s in suggest(store, blind, n=8)]) < 0.5


def test_doubt_is_what_a_probe_with_one_more_class_leaves_open():
    X, y = blobs(spread=0.5)
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    rows, others = np.array([0, 1, 15, 16, 17]), np.array([30, 31, 45])
    names = np.array([f"c{c}" for c in y[rows]])
    guesser = Guesser(unit, rows, names, others=others)
    both = np.concatenate([rows, others])
    model = LogisticRegression(C=100, tol=1e-8, max_iter=10_000)
    p = model.fit(unit[both], np.minimum(y[both], 2)).predict_proba(unit)
    second, first = np.sort(p, axis=1)[:, -2:].T
    nearest = (unit[rows] @ unit[rows].T - 2 * np.eye(5)).argmax(axis=1)
    agrees = (names == names[nearest]).mean()
    z2 = 4 / 5  # Wilson's lower bound, by the formula of his paper
    spread = np.sqrt(4 * agrees * (1 - agrees) / 5 + (4 / 5) ** 2 / 4)
    trust = max((agrees + z2 / 2 - spread) / (1 + z2), 0)
    expected = (1 - p[:, 2]) * (1 - trust * np.sqrt(first - second))
    np.testing.assert_allclose(guesser.doubt(np.arange(60)), expected, atol=0.02)


def test_attributes_are_guessed_one_by_one(store):
    paths = store.paths[[0, 1, 20, 21, 35, 36]].tolist()
    table = {"path": paths, "round": [1, 1, 0, 0, 0, 0], "blue": [0, 0, 0, 0, 1, 1]}
    found = {s.row: s for s in suggest(store, table, n=54)}
    assert found[5].label == "round"
    assert found[40].label == "blue"
    assert found[25].label == ""


def test_random_is_drawn_anew_by_its_seed(store):
    def rows(seed):
        return [s.row for s in suggest(store, n=10, strategy="random", random_state=seed)]

    assert rows(0) == rows(0) != rows(1)


def test_auto_needs_fewer_labels_than_random():
    X, y = blobs(n_classes=10, n_each=30, d=32, spread=0.3, seed=5)
    covered = {"auto": [], "random": []}
    for strategy, found in covered.items():
        for seed in range(5):
            if strategy == "auto":
                rows = Pool(X, seed).choose(10, np.empty(0, np.intp))
            else:
                rows = np.random.default_rng(seed).permutation(len(X))[:10]
            found.append(len(set(y[rows])))
    assert min(covered["auto"]) >= 9 > np.mean(covered["random"])


def test_bad_input_is_named(store):
    with pytest.raises(ParameterError, match=r"strategy: got 'tipical'.*Did you mean 'typical'"):
        suggest(store, strategy="tipical")
    with pytest.raises(ParameterError, match=r"n: got 0, expected an integer of at least 1"):
        suggest(store, n=0)
    with pytest.raises(ParameterError, match=r"labels: got 3 labels for 60 images"):
        suggest(store, ["a", "b", "c"])
    with pytest.raises(ManifestError, match=r"none of its 1 paths fits one of the 60 images"):
        suggest(store, {"path": ["/other/x.jpg"], "label": ["a"]})
