"""MTCNN: faces and their eyes, found by three networks one after the other.

Zhang, Zhang, Li, Qiao: Joint Face Detection and Alignment using Multi-task Cascaded Convolutional Networks, 2016 (arXiv
1604.02878). The networks are those of the package `mtcnn`, which TensorFlow runs.
"""

from threading import Lock
from typing import Final

import numpy as np

from ferops.errors import MissingPackage
from ferops.machine.tensorflow import MissingBackend, quiet_imports
from ferops.predict.detection import Detection, Picture, framed

_SIDE: Final = 1.1
_UP: Final = 0.02
"""As BlazeFace's; the boxes are of other proportions. Medians over 250 pasted faces of FER2013's Training split."""

_EYES: Final = [6, 11, 7, 12]
"""Where in a row of the package the eyes are: image, box, score, the five keypoints' x, and their y."""


class Mtcnn:
    """The detector; thread-safe, one picture at a time: it runs on every core, and needs much memory."""

    def __init__(self) -> None:
        """Load TensorFlow and the three networks.

        Raises:
            MissingPackage: `mtcnn` is not installed, or something that it needs.
            MissingBackend: KERAS_BACKEND names another than TensorFlow, or one that is not installed.
        """
        try:
            with quiet_imports():
                import keras

                if keras.backend.backend() != "tensorflow":
                    raise MissingBackend("MTCNN runs under TensorFlow: unset KERAS_BACKEND")
                from mtcnn.stages import StageONet, StagePNet, StageRNet

                self._stages = StagePNet(), StageRNet(), StageONet()
        except ModuleNotFoundError as error:
            package = str(error.name).partition(".")[0]
            raise MissingPackage(f"{package} is not installed: `pip install 'ferops[mtcnn]'`") from None
        self._lock = Lock()

    def find(self, picture: Picture) -> list[Detection]:
        """Find the faces in a picture, RGB uint8 (H, W, 3).

        The stages are not called by `mtcnn.MTCNN`, which takes an error of TensorFlow for a picture without faces.
        """
        pixels = (picture[None].astype(np.float32) - 127.5) / 128
        boxes = None
        with self._lock:
            for stage in self._stages:
                boxes = stage(bboxes_batch=boxes, images_normalized=pixels, images_oshapes=[picture.shape])
                if len(boxes) == 0:
                    return []
        return [
            Detection(row[1:5], framed(row[1:5], row[_EYES], _SIDE, _UP), float(row[5]))
            for row in np.asarray(boxes, np.float32)
        ]
