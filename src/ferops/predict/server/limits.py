"""What the server takes on, at most."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from fastapi import HTTPException

RETRY: Final = {"Retry-After": "1"}


class Limits(NamedTuple):
    """The limits of a server; what is beyond them is refused.

    Fields:
        pictures: in a request.
        body_mebibytes: in a request's body.
        seconds: until a request is answered, the time in which its body arrives included.
        requests: that are read, wait or are answered at a time.
        held_mebibytes: of their bodies, together.
    """

    pictures: int = 32
    body_mebibytes: int = 32
    seconds: float = 30
    requests: int = 256
    held_mebibytes: int = 256


class Queue:
    """The requests that are being read, wait or are answered."""

    def __init__(self, limits: Limits) -> None:
        """Start with none."""
        self.limits, self.requests, self._held = limits, 0, 0

    @contextmanager
    def place(self) -> Iterator[Callable[[int], None]]:
        """Take a place for a request; what is yielded counts bytes of its body, before they are kept.

        Raises:
            HTTPException: 503, too many requests or bytes are waiting; 413, of what is yielded, the body is too large.
        """
        busy = HTTPException(503, "too many requests are waiting; try again in a second", RETRY)
        if self.requests >= self.limits.requests:
            raise busy
        own = 0

        def hold(number: int) -> None:
            nonlocal own
            own += number
            self._held += number
            if own > self.limits.body_mebibytes << 20:
                raise HTTPException(413, f"a body has at most {self.limits.body_mebibytes} MiB")
            if self._held > self.limits.held_mebibytes << 20:
                raise busy

        self.requests += 1
        try:
            yield hold
        finally:
            self.requests -= 1
            self._held -= own
