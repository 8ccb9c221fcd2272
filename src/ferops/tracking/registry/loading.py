"""Loading a registered model from MLflow for prediction."""

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
    """A version loaded for prediction.

    Fields:
        version: its number. weights_digest: of its weights.
        kernel: side of its median filter in pixels.
        predict: from raw faces, uint8 (N, 48, 48), to probabilities, float32 (N, 7), in one batch.
    """

    version: int
    weights_digest: str
    kernel: int
    predict: Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def load(store: Store, version: "ModelVersion", kernel: int) -> Network:
    """Load the model of a version.

    Args:
        store: the open store.
        version: of the registered model.
        kernel: side of the median filter where the version's run, which has it as a parameter, is missing.

    Raises:
        MissingArtifact: the files of its model are missing or cannot be read.
    """
    import mlflow.tensorflow
    from mlflow.exceptions import MlflowException

    try:
        model = mlflow.tensorflow.load_model(f"models:/{MODEL}/{version.version}")
    except (MlflowException, OSError, ValueError) as error:
        raise MissingArtifact(
            f"{MODEL} version {version.version} has no readable model in MLflow "
            f"({' '.join(str(error).split())[:200]}); `dvc repro` on its commit or `ferops restore` restores it"
        ) from None
    run = run_of(store, version)
    return Network(
        version=int(version.version),
        weights_digest=str(version.tags.get(WEIGHTS_DIGEST)),
        kernel=int((run.data.params if run else {}).get("preprocess.median_kernel", kernel)),
        predict=model.predict_on_batch,
    )
