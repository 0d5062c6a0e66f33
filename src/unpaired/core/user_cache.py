"""The folder in which this user's derived data lies: what was checked, and decoded images."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from unpaired.core.errors import UserError
from unpaired.data.bad_image import shown


def user_cache_folder() -> Path:
    """Return the cache folder, made if need be: `UNPAIRED_CACHE` where set, else the platform's usual place.

    Everything in it can be deleted at any time; it is made again. Raises `UserError` where it cannot be written.
    """
    import platformdirs

    chosen = os.environ.get("UNPAIRED_CACHE")
    folder = Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("unpaired", appauthor=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, "no permission to write")
    except OSError as error:
        raise UserError(
            f'cannot use the cache folder "{shown(folder)}": {error.strerror}. '
            "Set the environment variable UNPAIRED_CACHE to a folder that can be written."
        ) from error
    return folder
