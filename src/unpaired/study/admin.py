"""The report in the browser, behind a token."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from unpaired.study.description import Study
from unpaired.study.export import answers_csv, participants_csv, report_json
from unpaired.study.limits import Limit
from unpaired.study.messages import Refused
from unpaired.study.page import report_page
from unpaired.study.report import Report, make_report
from unpaired.study.store import Store

_COOKIE = "unpaired-study-report"


class Admin:
    """Pages for whoever holds the token that was printed when the server started."""

    def __init__(self, folder: Path, study: Study, store: Store, token: str) -> None:
        self._folder, self._study, self._store, self._token = folder, study, store, token
        self._failures = Limit(per_second=0.1, burst=10)

    def routes(self) -> list[Route]:
        """Return what is served: the page, and the same as JSON and CSV."""
        return [
            Route("/report", self._page, methods=["GET"]),
            Route("/report/report.json", self._file("application/json", report_json), methods=["GET"]),
            Route("/report/answers.csv", self._file("text/csv; charset=utf-8", answers_csv), methods=["GET"]),
            Route("/report/participants.csv", self._file("text/csv; charset=utf-8", participants_csv), methods=["GET"]),
        ]

    async def _page(self, request: Request) -> Response:
        given = request.query_params.get("token")
        if given is not None:
            self._require(request, given)
            response: Response = RedirectResponse("report", 303)  # so that the token leaves the address bar
            response.set_cookie(_COOKIE, given, path="/report", httponly=True, samesite="strict")
            return response
        self._require(request, _shown(request))
        page = await run_in_threadpool(lambda: report_page(self._folder, self._report(), served=True))
        # What may run or load is in the page itself; who may frame it can only be said in a header.
        headers = {"content-security-policy": "frame-ancestors 'none'"}
        return Response(page, media_type="text/html; charset=utf-8", headers=headers)

    def _report(self) -> Report:
        return make_report(self._study, self._store)

    def _file(self, media: str, write: Callable[[Report], str]) -> Callable[[Request], object]:
        async def respond(request: Request) -> Response:
            self._require(request, _shown(request))
            text = await run_in_threadpool(lambda: write(self._report()))
            return Response(text, media_type=media, headers={"content-disposition": "attachment"})

        return respond

    def _require(self, request: Request, given: str) -> None:
        address = request.client.host if request.client else ""
        if self._failures.is_spent(address):
            raise Refused.busy(10.0)
        if not secrets.compare_digest(given.encode(), self._token.encode()):
            self._failures.wait(address)
            raise Refused(403, "token", "Open the report with the address that was printed when the server started.")


def _shown(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token if scheme.lower() == "bearer" else request.cookies.get(_COOKIE, "")
