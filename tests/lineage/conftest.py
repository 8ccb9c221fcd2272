"""A pipeline of real DVC stages that takes a second: small/make.py makes up the files of the real one."""

import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from mlflow.store.model_registry import sqlalchemy_store as registry_store
from mlflow.store.tracking import sqlalchemy_store as tracking_store
from mlflow.tracking._tracking_service import utils
from rich.console import Console
from ruamel.yaml import YAML
from support import ROOT, built_once, shell

from ferops import params
from ferops.commands.registry.promote import nominate
from ferops.labels import NAMES
from ferops.promotion import gate
from ferops.stages.publish import load_model
from ferops.tracking.lineage import dvc_lock_hash, training_identity
from ferops.tracking.publishing import publish
from ferops.tracking.registry import ledger
from ferops.tracking.store import Store, connect

HERE = Path(__file__).parent / "small"
DECISION = {"promoted": True, "reasons": []}
HAPPY = "emotion,pixels,Usage\n3,0 1 2,Training\n"


class Clone:
    """A clone of the small pipeline; methods are what people type there."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def repro(self, **values: dict[str, Any]) -> None:
        """`dvc repro` with other parameters, given by section."""
        if values:
            params.merge(values, self.root / "params.yaml")
        shell(self.root, "dvc", "repro", "evaluate")

    def publish(self, **environment: str) -> int:
        """Stage `publish`, in this process; the number of the version."""
        with inside(self.root, **environment):
            values = params.load()
            core, kernel = self.root / "models/core.keras", values.preprocess.median_kernel
            published = publish(params.flatten(values), partial(load_model, core, kernel))
            return int(published.version.version) if published.version else 0

    def commit(self, message: str) -> str:
        """`git add`, `git commit`; the sha."""
        shell(self.root, "git", "add", "-A")
        shell(self.root, "git", "commit", "-q", "-m", message)
        return self.git("rev-parse", "HEAD")

    def git(self, *args: str) -> str:
        return shell(self.root, "git", *args).stdout.strip()

    def experiment(self, name: str) -> str:
        """The git ref in which DVC keeps an experiment."""
        return self.git("for-each-ref", "--format=%(refname)", f"refs/exps/**/{name}")

    def training(self, committed: str | None = None) -> tuple[str, str]:
        """Identity of the training in dvc.lock, or in one that git has, and the hash of the whole lock."""
        lock = {"stages": self.lock(committed)}
        return training_identity(lock), dvc_lock_hash(lock)

    def lock(self, committed: str | None = None) -> dict[str, Any]:
        """The stages of dvc.lock, or of one that git has."""
        text = self.git("show", committed) if committed else (self.root / "dvc.lock").read_text()
        return YAML(typ="safe").load(text)["stages"]

    def json(self, name: str) -> dict[str, Any]:
        return json.loads((self.root / name).read_text())

    def store(self) -> Store:
        with inside(self.root):
            return connect()

    def lose_the_store(self) -> None:
        (self.root / "mlflow.db").unlink()
        shutil.rmtree(self.root / "mlartifacts")
        for kind in (tracking_store.SqlAlchemyStore, registry_store.SqlAlchemyStore):
            if engine := kind._engine_map.get(f"sqlite:///{self.root / 'mlflow.db'}"):
                engine.dispose()  # it holds the deleted file open


@contextmanager
def inside(root: Path, **environment: str) -> Iterator[None]:
    """This process in a folder and an environment; ferops turns off telemetry for its own process, undone here."""
    utils._artifact_repos_cache.clear()  # by the ids of runs and models, which copied stores share
    before = dict(os.environ)
    for name in ("DVC_ROOT", "DVC_EXP_NAME", "MLFLOW_TRACKING_URI"):
        os.environ.pop(name, None)
    os.environ |= environment
    with chdir(root):
        yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small pipeline after `dvc repro`, published as version 1, nothing of it committed."""

    def build(root: Path) -> None:
        make_pipeline(root)
        Clone(root).repro()
        Clone(root).publish()

    return built_once(tmp_path_factory, "fresh", build)


