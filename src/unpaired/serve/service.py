"""From a request to its answer: read, decode, wait for the network, encode; bounded in number, memory and time."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, NamedTuple, TypeVar, final
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from unpaired.core.errors import UserError
from unpaired.core.memory import means_out_of_memory
from unpaired.core.text import printable
from unpaired.data.bad_image import BadImage, TooLarge
from unpaired.data.decode import count_frames, probe
from unpaired.data.directions import reverse
from unpaired.data.parallel import num_threads
from unpaired.data.values import Domain, Signed
from unpaired.models.conversion import Opened, open_image
from unpaired.models.engines.base import NotFiniteError
from unpaired.models.outputs import default_format, keeps_alpha, output_domain, stored_domain
from unpaired.models.translation import Translation
from unpaired.models.translator import Translator
from unpaired.serve.accept import MEDIA, choose
from unpaired.serve.batching import Budget
from unpaired.serve.monitor import Monitor
from unpaired.serve.receive import Received, receive
from unpaired.serve.registry import Registry, ServedModel
from unpaired.serve.settings import ServeSettings
from unpaired.serve.views import View, domain_of, draw
from unpaired.web.refused import Refused

T = TypeVar("T")
GONE = 499
"""Status in the log of a request whose client has gone; nobody receives it."""


class Wanted(BaseModel):
    """What a request asks for, in its address or in fields of its form; all of it can be left out."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    model: str | None = Field(None, max_length=200)
    """Name of a model, as `/models` lists them; by default the first."""
    direction: str | None = Field(None, max_length=200)
    """a2b or b2a, or by the domains' names: horse2zebra. By default a2b, or the only one."""
    checkpoint: str | None = Field(None, max_length=40)
    """Of a run: best, last or a number of images. By default the best where there is one, else the last."""
    size: str | None = Field(None, max_length=10)
    """Size at which the network sees the image: trained, native or the pixels of the shorter side."""
    view: View = "translation"
    """What is shown: the translation, the reconstruction of the image from it, the absolute difference of translation
    and image, or the hidden signal (the translation's amplified detail, as the audit shows it)."""
    bit_depth: Literal["8", "16", "32"] | None = None
    """Bits of each value of the answer; 32 is floating point. By default that of the training images."""
    alpha: Literal["keep", "drop"] | None = None
    """Keep the image's alpha beside its translation, or drop it. By default kept where the format can hold it."""


class _Plan(NamedTuple):
    """How one request is answered."""

    served: ServedModel
    translator: Translator
    backward: Translator | None
    view: View
    media: str
    written_as: Domain
    alpha: bool


