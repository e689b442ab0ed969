"""Images found by words: what a word means, and the order that a classifier gives."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from sklearn.metrics import average_precision_score

import featx
from featx import Encoder, RetrievalIndex
from featx.backbones.words import ClassWords, embedded_words, imagenet_names
from featx.cli.main import main
from featx.demo import sample_data_dir
from featx.errors import BackboneError, FingerprintMismatchError, ParameterError
from featx.extraction.words import ask_words, parse_words
from featx.images import ImagePreprocessor

# torchvision's own ways of telling two classes of one name apart.
DISAMBIGUATED = ("crane bird", "maillot tank suit")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of drawn objects: words know none of them well, but an order they have."""
    path = tmp_path_factory.mktemp("drawn") / "objects.h5"
    featx.extract(sample_data_dir() / "objects", path, precision="float32")
    return path


@pytest.fixture(scope="module")
def index(drawn: Path) -> RetrievalIndex:
    return RetrievalIndex().fit(featx.open_store(drawn))


def by_hand(index: RetrievalIndex, classes: set[int]) -> np.ndarray:
    """The share of torch's softmax outside some classes."""
    recipe = index.recipe_
    words = embedded_words(recipe)
    logits = torch.from_numpy(index.vectors()).double() @ torch.from_numpy(words.rows).double().T
    shares = torch.softmax(logits + torch.from_numpy(words.bias).double(), dim=1)
    return 1 - shares[:, sorted(classes)].sum(1).numpy()


# -- names -------------------------------------------------------------------------------------


def test_every_class_has_the_names_that_timm_gives_it() -> None:
    info = pytest.importorskip("timm.data").ImageNetInfo("imagenet-1k")
    names = imagenet_names()
    for number, label in enumerate(info.label_names()):
        lemmas = info.label_name_to_description(label, detailed=False).split(", ")
        assert names.first[number] == lemmas[0]
        for lemma in lemmas:
            assert number in names.find(lemma).classes


def test_torchvisions_categories_are_in_the_same_order() -> None:
    categories = torchvision.models.MobileNet_V2_Weights.IMAGENET1K_V1.meta["categories"]
    names = imagenet_names()
    unlike = {
        category: names.first[number]
        for number, category in enumerate(categories)
        if category not in DISAMBIGUATED and number not in names.find(category).classes
    }
    assert unlike == {}


@pytest.mark.parametrize(
    ("word", "n_classes", "among"),
    [
        pytest.param("dog", 118, "pug", id="wider term"),
        pytest.param("Dogs", 118, "pug", id="plural and capital"),
        pytest.param("the dog", 118, "pug", id="article"),
        pytest.param("fire-engine", 1, "fire engine", id="hyphen"),
        pytest.param("sea shore", 1, "seashore", id="space"),
        pytest.param("binocular", 1, "binoculars", id="singular of a plural"),
        pytest.param("jellyfishes", 1, "jellyfish", id="plural in es"),
        pytest.param("lamp", 4, "table lamp", id="several senses that begin with the name"),
        pytest.param("bird", 59, "ostrich", id="birds"),
        pytest.param("crane", 2, "crane", id="a bird and a machine"),
    ],
)
def test_a_word_means_classes(word: str, n_classes: int, among: str) -> None:
    found = imagenet_names().find(word)
    assert len(found.classes) == n_classes
    assert among in found.names


def test_a_cat_is_no_lion() -> None:
    """WordNet has "big cat, cat", which is not the commonest sense of cat."""
    cats = imagenet_names().find("cat").names
    assert "tabby" in cats
    assert "lion" not in cats


@pytest.mark.parametrize(
    ("word", "nearest"),
    [("umbrela", "umbrella"), ("beach", "beach wagon"), ("qwertyuiop", "no name")],
)
def test_an_unknown_word_is_said_to_be_unknown(word: str, nearest: str) -> None:
    with pytest.raises(ParameterError, match=f"text: got '{word}', .*{nearest}"):
        imagenet_names().find(word)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fire engine", ["+fire engine"]),
        ("dog -snow", ["+dog", "-snow"]),
        ("-snow", ["-snow"]),
        ("one-armed bandit", ["+one-armed bandit"]),
        (["dog", "-snow +ball"], ["+dog", "-snow", "+ball"]),
        ("a dog - in snow", ["+a dog - in snow"]),
    ],
)
def test_phrases_and_what_is_taken_away(text: object, expected: list[str]) -> None:
    found = parse_words(text)  # type: ignore[arg-type]
    assert [f"{'+' if p.is_wanted else '-'}{p.text}" for p in found] == expected


