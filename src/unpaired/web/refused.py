"""A request that is refused, and the answer: a status, a code for programs, a message for people."""

from __future__ import annotations

import logging
import math

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from unpaired.core.errors import UserError


class Refused(UserError):
    """A request that is not granted; `retry_after` are seconds after which it may be."""

    def __init__(self, status: int, code: str, message: str, *, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.status, self.code, self.retry_after = status, code, retry_after

    @classmethod
    def busy(cls, seconds: float) -> Refused:
        """Return the answer to somebody who asks too often."""
        return cls(429, "busy", "Too many requests. Please wait a moment.", retry_after=max(seconds, 0.05))


def refuse(request: Request, error: Exception) -> Response:
    """Answer an error: `Refused` as it says, and others without a word of what is inside the server."""
    if not isinstance(error, Refused):
        if isinstance(error, UserError):  # such as a disk that is full; the same request may succeed later
            logging.getLogger("uvicorn.error").error("%s", error)
        status = 503 if isinstance(error, UserError) else 500
        error = Refused(status, "server", "The server cannot go on at the moment. Please tell whoever runs it.")
    headers = {"retry-after": str(max(1, math.ceil(error.retry_after)))} if error.retry_after else None
    return JSONResponse({"error": error.code, "message": str(error)}, error.status, headers)
