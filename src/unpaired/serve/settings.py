"""What a service is asked for."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field

from unpaired.core.errors import UserError
from unpaired.core.settings import Count, Flag, Place, Settings, option
from unpaired.models.engines import EngineChoice, Precision

LIMITS, COMPUTING = "Limits", "Computing"
_ORIGIN = re.compile(r"https?://[^/\s,*?#@]+")


class ServeSettings(Settings):
    """How models are served."""

    host: Annotated[str, Flag("--host")] = "127.0.0.1"
    """Address to listen on: 127.0.0.1 is this machine only, 0.0.0.0 all networks."""
    port: Annotated[int, Field(ge=0, le=65_535), Flag("--port")] = 8000
    """Port to listen on; 0 takes a free one."""
    keys: Annotated[Place | None, Flag("--keys")] = None
    """File of API keys, one per line, that only its owner may read; requests then need one of them."""
    cors: Annotated[str | tuple[str, ...], Flag("--cors")] = ()
    """Origins whose pages may use the service, separated by commas: https://example.com."""
    root: Annotated[Place | None, Flag("--root")] = None
    """Folder with images that requests may name in place of sending them."""
    behind_proxy: Annotated[bool, Flag("--behind-proxy")] = False
    """Believe a proxy on this machine about who is asking (X-Forwarded-For)."""
    steps: Annotated[int | None, Flag("--steps")] = None
    """Steps that models of several take (unsb). [default: all of their training]"""
    seed: Annotated[int | None, Flag("--seed")] = None
    """Of the noise of such models. [default: that of each model, 0]"""
    lazy: Annotated[bool, Flag("--lazy")] = False
    """Load a model when it is first asked for, and not at the start."""
    reload: Annotated[float, Field(ge=0, le=86_400), Flag("--reload")] = 5.0
    """Seconds between looks for newer checkpoints of the runs that are served; 0 looks on SIGHUP only."""

    queue: Annotated[int, Field(ge=1, le=10_000), Flag("--queue", LIMITS)] = 64
    """Requests that are taken at once; further ones are answered 429."""
    max_bytes: Annotated[Count, Flag("--max-bytes", LIMITS)] = 32 * 2**20
    """Bytes of a request."""
    max_pixels: Annotated[Count, Flag("--max-pixels", LIMITS)] = 2**24
    """Pixels of an image; all images that are being translated together have four times as many."""
    timeout: Annotated[float, Field(gt=0, le=86_400), Flag("--timeout", LIMITS)] = 60.0
    """Seconds until a request that is not done is given up."""

    batch_window: Annotated[float, Field(ge=0, le=10_000), Flag("--batch-window", COMPUTING)] = 5.0
    """Milliseconds that an image waits for others that can be translated together with it."""
    batch_size: Annotated[int, Field(ge=1, le=1024), Flag("--batch-size", COMPUTING)] = 8
    """Images that are translated together, at most."""
    device: Annotated[str, Flag("--device", COMPUTING)] = "auto"
    """auto (cuda, else mps, else cpu), cpu, cuda, cuda:1 or mps."""
    engine: Annotated[EngineChoice, Flag("--engine", COMPUTING)] = "auto"
    """What runs the networks; onnxruntime and openvino run on the CPU only."""
    precision: Annotated[Precision, Flag("--precision", COMPUTING)] = "auto"
    """Arithmetic; auto is bf16 where the hardware has it and it loses little (40 dB)."""

    @property
    def origins(self) -> tuple[str, ...]:
        """The origins of `cors`."""
        given = self.cors.split(",") if isinstance(self.cors, str) else self.cors
        return tuple(origin.strip() for origin in given if origin.strip())

    def check(self) -> None:
        """Refuse what is no origin."""
        for origin in self.origins:
            if not _ORIGIN.fullmatch(origin):
                raise UserError(
                    f"{option('cors', origin)}: an origin is a scheme, a host and perhaps a port, such as "
                    "https://example.com or http://localhost:3000. List each one; there is no wildcard."
                )