@pytest.mark.parametrize("text", ["", "  ", "-", [], ["dog", ""]])
def test_no_words_are_refused(text: object) -> None:
    with pytest.raises(ParameterError, match=r"text: got .* expected words such as"):
        parse_words(text)  # type: ignore[arg-type]


# -- the order ---------------------------------------------------------------------------------


def test_the_embedded_rows_are_those_that_were_published(shared_assets: Path) -> None:
    weights = shared_assets / "weights" / "mobilenet_v2.pth"
    state = torch.load(weights, weights_only=True)
    words = embedded_words(Encoder("featx_small").recipes[0])
    assert words is not None
    np.testing.assert_allclose(words.rows, state["classifier.1.weight"].numpy(), atol=1e-7)
    np.testing.assert_array_equal(words.bias, state["classifier.1.bias"].numpy())


def test_the_rows_of_featx_base_are_those_of_lite0_to_half_a_step(shared_assets: Path) -> None:
    state = torch.load(shared_assets / "weights" / "tf_efficientnet_lite0.pth", weights_only=True)
    words = embedded_words(Encoder("featx_base").recipes[0])
    assert words is not None
    rows = state["classifier.weight"].numpy()
    np.testing.assert_allclose(words.rows, rows, atol=np.abs(rows).max() / 254 * 1.001)
    np.testing.assert_array_equal(words.bias, state["classifier.bias"].numpy())


def test_distances_are_what_the_softmax_leaves(index: RetrievalIndex) -> None:
    n = len(index.ids_)
    found = index.query(text="umbrella", k=n)
    expected = by_hand(index, set(imagenet_names().find("umbrella").classes))
    np.testing.assert_allclose(found.distances, expected[found.indices], atol=2e-5)
    assert (np.diff(found.distances) >= 0).all()
    assert sorted(found.indices.tolist()) == list(range(n))


def test_a_phrase_with_a_minus_takes_its_share_away(index: RetrievalIndex) -> None:
    """p(dog) times what is not husky; softmax in float64."""
    n, names = len(index.ids_), imagenet_names()
    found = index.query(text=["dog", "-husky"], k=n)
    dog, husky = (by_hand(index, set(names.find(w).classes)) for w in ("dog", "husky"))
    expected = 1 - (1 - dog) * husky
    np.testing.assert_allclose(found.distances, expected[found.indices], atol=2e-5)


def test_two_words_ask_for_both(index: RetrievalIndex) -> None:
    n, names = len(index.ids_), imagenet_names()
    found = index.query(text="cup +pot", k=n)
    cup, pot = (1 - by_hand(index, set(names.find(w).classes)) for w in ("cup", "pot"))
    np.testing.assert_allclose(found.distances, (1 - np.sqrt(cup * pot))[found.indices], atol=2e-5)


def test_words_are_added_to_each_image(index: RetrievalIndex) -> None:
    n = len(index.ids_)
    images = index.ids_[:2].tolist()
    found = index.query(images, text="cup", k=n)
    assert found.distances.shape == (2, n)
    p = 1 - by_hand(index, set(imagenet_names().find("cup").classes))
    X = index.vectors() / np.linalg.norm(index.vectors(), axis=1, keepdims=True)
    for i in range(2):
        expected = 1 - p * np.exp(10 * (X @ X[i] - 1))
        np.testing.assert_allclose(found.distances[i], expected[found.indices[i]], atol=1e-4)


def test_what_lies_behind_the_candidates_is_above_one(drawn: Path) -> None:
    """Only so many are compared with all rows; the rest keeps the order of the vectors."""
    store = featx.open_store(drawn)
    X = np.tile(store[:], (14, 1)) * np.linspace(0.9, 1.1, 14 * len(store))[:, None]
    index = RetrievalIndex().fit(X.astype(np.float32))
    index.recipe_, index.made_with_ = store.recipe, {}
    found = index.query(text="umbrella", k=len(X))
    assert len(X) > 1000
    assert (found.distances[:1000] <= 1).all()
    assert (found.distances[1000:] >= 1).all()
    assert (np.diff(found.distances) >= 0).all()
    assert len(set(found.indices.tolist())) == len(X)


@pytest.mark.parametrize("kind", ["ivf", "hnsw"])
def test_approximate_indices_give_the_same_first_ones(kind: str, drawn: Path) -> None:
    pytest.importorskip("faiss")
    store = featx.open_store(drawn)
    exact = RetrievalIndex().fit(store).query(text="cup", k=10)
    found = RetrievalIndex(kind=kind).fit(store).query(text="cup", k=10)
    assert found.ids.tolist() == exact.ids.tolist()