@pytest.fixture(scope="session")
def lived(fresh: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same after some days.

    Version 1 (seed 0) was committed and was champion, version 2 (seed 1) was committed after it and is champion,
    the DVC experiment `lr-1e-3` (seed 2) was nominated as version 3; another experiment waits in the queue.
    """

    def build(root: Path) -> None:
        shutil.copytree(fresh, root, symlinks=True, dirs_exist_ok=True)
        live(Clone(root))

    return built_once(tmp_path_factory, "lived", build)


def make_pipeline(root: Path) -> None:
    """Write the small pipeline into git, with its data tracked by DVC; nothing has run."""
    made = {
        **{name: (HERE / name).read_text() for name in ("dvc.yaml", "make.py")},
        "data/raw/faces.csv": HAPPY,
        "src/data/readers.py": "read = 1\n",
        "src/data/splits.py": "split = 1\n",
        "src/model/network.py": "network = 1\n",
        "reports/.gitkeep": "",
        ".gitignore": "/mlflow.db*\n/mlartifacts/\n/predictions.parquet\n__pycache__/\n",
        ".gitattributes": "reports/registry.jsonl merge=union\n",
        "requirements.lock": "keras==3\n",
    }
    for name, text in made.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    for seed in range(3):
        make_core(seed, root / "cores")
    shutil.copy(ROOT / "params.yaml", root)
    params.merge({"data": {"source": "data/raw/faces.csv"}}, root / "params.yaml")
    shell(root, "git", "init", "-q", "-b", "main")
    shell(root, "dvc", "init", "-q")
    shutil.copy(ROOT / ".dvc/config", root / ".dvc/config")
    shell(root, "dvc", "add", "-q", "data/raw/faces.csv")
    Clone(root).commit("start")


def make_core(seed: int, folder: Path) -> None:
    """A Keras core of one layer, filtered uint8 (N, 48, 48) -> (N, 7), and its weights' digest."""
    import keras

    keras.utils.set_random_seed(seed)
    faces = keras.Input((48, 48), dtype="uint8")
    x = keras.layers.Flatten()(keras.ops.cast(faces, "float32") / 255.0)
    core = keras.Model(faces, keras.layers.Dense(len(NAMES), activation="softmax")(x))
    folder.mkdir(exist_ok=True)
    core.save(folder / f"{seed}.keras")
    content = b"".join(weight.tobytes() for weight in core.get_weights())
    (folder / f"{seed}.digest").write_text(hashlib.sha256(content).hexdigest())


def live(clone: Clone) -> None:
    """What people do in some days: commits, promotions, experiments."""
    root = clone.root
    gate.promote(clone.store(), "fer-vgg16/1", instead_of=None, decision=DECISION, path=root / ledger.REGISTRY)
    clone.commit("first")
    clone.repro(train={"seed": 1})
    assert clone.publish() == 2
    gate.promote(clone.store(), "fer-vgg16/2", instead_of=1, decision=DECISION, path=root / ledger.REGISTRY)
    clone.commit("second")
    shell(root, "dvc", "exp", "run", "-n", "lr-1e-3", "-S", "train.seed=2", "evaluate")
    assert clone.publish(DVC_EXP_NAME="lr-1e-3") == 0, "an experiment is a run and no version"
    clone.git("stash", "-q")
    clone.git("stash", "drop", "-q")
    shell(root, "dvc", "exp", "run", "--queue", "-n", "waiting", "-S", "train.seed=0", "evaluate")
    shell(root, "dvc", "checkout", "-q")
    with inside(root):
        assert nominate(connect(), "lr-1e-3", root) == "fer-vgg16/3"
    clone.commit("what the store knows")


@pytest.fixture
def new(fresh: Path, tmp_path: Path) -> Iterator[Clone]:
    """A clone of `fresh`, as the working directory."""
    yield from _copied(fresh, tmp_path)


@pytest.fixture
def clone(lived: Path, tmp_path: Path) -> Iterator[Clone]:
    """A clone of `lived`, as the working directory."""
    yield from _copied(lived, tmp_path)


def _copied(source: Path, folder: Path) -> Iterator[Clone]:
    root = shutil.copytree(source, folder / "clone", symlinks=True)
    with inside(root):
        yield Clone(root)


@pytest.fixture
def console() -> Console:
    """As wide as a terminal; `export_text` gives what was printed."""
    return Console(width=80, record=True, file=io.StringIO())
