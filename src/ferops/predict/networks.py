"""Networks that recognise expressions: the shipped one, exported files, Keras files, registered models."""

import hashlib
import json
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ferops.errors import FeropsError
from ferops.labels import NAMES, SIDE
from ferops.model.serving import litert
from ferops.model.serving.batches import Answer, in_batches
from ferops.model.serving.exported import Card, card_file
from ferops.params import Evaluate

SHIPPED: Final = Path(__file__).with_name("weights") / "lean_cnn.tflite"
"""The small, quick network of weights/; in the wheel it lies in the package."""

_FILES: Final = {"exported": "network.tflite", "data": "model.keras"}
"""Folders of a registered model, and the file in them that answers; the first that is there is taken."""

_REGISTERED: Final = re.compile(r"[a-z][a-z0-9+-]*:/|fer-[a-z0-9-]+[@/]")
"""How a URI of MLflow, or the name of a version, begins."""


class BadNetwork(FeropsError):
    """A file or registered model is no network from faces to the seven expressions, or its card is of another file."""


class NoMaps(FeropsError):
    """A network has no Grad-CAM maps."""


@dataclass(frozen=True)
class ExpressionNetwork:
    """A network that is loaded; thread-safe.

    Attributes:
        name: the system and the beginning of its weights' digest, as `lean_cnn/76c1901ad3f1`.
        version: in the registry, as `fer-vgg16/3`; None where it was loaded from a file.
        card: its figures; None where nothing but its Keras model is known.
        answer: from a batch of faces to their probabilities.
        explain: from a batch of faces to their Grad-CAM maps, (N, height, width) in 0-1; None where it has none.
        record: of a .keras file that has one: see `weights.record`.
    """

    name: str
    version: str | None
    card: Card | None
    answer: Answer
    explain: Answer | None = None
    record: dict[str, Any] | None = None

    @property
    def uncertain_below(self) -> float:
        """Return the probability below which an answer is uncertain; without a card the default of params.yaml."""
        return self.card.uncertain_below if self.card else Evaluate().uncertain_below

    def probabilities(self, faces: NDArray[np.uint8], *, tta: bool = False) -> NDArray[np.float32]:
        """Return the probabilities of the seven expressions, float32 (N, 7), of faces, uint8 (N, 48, 48).

        With test-time augmentation (`tta`) they are averaged over each face and its mirror image.
        """
        if tta:
            mirrored = np.ascontiguousarray(faces[:, :, ::-1])
            return np.asarray((self.probabilities(faces) + self.probabilities(mirrored)) / 2, np.float32)
        return in_batches(self.answer, faces) if len(faces) else np.empty((0, len(NAMES)), np.float32)

    def maps(self, faces: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """Return a Grad-CAM map for each face, uint8 (N, 48, 48): where it speaks for the answer, 0-1.

        Raises:
            NoMaps: the network has none.
        """
        if self.explain is None:
            raise NoMaps(f"{self.name} has no Grad-CAM maps; `ferops export` writes them into a .tflite file")
        return list(in_batches(self.explain, faces)) if len(faces) else []


def load(model: str | os.PathLike[str] | None = None, threads: int | None = None) -> ExpressionNetwork:
    """Load a network.

    Args:
        model: a .tflite file that `ferops export` or `dvc repro` wrote, with its card beside it; a .keras file, whose
            median filter and temperature are those of its record, else the filter of params.yaml and no temperature; a
            registered model, as `fer-vgg16@champion`; or the URI of an MLflow model, as `models:/fer-vgg16/1`. By
            default the network that is shipped.
        threads: on which LiteRT runs; by default one a core.

    Raises:
        BadNetwork: there is no such file, it is damaged, or no network from faces to expressions.
        NoStore, UnknownVersion, TrackingUnreachable: of a registered model.
    """
    if model is None:
        return _exported(SHIPPED, threads)
    text, path = os.fspath(model), Path(model)
    if path.suffix == ".tflite":
        return _exported(path, threads)
    if path.suffix == ".keras":
        return _keras_file(path)
    if isinstance(text, str) and not path.exists() and _REGISTERED.match(text):
        return _registered(text, threads)
    raise BadNetwork(
        f"{model}: expected a .tflite or .keras file, a registered model as fer-vgg16@champion, or a URI of MLflow"
    )


def current(model: str | os.PathLike[str] | None) -> str | None:
    """Return the version that a registered model names now, as `fer-vgg16/3`; None for files and other URIs.

    Raises:
        NoStore, UnknownVersion, TrackingUnreachable: of a registered model.
    """
    from ferops.tracking import store
    from ferops.tracking.registry import versions

    if not (isinstance(model, str) and versions.is_reference(reference := model.removeprefix("models:/"))):
        return None
    with store.session(create=False) as opened:
        version = versions.resolve(opened, reference)
    return f"{version.name}/{version.version}"


def _exported(path: Path, threads: int | None) -> ExpressionNetwork:
    card = _card(path)
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != card.sha256:
        raise BadNetwork(f"{path}: {card_file(path).name} beside it is the card of another file")
    try:
        network = litert.Network(content, threads)
        probabilities, *maps = litert.answers(network, np.zeros((1, SIDE, SIDE), np.uint8))
        fits = probabilities.shape == (1, len(NAMES))
    except (ValueError, RuntimeError):
        fits = False
    if not fits:
        raise BadNetwork(f"{path} is damaged, or no network from faces to the seven expressions")
    return ExpressionNetwork(
        _name(card.network, card.weights), None, card,
        answer=lambda faces: litert.answers(network, faces)[0],
        explain=(lambda faces: litert.answers(network, faces)[1]) if maps else None,
    )  # fmt: skip


def _card(path: Path) -> Card:
    if not path.is_file():
        raise BadNetwork(f"{path} does not exist; `ferops export` writes an exported network")
    beside = card_file(path)
    try:
        return Card.model_validate(json.loads(beside.read_text(encoding="utf-8")))
    except OSError:
        raise BadNetwork(f"{beside} is missing; `ferops export` writes it beside the network") from None
    except ValueError:  # no JSON, or pydantic's
        raise BadNetwork(f"{beside} is no card that `ferops export` wrote") from None


def _keras_file(path: Path) -> ExpressionNetwork:
    """Load a .keras file with Keras: a trained core, or what is registered."""
    from ferops import params
    from ferops.machine.tensorflow import quiet_imports

    if not path.is_file():
        raise BadNetwork(f"{path} does not exist; `dvc repro` writes models/core.keras")
    with quiet_imports():
        from ferops.model import weights
        from ferops.model.networks import descriptors
        from ferops.model.serving.graph import raw_model
    try:
        model, record = weights.load_network(path), weights.record(path)
    except weights.WeightsUnfit as error:
        raise BadNetwork(str(error)) from None
    core = weights.core(model)
    if not descriptors.is_served(core):
        raise BadNetwork(f"{path}: {core.name} does not take faces alone")
    if core is model:
        here = Path("params.yaml")
        settings = params.load(here) if here.is_file() else params.defaults()
        measured = record["measured"] if record else settings.preprocess.model_dump()
        model = raw_model(core, measured["median_kernel"], measured.get("temperature", 1.0))
    lock = Lock()

    def answer(faces: NDArray[np.uint8]) -> Any:
        with lock:
            return model.predict_on_batch(faces)

    return ExpressionNetwork(_name(core.name, weights.digest(core)), None, None, answer, record=record)


def fetch(uri: str, folder: Path) -> Path:
    """Download a registered network into a folder, and return its file, which `load` takes.

    It is the exported network or, where the model has none, that of Keras.

    Args:
        uri: of an MLflow model, as `models:/fer-vgg16/1`.
        folder: where the file comes to lie, in a folder of its own.

    Raises:
        MissingArtifact: there is no such model, or its files cannot be read.
        BadNetwork: ferops did not register it.
    """
    from ferops.tracking.registry import versions

    there = versions.files(uri)
    for part, file in _FILES.items():
        if part in there and (path := versions.download(f"{uri}/{part}", folder) / file).is_file():
            return path
    raise BadNetwork(f"{uri} is no network that ferops registered")


def _registered(model: str, threads: int | None) -> ExpressionNetwork:
    from ferops.tracking import store
    from ferops.tracking.registry import versions

    with store.session(create=False) as opened, TemporaryDirectory() as scratch:
        uri, version = model, None
        if versions.is_reference(reference := model.removeprefix("models:/")):
            found = versions.resolve(opened, reference)
            version = f"{found.name}/{found.version}"
            uri = f"models:/{version}"
        return replace(load(fetch(uri, Path(scratch)), threads), version=version)


def _name(system: str, digest: str) -> str:
    return f"{system}/{digest[:12]}"
