"""What every settings class has in common: frozen, typed, strict, documented field by field."""

from __future__ import annotations

from pydantic import ConfigDict

STRICT = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)
"""For `pydantic.dataclasses.dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)`.

Unknown keys and impossible values are errors wherever the object is made: from a file, the command line or Python.
"""
