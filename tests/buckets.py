"""A storage service on loopback that speaks S3."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.request import Request, urlopen

import pytest


@contextmanager
def s3_on_loopback() -> Iterator[Any]:
    """Yield its fsspec file system; while the block runs it is the S3 of this process and of those that it starts."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    values = {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**values, "AWS_DEFAULT_REGION": "us-east-1"}.items():
            patch.setenv(name, value)
        import s3fs

        # What earlier servers of this process held, which they share.
        urlopen(Request(f"http://{host}:{port}/moto-api/reset", method="POST")).close()
        yield s3fs.S3FileSystem(skip_instance_cache=True)
        s3fs.S3FileSystem.clear_instance_cache()
    server.stop()
