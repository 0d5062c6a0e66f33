"""Fixtures of the servers' tests."""

from __future__ import annotations

from study.conftest import serve

__all__ = ["serve"]