def test_filters_and_rerankings_go_with_words(index: RetrievalIndex) -> None:
    label = index.labels_[0]
    found = index.query(text="umbrella", k=5, filter={"label": label}, rerank="aqe")
    assert set(found.labels.tolist()) == {label}


# -- what has no words -------------------------------------------------------------------------


def test_encoded_words_lie_near_their_rows() -> None:
    encoder = Encoder()
    one, two = encoder.encode_text(["umbrella", "dog -pug"])
    words = embedded_words(encoder.recipes[0])
    assert words is not None
    row = words.rows[imagenet_names().find("umbrella").classes[0]]
    np.testing.assert_allclose(one, row / np.linalg.norm(row), atol=1e-6)
    assert np.linalg.norm(two) == pytest.approx(1, abs=1e-6)
    assert encoder.encode_text([]).shape == (0, 1280)
    assert encoder.encode_text("umbrella").shape == (1280,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param(
            {"layers": "blocks.12"}, "layer 'blocks.12'.*words for layer 'penultimate'", id="layer"
        ),
        pytest.param({"augment": "hflip:keep"}, "augment 'hflip:keep', of 2560", id="views"),
        pytest.param({"layers": ["blocks.12", "penultimate"]}, "2 layers", id="several"),
        pytest.param(
            {"backbone": "resnet18", "weights": None}, "'resnet18' has random weights", id="random"
        ),
    ],
)
def test_features_without_words_are_refused(options: dict, message: str) -> None:
    with pytest.raises(BackboneError, match=message):
        Encoder(**options).encode_text("dog")


def test_features_made_elsewhere_have_no_words() -> None:
    index = RetrievalIndex().fit(np.eye(3, dtype=np.float32))
    with pytest.raises(BackboneError, match="made outside featx"):
        index.query(text="dog")
    with pytest.raises(ParameterError, match="X: got None without text"):
        index.query()


def test_a_classifier_of_other_classes_has_no_words(tmp_path: Path) -> None:
    """Fine-tuned on 7 classes: the rows' names are not ImageNet's."""
    module = torchvision.models.mobilenet_v3_small(num_classes=7)
    torch.save(module.state_dict(), tmp_path / "seven.pth")
    encoder = Encoder("mobilenet_v3_small", weights=tmp_path / "seven.pth")
    with pytest.raises(BackboneError, match=r"no classifier of ImageNet's 1,000 classes"):
        encoder.encode_text("dog")


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "timm/resnet10t"])
def test_a_networks_own_classifier_has_words(name: str, tmp_path: Path) -> None:
    """Its logits are those of the whole network; a convolution commutes with the mean."""
    if name.startswith("timm/"):
        timm = pytest.importorskip("timm")
        module = timm.create_model(name.removeprefix("timm/"))
    else:
        module = torchvision.models.get_model(name)
    torch.save(module.state_dict(), tmp_path / "w.pth")
    encoder = Encoder(name, weights=tmp_path / "w.pth", precision="float32")
    asked = ask_words("umbrella", encoder.recipes[0], {"weights": tmp_path / "w.pth"})
    assert isinstance(asked.words, ClassWords)
    pixels = np.random.default_rng(0).integers(0, 256, (300, 260, 3), np.uint8)
    vector = encoder.encode(pixels)
    got = vector @ asked.words.rows.T + asked.words.bias
    preprocessing = encoder.recipes[0].preprocessing
    view = ImagePreprocessor(preprocessing)(Image.fromarray(pixels))[0]
    scaled = (view / 255 - np.array(preprocessing.mean)) / np.array(preprocessing.std)
    x = torch.from_numpy(scaled.transpose(2, 0, 1)[None]).float()
    if name == "squeezenet1_1":  # which clips each position at 0 before the mean
        module.classifier[2] = torch.nn.Identity()
    with torch.inference_mode():
        expected = module.eval()(x).numpy()
    np.testing.assert_allclose(got, expected, atol=1e-3)


def test_words_of_other_weights_are_refused(tmp_path: Path) -> None:
    for seed in (0, 1):
        torch.manual_seed(seed)
        state = torchvision.models.resnet18().state_dict()
        torch.save(state, tmp_path / f"{seed}.pth")
    recipe = Encoder("resnet18", weights=tmp_path / "0.pth").recipes[0]
    with pytest.raises(FingerprintMismatchError, match="its words do not fit"):
        ask_words("dog", recipe, {"weights": tmp_path / "1.pth"})


# -- the command -------------------------------------------------------------------------------


