"""The network that answers: loaded while the server runs already, and asked for the pictures of many requests."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fastapi import HTTPException

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

    def __init__(self, model: Path | None = None, detector: str = "blazeface", limits: Limits | None = None) -> None:
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

    def load(self) -> ExpressionRecognizer:
        """Load network and detector.

        Raises:
            BadNetwork, UnknownDetector: of `ExpressionRecognizer`.
        """
        recognizer = ExpressionRecognizer(self._model, self.detector)
        recognizer.on_batch = self.metrics.batch.observe
        card = recognizer.network.card
        self.metrics.model.info({"name": recognizer.network.name, "digest": card.weights})
        self._recognizer = recognizer
        return recognizer

    async def predict(self, uploads: Sequence[Upload]) -> list[Prediction]:
        """Recognise the expressions in pictures, all with one network; cancelled, it leaves out those not begun."""
        recognizer = self.recognizer
        answers = await asyncio.gather(*(asyncio.wrap_future(recognizer.submit(each.content)) for each in uploads))
        self.metrics.faces.inc(sum(len(answer.faces) for answer in answers))
        return [replace(answer, path=upload.name) for answer, upload in zip(answers, uploads, strict=True)]
