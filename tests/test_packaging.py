"""What is handed on: wheel and sdist, the Dockerfile, the conda recipe.

No image and no conda package is built here, which takes a daemon and a channel. The steps that
they consist of are run, as they stand in the files.
"""

from __future__ import annotations

import functools
import operator
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

import featx

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# What conda-forge calls some packages of PyPI.
OF_CONDA = {"torch": "pytorch", "zlib-ng": "python-zlib-ng"}


def recipe() -> dict:
    yaml = pytest.importorskip("yaml")
    return yaml.safe_load((ROOT / "conda" / "recipe.yaml").read_text())


def run(words, **options) -> str:
    done = subprocess.run(words, capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """Build the sdist, and the wheel from it, with the backend that is installed."""
    for module in ("build", "hatchling"):
        pytest.importorskip(module)
    out = tmp_path_factory.mktemp("dist")
    source = tmp_path_factory.mktemp("source") / "featx"
    listed = run(["git", "ls-files", "-z"], cwd=ROOT).split("\0")  # as a clone has them
    for name in filter(None, listed):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    run([sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(source)])
    return out


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_wheel_made_from_the_sdist_runs_in_a_fresh_environment(built, tmp_path) -> None:
    (wheel,) = built.glob("featx-*.whl")
    assert len([*built.iterdir()]) == 2
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    files = run(["git", "ls-files", "-z", "featx"], cwd=ROOT).split("\0")
    assert {*filter(None, files)} <= packed
    samples = run(["git", "ls-files", "-z", "data/samples"], cwd=ROOT).split("\0")
    assert {n.replace("data/samples", "featx/_samples") for n in samples if n} <= packed

    home = tmp_path / "venv"
    venv.create(home, symlinks=True)
    paths = {"base": str(home), "platbase": str(home)}
    packages = Path(sysconfig.get_path("purelib", "venv", paths))
    # Its dependencies are those of this environment, whose own featx a plain path does not reach.
    (packages / "others.pth").write_text("\n".join(p for p in sys.path if "site-packages" in p))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(home)]
    run([*pip, "install", "--quiet", "--no-deps", "--ignore-installed", str(wheel)])
    scripts = sysconfig.get_path("scripts", "venv", paths)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment["PATH"] = scripts + os.pathsep + environment["PATH"]
    where = run(
        [f"{scripts}/python", "-c", "import featx; print(featx.__file__)"],
        cwd=tmp_path,
        env=environment,
    )
    assert Path(where.strip()).is_relative_to(home)
    (tests,) = [test["script"] for test in recipe()["tests"] if "script" in test]
    for line in tests:
        run(line.split(), cwd=tmp_path, env=environment)
    assert (tmp_path / "demo").is_dir()


def test_the_conda_recipe_asks_for_what_the_wheel_asks_for() -> None:
    found = recipe()
    expected = {"python" + PROJECT["requires-python"]}
    for need in PROJECT["dependencies"]:
        if ";" in need:  # of some platforms, and conda's package is one for all
            continue
        name = re.match(r"[\w-]+", need)[0]
        expected.add(need.replace(name, OF_CONDA.get(name, name), 1))
    assert {need.replace(" ", "") for need in found["requirements"]["run"]} == expected
    assert found["context"]["version"] == featx.__version__
    scripts = [f"{name} = {where}" for name, where in PROJECT["scripts"].items()]
    assert found["build"]["python"]["entry_points"] == scripts
    assert found["about"]["license"] == PROJECT["license"]


def test_the_conda_recipe_is_one_for_its_builder() -> None:
    rattler = pytest.importorskip("rattler_build")
    parsed = rattler.Stage0Recipe.from_yaml((ROOT / "conda" / "recipe.yaml").read_text())
    (variant,) = parsed.render()
    assert str(variant.recipe.package.version) == featx.__version__


def instructions() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions with what they say."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", "").splitlines()
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in lines if line]


def test_the_image_takes_files_that_are_there() -> None:
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line[0] == "!"]
    copied = [w.split()[:-1] for i, w in instructions() if i == "COPY" and "--from" not in w]
    assert sorted(functools.reduce(operator.iadd, copied, [])) == sorted(kept)
    assert all((ROOT / name).exists() for name in kept)
    extras = next(words for i, words in instructions() if words.startswith("EXTRAS="))
    assert {*extras.removeprefix("EXTRAS=").split(",")} <= {*PROJECT["optional-dependencies"]}
    core = {need.replace(" ", "") for need in PROJECT["dependencies"]}
    torch = next(words for i, words in instructions() if i == "RUN" and "DEVICE" in words)
    assert {*re.findall(r"'(torch\S+)'", torch)} == {n for n in core if n.startswith("torch")}


@pytest.mark.parametrize(
    ("device", "index"),
    [("cpu", "https://download.pytorch.org/whl/cpu"), ("cuda", "https://pypi.org/simple")],
)
@pytest.mark.skipif(sys.platform == "win32", reason="the steps are those of a shell")
def test_the_steps_of_the_image_install_the_wheel(device, index, tmp_path) -> None:
    """pip and featx are stand-ins that write down what they were called with."""
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / "featx-1-py3-none-any.whl").touch()
    for name in ("pip", "python", "featx"):
        stub = tmp_path / name
        stub.write_text(f'#!/bin/sh\necho {name} "$@" >> {tmp_path}/calls\n')
        stub.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "DEVICE": device, "EXTRAS": "serve,ann"}
    for instruction, words in instructions():
        if instruction == "RUN":
            step = words.replace("/dist", f"{tmp_path}/dist")
            run(["sh", "-e", "-c", step], env=environment, cwd=tmp_path)
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls[1] == f"python -m build --outdir {tmp_path}/dist"
    assert (
        calls[2] == f"pip install --no-cache-dir --index-url {index} torch>=2.6 torchvision>=0.21"
    )
    assert calls[3].endswith("dist/featx-1-py3-none-any.whl[serve,ann]")
    assert calls[4] == "featx --version"


@pytest.mark.skipif(sys.platform == "win32", reason="the steps are those of a shell")
def test_an_unknown_device_ends_the_image() -> None:
    step = next(words for i, words in instructions() if i == "RUN" and "DEVICE" in words)
    done = subprocess.run(["sh", "-c", step], capture_output=True, env={"DEVICE": "tpu"})
    assert done.returncode == 1
    assert b"DEVICE: got 'tpu', expected cpu or cuda" in done.stderr


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    hadolint = shutil.which("hadolint", path=sysconfig.get_path("scripts"))
    if hadolint is None:
        pytest.skip("hadolint is not installed")
    # DL3013: versions of pip's packages stand in pyproject.toml
    run([hadolint, "--ignore", "DL3013", str(ROOT / "Dockerfile")])