@pytest.fixture
def saved(index: RetrievalIndex, tmp_path: Path) -> str:
    index.save(tmp_path / "drawn.index")
    return str(tmp_path / "drawn.index")


def test_the_command_says_what_words_were_taken_as(
    saved: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["query", saved, "--text", "dog -husky", "--text", "fire engine", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [one["query"] for one in said["results"]] == ["dog -husky fire engine"]
    assert len(said["results"][0]["matches"]) == 10
    assert [(t["text"], t["is_wanted"], len(t["names"])) for t in said["text"]] == [
        ("dog", True, 118),
        ("husky", False, 1),
        ("fire engine", True, 1),
    ]
    assert main(["query", saved, "--text", "dog", "-k", "1"]) == 0
    assert "(dog: Chihuahua, Japanese spaniel, " in capsys.readouterr().out


def test_the_command_says_where_words_found_nothing_sure(
    saved: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for word, is_there in (("dog", False), ("clock", True)):  # of drawn objects
        assert main(["query", saved, "--text", word, "-k", "1"]) == 0
        out, err = capsys.readouterr()
        assert "distance (1 - probability), image, label:" in out
        assert (float(out.splitlines()[-1].split()[0]) < 0.5) == is_there
        assert (f"the best match of '{word}' is unsure" in err) != is_there
    assert main(["query", saved, "--text", "dog", "--max-distance", "0.5"]) == 0
    out, err = capsys.readouterr()
    assert out.endswith("dog\n  none\n")
    assert "the best match of 'dog' is unsure" in err


def test_the_page_has_the_words_as_a_heading(saved: str, tmp_path: Path) -> None:
    page = tmp_path / "found.html"
    assert main(["query", saved, "--text", "cup -pot", "-k", "2", "--html", str(page)]) == 0
    text = page.read_text("utf-8")
    assert "cup -pot" in text
    assert "could not be read" not in text


def test_the_command_takes_words_away_from_images(
    saved: str, index: RetrievalIndex, capsys: pytest.CaptureFixture[str]
) -> None:
    images = index.ids_[:2].tolist()
    assert main(["query", saved, *images, "--text=-umbrella", "-k", "3", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [one["query"] for one in said["results"]] == images
    expected = index.query(images, text="-umbrella", k=3)
    found = [[match["path"] for match in one["matches"]] for one in said["results"]]
    assert found == expected.ids.tolist()


def test_images_may_stand_before_and_behind_options(
    saved: str, index: RetrievalIndex, capsys: pytest.CaptureFixture[str]
) -> None:
    """Would catch a list of images that ends, empty, where the first option begins."""
    image, rest = index.ids_[0], ["--json", "-k", "2"]
    for words in ([image, *rest], [*rest, image]):
        assert main(["query", saved, *words]) == 0
        assert json.loads(capsys.readouterr().out)["results"][0]["query"] == image
    assert main(["query", saved, "--text", "cup", image, *rest]) == 0
    assert json.loads(capsys.readouterr().out)["text"][0]["text"] == "cup"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--text", "cup", "--rerank", "spatial"], "images"),
        (["--text", "qwertyuiop"], "--text: got 'qwertyuiop'"),
        (["--text=-dog"], "only says what is to be absent"),
        ([], "IMAGE: got none, and no --text"),
    ],
)
def test_the_command_refuses_in_one_line(
    words: list[str], message: str, saved: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["query", saved, *words]) == 1
    said = capsys.readouterr().err
    assert message in said
    assert len(said.strip().splitlines()) == 1


def test_a_query_by_words_loads_no_torch(saved: str) -> None:
    code = (
        "import sys; from featx.cli.main import main; "
        f"main(['query', {saved!r}, '--text', 'umbrella', '-k', '1']); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
def test_words_find_photographs(shared_assets: Path, tmp_path: Path) -> None:
    """Classes that ImageNet has, by their own names: mean average precision."""
    store = featx.extract(shared_assets / "datasets" / "caltech101", tmp_path / "c.h5")
    index = RetrievalIndex().fit(store)
    known = imagenet_names()
    precisions = []
    for name in sorted(set(index.labels_.tolist())):
        if name.replace("_", " ") not in known.spelled.values():
            continue
        if len(known.find(name).classes) > 1:  # a wider term
            continue
        found = index.query(text=name, k=len(index.ids_))
        is_match = index.labels_[found.indices] == name
        precisions.append(average_precision_score(is_match, -np.arange(len(is_match))))
    assert len(precisions) >= 30
    assert np.mean(precisions) >= 0.78
