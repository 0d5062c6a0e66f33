"""The study's web server: what a browser may ask, and nothing that tells real from generated.

Both pictures of a pair travel in one answer of constant length, so neither their names, sizes, order, headers nor the
time that they take can differ. Whether a choice was right is known to the report alone; only practice trials tell.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import TypeAdapter, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from unpaired.core.errors import UserError
from unpaired.study.description import Study, Trial, choose_method, draw_trials, picture_bytes, read_study
from unpaired.study.messages import CHOICE, ENTER, Choice, Enter, Limit
from unpaired.study.page import answers_csv, participants_csv, report_json, report_page
from unpaired.study.report import Report, make_report
from unpaired.study.store import Participant, Store
from unpaired.web.connection import counted_as
from unpaired.web.headers import SecurityHeaders
from unpaired.web.refused import Refused, refuse

_ASSETS = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/study.css": ("study.css", "text/css; charset=utf-8"),
    "/study.js": ("study.js", "text/javascript; charset=utf-8"),
}
MOST_BYTES = 4096
"""Longest message that a browser may send."""

_COOKIE = "unpaired-study-report"

Read = TypeVar("Read")


def make_app(folder: Path, admin_token: str) -> ASGIApp:
    """Return the web application of the study in `folder`; the report is shown to who knows `admin_token`.

    Every picture is compared with its checksum first; raises `UserError` where the study is not whole.
    """
    study = read_study(folder, verify=True)
    store = Store(folder)
    app = _App(folder, study, store)
    reader = _Reader(folder, study, store, admin_token)
    routes = [Route(path, _asset(name, media), methods=["GET"]) for path, (name, media) in _ASSETS.items()]
    routes += [
        Route("/api/enter", app.enter, methods=["POST"]),
        Route("/api/next", app.next, methods=["POST"]),
        Route("/api/pair/{token}", app.pair, methods=["GET"]),
        Route("/api/answer", app.answer, methods=["POST"]),
        Route("/report", reader.page, methods=["GET"]),
        Route("/report/report.json", reader.file("application/json", report_json), methods=["GET"]),
        Route("/report/answers.csv", reader.file("text/csv; charset=utf-8", answers_csv), methods=["GET"]),
        Route("/report/participants.csv", reader.file("text/csv; charset=utf-8", participants_csv), methods=["GET"]),
    ]
    return SecurityHeaders(_Guard(Starlette(routes=routes, exception_handlers={UserError: refuse, Exception: refuse})))


class _Guard:
    """Slows down an address that asks too often."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._limit = Limit(per_second=200.0, burst=1000)  # a whole class behind one address stays far below

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        wait = self._limit.wait(_address(request))
        answer = refuse(request, Refused.busy(wait)) if wait else self._app
        await answer(scope, receive, send)


def _address(request: Request) -> str:
    return counted_as(request.client.host) if request.client else ""


def _asset(name: str, media: str) -> Any:
    data = (files("unpaired.study") / "assets" / name).read_bytes()

    async def respond(request: Request) -> Response:
        return Response(data, media_type=media)

    return respond


async def _read(request: Request, adapter: TypeAdapter[Read]) -> Read:
    """Read a message of at most `MOST_BYTES`; raises `Refused` for anything that is not exactly one."""
    if request.headers.get("content-type", "").split(";")[0].strip() != "application/json":
        raise Refused(415, "type", "Messages are application/json.")
    body = bytearray()
    try:
        async for part in request.stream():
            body += part
            if len(body) > MOST_BYTES:
                raise Refused(413, "long", f"Messages have at most {MOST_BYTES} bytes.")
    except ClientDisconnect as error:
        raise Refused(400, "message", "The message is not whole.") from error
    try:
        return adapter.validate_json(bytes(body), strict=True)
    except ValidationError as error:
        fields = ", ".join(sorted({".".join(str(part) for part in entry["loc"]) for entry in error.errors()}))
        raise Refused(400, "message", f"The message is not as it should be: {fields or 'no JSON'}.") from error


