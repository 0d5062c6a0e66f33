"""A stand-in of the Hugging Face hub: models with commits, over the part of its HTTP interface that is used."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from urllib.parse import unquote

from sites import Handler, Site


@dataclass
class Repo:
    """One model: its commits, and the branches that point at them."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    private: bool = False

    def commit(self, files: dict[str, bytes], branch: str = "main") -> str:
        """Add a commit of these files on top of a branch; return its hash."""
        whole = {**self.commits.get(self.refs.get(branch, ""), {}), **files}
        sha = hashlib.sha1(repr((len(self.commits), sorted(whole))).encode(), usedforsecurity=False).hexdigest()
        self.commits[sha] = whole
        self.refs[branch] = sha
        return sha


class Hub:
    """Answers as the hub does; everything else of the site is a 404."""

    def __init__(self, site: Site, token: str = "") -> None:
        self.site = site
        self.token = token
        self.repos: dict[str, Repo] = {}
        site.answers["/"] = self.answer

    def answer(self, handler: Handler) -> None:
        """Answer one request."""
        path = unquote(handler.path.partition("?")[0])
        parts = path.strip("/").split("/")
        allowed = not self.token or handler.headers.get("authorization") == f"Bearer {self.token}"
        if handler.command != "GET" and handler.command != "HEAD" and not allowed:
            self._json(handler, {"error": "no"}, 401)
        elif path == "/api/validate-yaml":
            self._json(handler, {"errors": [], "warnings": []})
        elif path == "/api/repos/create":
            made = json.loads(handler.body())
            name = f"{made.get('organization') or 'me'}/{made['name']}"
            self.repos.setdefault(
                name, Repo(private=bool(made.get("private") or made.get("visibility") == "private"))
            ).commit({".gitattributes": b""})
            self._json(handler, {"url": f"{self.site.address}/{name}", "id": name})
        elif parts[:2] == ["api", "models"] and len(parts) >= 4:
            self._model(handler, "/".join(parts[2:4]), parts[4:])
        elif len(parts) >= 5 and parts[2] == "resolve":
            self._file(handler, "/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        else:
            self._json(handler, {"error": path}, 404)

    def _find(self, handler: Handler, name: str, revision: str) -> tuple[Repo, str] | None:
        repo = self.repos.get(name)
        readable = repo is not None and (not repo.private or handler.headers.get("authorization"))
        if repo is None or not readable:
            self._json(handler, {"error": "Repository not found"}, 401, {"X-Error-Code": "RepoNotFound"})
            return None
        sha = repo.refs.get(revision, revision)
        if sha not in repo.commits:
            self._json(handler, {"error": "Revision not found"}, 404, {"X-Error-Code": "RevisionNotFound"})
            return None
        return repo, sha

    def _model(self, handler: Handler, name: str, rest: list[str]) -> None:
        what, revision = rest[0] if rest else "revision", "/".join(rest[1:]) or "main"
        if what == "branch":
            repo = self.repos[name]
            repo.refs[revision] = repo.refs["main"]
            handler.send(200)
            return
        found = self._find(handler, name, revision)
        if found is None:
            return
        repo, sha = found
        files = repo.commits[sha]
        if what == "revision":
            siblings = [{"rfilename": path, "size": len(content), "blobId": "b"} for path, content in files.items()]
            self._json(handler, {"id": name, "sha": sha, "private": repo.private, "siblings": siblings, "tags": []})
        elif what == "tree":
            listed = [{"type": "file", "path": p, "size": len(c), "oid": _etag(c)} for p, c in files.items()]
            self._json(handler, listed)
        elif what == "preupload":
            asked = json.loads(handler.body())["files"]
            answer = [{"path": each["path"], "uploadMode": "regular", "shouldIgnore": False} for each in asked]
            self._json(handler, {"files": answer})
        elif what == "commit":
            lines = [json.loads(line) for line in handler.body().splitlines()]
            added = {x["value"]["path"]: base64.b64decode(x["value"]["content"]) for x in lines if x["key"] == "file"}
            new = repo.commit(added, revision)
            url = f"{self.site.address}/{name}/commit/{new}"
            self._json(handler, {"success": True, "commitOid": new, "commitUrl": url, "hookOutput": ""})
        else:
            self._json(handler, {"error": what}, 404)

    def _file(self, handler: Handler, name: str, revision: str, path: str) -> None:
        found = self._find(handler, name, revision)
        if found is None:
            return
        repo, sha = found
        content = repo.commits[sha].get(path)
        if content is None:
            self._json(handler, {"error": "no such file"}, 404, {"X-Error-Code": "EntryNotFound"})
            return
        headers = {"ETag": f'"{_etag(content)}"', "X-Repo-Commit": sha, "Content-Length": str(len(content))}
        handler.send(200, content, headers)

    def _json(self, handler: Handler, value: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
        handler.send(status, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})})


def _etag(content: bytes) -> str:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()