@final
class Service:
    """Answers requests for translations."""

    def __init__(self, registry: Registry, settings: ServeSettings, monitor: Monitor, root: Any) -> None:
        self.registry, self.monitor = registry, monitor
        self._settings, self._root = settings, root
        self._pool = ThreadPoolExecutor(num_threads(0), "images")
        self._pixels = Budget(4 * settings.max_pixels)
        self._open = 0

    @property
    def busy(self) -> bool:
        """Whether no further request would be taken."""
        return self._open >= self._settings.queue

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def answer(self, request: Request, wanted: Wanted) -> Response:
        """Translate the image of a request; raises `Refused`."""
        if self.busy:
            waiting = max(len(model.batcher) * model.batcher.seconds_per_image for model in self.registry.all)
            raise Refused(429, "queue", "The service has as much to do as it takes at once.", retry_after=1 + waiting)
        self._open += 1
        self.monitor.opened(1)
        try:
            return await self._within_time(request, wanted)
        except ClientDisconnect:
            request.state.journal["gone"] = GONE
            return Response(status_code=GONE)
        except Refused:
            raise
        except (BadImage, UserError) as error:
            reason = error.reason if isinstance(error, BadImage) else str(error)
            status, code = (413, "pixels") if isinstance(error, TooLarge) else (422, "image")
            raise Refused(status, code, f"This image cannot be translated: {reason}") from error
        except Exception as error:
            if means_out_of_memory(error):
                raise Refused(503, "memory", "There is not enough memory for this image now.", retry_after=5) from error
            logging.getLogger("unpaired.serve").error("a request failed", exc_info=error)
            raise Refused(500, "server", "Translating failed. The service's log says more.") from error
        finally:
            self._open -= 1
            self.monitor.opened(-1)

    async def _within_time(self, request: Request, wanted: Wanted) -> Response:
        """Receive, then work until that is done, the time is over, or the client has gone."""
        started, seconds = time.monotonic(), self._settings.timeout
        try:
            async with asyncio.timeout(seconds):
                received = await receive(request, max_bytes=self._settings.max_bytes, root=self._root)
        except TimeoutError as error:
            raise Refused(408, "slow", f"The request was not whole after {seconds:g} s.") from error
        with received.file:
            work = asyncio.ensure_future(self._work(request, received, wanted, started))
            gone = asyncio.ensure_future(_gone(request))
            try:
                left = started + seconds - time.monotonic()
                await asyncio.wait({work, gone}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                if work.done():
                    return work.result()
                if gone.done():
                    raise ClientDisconnect
                raise Refused(504, "timeout", f"It was not translated within {seconds:g} s.", retry_after=5)
            finally:
                gone.cancel()
                if not work.done():
                    work.cancel()
                    await asyncio.wait({work})

    async def _work(self, request: Request, received: Received, wanted: Wanted, started: float) -> Response:
        names = Counter(name for name, _ in [*request.query_params.multi_items(), *received.fields])
        if twice := [printable(name)[:80] for name, times in names.items() if times > 1]:
            raise Refused(422, "parameter", f"{', '.join(twice[:5])}: given more than once.")
        try:
            wanted = Wanted.model_validate({**dict(received.fields), **wanted.model_dump(exclude_unset=True)})
        except ValidationError as error:
            raise Refused(422, "parameter", explain(error.errors())) from error
        plan = await self._plan(wanted, request)
        header = await self._on_pool(_probe, received, self._settings.max_pixels)
        async with self._pixels.take(header):
            opened = await self._on_pool(_decode, received, plan, self._settings.max_pixels)
            shown = await self._translate(plan, opened.values)
            content = await self._on_pool(shown.encode, f".{MEDIA[plan.media]}", plan.written_as, opened.alpha)
        headers = {
            "x-unpaired-model": quote(plan.served.name, safe="/ "),
            "x-unpaired-checkpoint": quote(plan.translator.title, safe="(), "),
            "x-unpaired-direction": plan.translator.direction,
            "x-unpaired-milliseconds": f"{1000 * (time.monotonic() - started):.0f}",
            "vary": "accept",
        }
        if opened.fit.outside:  # of the values, which were clipped to the range that the model was trained on
            headers["x-unpaired-clipped"] = f"{opened.fit.outside:.6f}"
        return Response(content, media_type=plan.media, headers=headers)

    async def _plan(self, wanted: Wanted, request: Request) -> _Plan:
        served = self.registry.find(wanted.model)
        key = served.key(wanted.direction, wanted.checkpoint)
        request.state.journal |= {"model": served.name, "direction": key.direction, "view": wanted.view}
        source, target = served.card.domains_of(key.direction)
        domain = domain_of(wanted.view, source, target)
        media, written_as = _format(request.headers.get("accept"), domain, wanted.bit_depth)
        translator, backward = await served.translator(key), None
        keeps = wanted.view == "translation" and keeps_alpha(wanted.alpha, translator, MEDIA[media], written_as)
        if wanted.view == "reconstruction":
            backward = await served.translator(served.key(reverse(key.direction), wanted.checkpoint))
        if wanted.size is not None:
            translator = translator.at_size(wanted.size)
            backward = backward and backward.at_size(wanted.size)
        return _Plan(served, translator, backward, wanted.view, media, written_as, keeps)

    async def _translate(self, plan: _Plan, values: Signed) -> Translation:
        try:
            translation = await plan.served.batcher.translate(plan.translator, values)
            if plan.backward is not None:
                return await plan.served.batcher.translate(plan.backward, translation.values)
        except NotFiniteError as error:
            raise Refused(500, "network", str(error)) from error
        if plan.view == "translation":
            return translation
        return await self._on_pool(draw, plan.view, values, translation)

    async def _on_pool(self, function: Callable[..., T], *positional: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *positional)


def explain(errors: Sequence[Any]) -> str:
    """Return what is wrong with the parameters of a request in words, of what pydantic says."""
    parts = [(printable(str(each["loc"][-1]))[:80], each["msg"]) for each in errors]
    return "; ".join(f"{name}: {text[:1].lower()}{text[1:]}" for name, text in parts)


def _format(accept: str | None, domain: Domain, bit_depth: str | None) -> tuple[str, Domain]:
    """Return the media type of the answer, and as what the image is written; raises `Refused` where there is none."""
    able, reason = {}, ""
    default = default_format(stored_domain(domain, None if bit_depth is None else int(bit_depth)))
    for media, format in sorted(MEDIA.items(), key=lambda item: item[1] != default):
        try:
            able[media] = output_domain(domain, format, None if bit_depth is None else int(bit_depth))
        except UserError as error:
            reason = str(error)
    chosen = choose(accept, [*able])
    if chosen is None:
        raise Refused(406, "accept", f"The answer can be {', '.join(able)}." if able else reason)
    return chosen, able[chosen]


def _probe(received: Received, max_pixels: int) -> int:
    """Return how many pixels an image has, of up to four channels each; `BadImage` for a file of many images."""
    image = received.image()
    header = probe(image, max_pixels=max_pixels)
    if (images := count_frames(image)) > 1:
        raise BadImage(image, f"it holds {images} images, and this service translates one; send them one by one")
    return header.height * header.width * -(-header.channels // 4)


def _decode(received: Received, plan: _Plan, max_pixels: int) -> Opened:
    return open_image(received.image(), plan.translator.source, max_pixels=max_pixels, with_alpha=plan.alpha)


async def _gone(request: Request) -> None:
    """Return when the client has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