class _App:
    def __init__(self, folder: Path, study: Study, store: Store) -> None:
        self._folder, self._study, self._store = folder, study, store
        self._pictures = study.pictures()
        self._asking = Limit(per_second=20.0, burst=60)  # of one session
        self._joining = Limit(per_second=1.0, burst=150)  # of one address
        looks = 1 if study.settings.show == "together" else 2
        self._least_seconds = max(0.0, 0.95 * looks * study.settings.exposure - 0.02)  # a frame more or less

    async def enter(self, request: Request) -> Response:
        """Say where somebody stands, and take them in once they agreed."""
        message = await _read(request, ENTER)
        return JSONResponse(await run_in_threadpool(self._enter, message, _address(request)))

    def _enter(self, message: Enter, address: str) -> dict[str, object]:
        settings = self._study.settings
        if settings.links_only and message.participant is None:
            raise Refused(403, "link", "This study is open to people with a personal link only. Please use your link.")
        found = None
        if message.participant is not None:
            found = self._store.find(external=message.participant)
        elif message.session is not None:
            found = self._store.find(session=message.session)
        if found is None and message.consent:
            wait = self._joining.wait(address)
            if wait:
                raise Refused.busy(wait)
            methods, code = list(self._study.methods), settings.completion_code
            found = self._store.join(message.participant, message.session, self._draw, methods, code)
        public = {"study": self._public()}
        if found is None:
            return {"state": "new", **public}
        if found.finished:
            return {"state": "done", "session": found.session, "code": found.code, **public}
        return {"state": "going", "session": found.session, **public}

    def _public(self) -> dict[str, object]:
        settings = self._study.settings
        return {
            "id": self._study.id,
            "title": settings.title,
            "consent": settings.consent,
            "show": settings.show,
            "exposure": settings.exposure,
            "practice": settings.practice,
            "trials": settings.trials + settings.catch,
            "height": self._study.height,
            "width": self._study.width,
        }

    def _draw(self, counts: Mapping[str, int]) -> tuple[str, list[Trial]]:
        random = np.random.default_rng(secrets.randbits(128))
        method = choose_method(counts, random)
        return method, draw_trials(self._study, method, random)

    async def next(self, request: Request) -> Response:
        """Name the trial that is to be shown, or the end."""
        participant = await self._participant(request)
        current = await run_in_threadpool(self._store.serve, participant)
        if current is None:
            return JSONResponse({"state": "done", "code": participant.code})
        practice = self._study.settings.practice
        total = practice + self._study.settings.trials + self._study.settings.catch
        is_practice = current.number < practice
        return JSONResponse(
            {
                "state": "trial",
                "trial": current.token,
                "part": "practice" if is_practice else "main",
                "number": current.number + 1 - (0 if is_practice else practice),
                "of": practice if is_practice else total - practice,
            }
        )

    async def pair(self, request: Request) -> Response:
        """Send both pictures of a trial, once, as one body: the left (first) one, then the other, of equal length."""
        if request.method != "GET":  # HEAD would spend the look without showing anything
            raise Refused(405, "method", "Pictures are sent to GET.")
        participant = await self._participant(request)
        token = request.path_params["token"]
        chosen = await run_in_threadpool(self._store.fetch, participant, token)
        if chosen is None:
            raise Refused(410, "spent", "These pictures have been shown already.")
        data = await run_in_threadpool(self._both, *chosen)
        return Response(data, media_type="application/octet-stream")

    def _both(self, first: str, second: str) -> bytes:
        try:
            return b"".join(picture_bytes(self._folder, self._study, self._pictures[name]) for name in (first, second))
        except UserError as error:
            raise Refused(500, "damaged", "The study's pictures cannot be read. Please tell its author.") from error

    async def answer(self, request: Request) -> Response:
        """Store an answer; the response leaves when it is on the disk. After practice it says what was right."""
        participant = await self._participant(request)
        choice = await _read(request, CHOICE)
        return JSONResponse(await run_in_threadpool(self._answer, participant, choice))

    def _answer(self, participant: Participant, choice: Choice) -> dict[str, object]:
        outcome = self._store.answer(participant, choice.trial, choice, least_seconds=self._least_seconds)
        if outcome == "early":
            raise Refused(425, "early", "The pictures cannot have been seen for long enough yet.")
        answered = self._store.answered(participant, choice.trial)
        if answered is None or answered[1] != choice.side:
            raise Refused(409, "order", "This is not an answer to the current trial, or it was answered already.")
        trial, side = answered  # sent twice because an acknowledgement was lost: the same acknowledgement again
        if trial.kind == "practice":
            return {"stored": True, "real": trial.real_side, "right": side == trial.real_side}
        return {"stored": True}

    async def _participant(self, request: Request) -> Participant:
        session = _bearer(request)
        known = session is not None and len(session) <= 64
        found = await run_in_threadpool(lambda: self._store.find(session=session)) if known else None
        if found is None:
            raise Refused(401, "session", "This session is not known. Please load the page again.")
        wait = self._asking.wait(found.session)  # only known sessions take memory, and push nobody's bucket out
        if wait:
            raise Refused.busy(wait)
        return found


class _Reader:
    """The report, for whoever holds the token that was printed when the server started."""

    def __init__(self, folder: Path, study: Study, store: Store, token: str) -> None:
        self._folder, self._study, self._store, self._token = folder, study, store, token
        self._failures = Limit(per_second=0.1, burst=10)  # of one address, wrong tokens alone

    async def page(self, request: Request) -> Response:
        """Send the page, or set the cookie of who comes with the token in the address."""
        given = request.query_params.get("token")
        self._require(request, given)
        if given is not None:
            redirect = RedirectResponse("report", 303)  # so that the token leaves the address bar
            redirect.set_cookie(_COOKIE, given, path="/report", httponly=True, samesite="strict")
            return redirect
        page = await run_in_threadpool(lambda: report_page(self._folder, self._report(), served=True))
        # What may run or load is in the page itself; who may frame it can only be said in a header.
        headers = {"content-security-policy": "frame-ancestors 'none'"}
        return Response(page, media_type="text/html; charset=utf-8", headers=headers)

    def file(self, media: str, write: Callable[[Report], str]) -> Callable[[Request], object]:
        """Return what sends the report as a file of this type."""

        async def respond(request: Request) -> Response:
            self._require(request, None)
            text = await run_in_threadpool(lambda: write(self._report()))
            return Response(text, media_type=media, headers={"content-disposition": "attachment"})

        return respond

    def _report(self) -> Report:
        return make_report(self._study, self._store)

    def _require(self, request: Request, given: str | None) -> None:
        """Raise `Refused` unless the token is in the address, a header or the cookie."""
        token = given if given is not None else _bearer(request) or request.cookies.get(_COOKIE, "")
        if secrets.compare_digest(token.encode(), self._token.encode()):
            return  # first: nobody who shares the author's address can keep the author out by guessing
        if wait := self._failures.wait(_address(request)):
            raise Refused.busy(wait)
        raise Refused(403, "token", "Open the report with the address that was printed when the server started.")


def _bearer(request: Request) -> str | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token if scheme.lower() == "bearer" else None
