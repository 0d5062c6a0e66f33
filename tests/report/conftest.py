"""Fixtures of the report's tests."""

from __future__ import annotations

from study.conftest import browse

__all__ = ["browse"]
