"""A registered network, loaded from MLflow to be asked."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ferops.tracking.registry.versions import MissingArtifact, run_of
from ferops.tracking.store import MODEL, Store
from ferops.tracking.tags import WEIGHTS_DIGEST

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion


class Network(NamedTuple):
    """A version that can be asked.

    Fields:
        version: its number. weights_digest: what it is.
        kernel: side of its median filter in pixels.
        predict: raw faces, uint8 (N, 48, 48), to probabilities, float32 (N, 7): one step of the graph for all of them.
    """

    version: int
    weights_digest: str
    kernel: int
    predict: Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def load(store: Store, version: "ModelVersion", kernel: int) -> Network:
    """The network of a version.

    Args:
        store: the open store.
        version: of the registered model.
        kernel: taken for its median filter's where its run, which knows it, is gone.

    Raises:
        MissingArtifact: the files of its model are gone.
    """
    import mlflow.tensorflow
    from mlflow.exceptions import MlflowException

    try:
        model = mlflow.tensorflow.load_model(f"models:/{MODEL}/{version.version}")
    except (MlflowException, OSError, ValueError) as error:
        raise MissingArtifact(
            f"{MODEL} version {version.version} has no model that can be read in MLflow "
            f"({' '.join(str(error).split())[:200]}); `dvc repro` on its commit or `ferops restore` brings it back"
        ) from None
    return Network(
        version=int(version.version),
        weights_digest=str(version.tags.get(WEIGHTS_DIGEST)),
        kernel=_kernel(store, version, kernel),
        predict=model.predict_on_batch,
    )


def _kernel(store: Store, version: "ModelVersion", otherwise: int) -> int:
    run = run_of(store, version)
    return int((run.data.params if run else {}).get("preprocess.median_kernel", otherwise))
