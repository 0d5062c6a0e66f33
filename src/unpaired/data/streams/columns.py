"""Which column of a table holds images, and where the bytes lie in it."""

from __future__ import annotations

import json
from typing import Any

from unpaired.core.errors import UserError, needs_extra
from unpaired.core.text import printable


def arrow() -> Any:
    """Import pyarrow; `UserError` that names the extra where it is missing."""
    with needs_extra("streams", "reading Parquet, Arrow and Hugging Face data sets", "pyarrow"):
        import pyarrow
        import pyarrow.parquet
    return pyarrow


def image_column(schema: Any, chosen: str | None, called: str) -> tuple[str, bool]:
    """Return the name of the column that holds images, and whether each is a record {bytes, path} as by `datasets`.

    `chosen` is what the user named; without it there must be one column that can hold images, or one that Hugging Face
    says does. Raises `UserError` that lists the columns.
    """
    fitting = {field.name: kind for field in schema if (kind := _kind(field.type)) is not None}
    described = ", ".join(f"{printable(field.name)} ({str(field.type)[:60]})" for field in schema)
    if chosen is not None:
        if chosen not in fitting:
            wrong = "holds no images" if chosen in schema.names else "is not there"
            raise UserError(
                f'"{printable(called)}": the column {printable(chosen)} {wrong}. The columns are: {described}. Images '
                "are columns of bytes (encoded files), or of records {bytes, path}."
            )
        return chosen, fitting[chosen]
    declared = [name for name in _declared(schema) if name in fitting]
    names = declared if len(declared) == 1 else list(fitting)
    if len(names) != 1:
        what = "no column of images" if not names else "several columns that may hold images"
        choose = f' Choose one: "{printable(called)}#{printable(names[0])}".' if names else ""
        raise UserError(f'"{printable(called)}" has {what}. The columns are: {described}.{choose}')
    return names[0], fitting[names[0]]


def _kind(of: Any) -> bool | None:
    """Return whether a type is a record with bytes, False for plain bytes, None for what holds no images."""
    types = arrow().types
    if types.is_struct(of):
        fields = {of.field(index).name: of.field(index).type for index in range(of.num_fields)}
        return True if "bytes" in fields and _is_bytes(fields["bytes"]) else None
    return False if _is_bytes(of) else None


def _is_bytes(of: Any) -> bool:
    types = arrow().types
    return bool(types.is_binary(of) or types.is_large_binary(of) or types.is_binary_view(of))


def _declared(schema: Any) -> list[str]:
    """Return the columns of which Hugging Face's `datasets` says that they hold images."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return [name for name, feature in features.items() if feature.get("_type") == "Image"]
    except (KeyError, ValueError, TypeError, AttributeError):
        return []
