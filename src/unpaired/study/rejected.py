"""A request that is not granted."""

from __future__ import annotations


class Refused(Exception):
    """Answered with a status, a word for the program and a sentence for the person; never with the truth."""

    def __init__(self, status: int, code: str, message: str, *, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_after = retry_after

    @classmethod
    def busy(cls, seconds: float) -> Refused:
        """Return the refusal of somebody who asks too often."""
        return cls(429, "busy", "Too many requests. Please wait a moment.", retry_after=max(seconds, 0.05))
