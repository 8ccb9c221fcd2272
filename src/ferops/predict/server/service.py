"""The network that answers: loaded while the server runs already, and asked for the pictures of many requests."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from os import PathLike

import numpy as np
from fastapi import HTTPException
from numpy.typing import NDArray

from ferops.predict import networks
from ferops.predict.networks import ExpressionNetwork
from ferops.predict.recognizer import ExpressionRecognizer, Prediction
from ferops.predict.server.limits import RETRY, Limits, Queue
from ferops.predict.server.metrics import Metrics
from ferops.predict.server.uploads import Upload


class Service:
    """A network, the requests that wait for it, and what was measured.

    Attributes:
        queue: of the requests.
        metrics: of the server.
        detector: name of the detector.
    """

    def __init__(
        self, model: str | PathLike[str] | None = None, detector: str = "blazeface", limits: Limits | None = None
    ) -> None:
        """Name network and detector as `ExpressionRecognizer` does; `load` loads them."""
        self.queue = Queue(limits or Limits())
        self.metrics = Metrics(lambda: self.queue.requests)
        self.detector = detector
        self._model = model
        self._recognizer: ExpressionRecognizer | None = None

    @property
    def recognizer(self) -> ExpressionRecognizer:
        """Return the recogniser; a request takes one and keeps it to its end.

        Raises:
            HTTPException: 503, none is loaded yet.
        """
        if not self._recognizer:
            raise HTTPException(503, "the network is being loaded; try again in a second", RETRY)
        return self._recognizer

    def load(self) -> ExpressionNetwork:
        """Load network and detector beside those that answer, and let them answer the requests to come.

        Raises:
            BadNetwork, UnknownVersion, TrackingUnreachable, UnknownDetector: of `ExpressionRecognizer`.
        """
        recognizer = ExpressionRecognizer(self._model, self.detector)
        network = recognizer.network

        def counted(faces: NDArray[np.uint8]) -> NDArray[np.float32]:
            self.metrics.batch.observe(len(faces))
            return network.answer(faces)

        recognizer.network = replace(network, answer=counted)
        self.metrics.describe(network)
        self._recognizer = recognizer
        return network

    def refresh(self) -> ExpressionNetwork | None:
        """Load the version that the registered model names now; None where it is the one that answers.

        Raises:
            Exception: of the store, or of the new version. The old one goes on answering.
        """
        try:
            version = networks.current(self._model)
            loaded = self.load() if version != self.recognizer.network.version else None
        except Exception:
            self.metrics.current.set(0)
            raise
        self.metrics.current.set(1)
        return loaded

    async def predict(self, uploads: Sequence[Upload]) -> list[Prediction]:
        """Recognise the expressions in pictures, all with one network; cancelled, it leaves out those not begun."""
        recognizer = self.recognizer
        answers = await asyncio.gather(*(asyncio.wrap_future(recognizer.submit(each.content)) for each in uploads))
        self.metrics.faces.inc(sum(len(answer.faces) for answer in answers))
        return [replace(answer, path=upload.name) for answer, upload in zip(answers, uploads, strict=True)]
