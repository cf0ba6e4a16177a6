"""The hub's API and its files, from the stand-in's repositories. Unknown parameters are refused, not ignored."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlencode

from tests.hub.contents import Content
from tests.hub.repositories import DEFAULT_FIELDS, FULL_FIELDS, INFO_FIELDS, Commit, Repository, tree, tree_entry

if TYPE_CHECKING:
    from tests.hub.server import Hub

Query = Mapping[str, list[str]]

REPO = r"(?P<repo>[^/]+(?:/[^/]+)?)"
SEARCH_KEYS = {"search", "author", "filter", "gated", "pipeline_tag", "num_parameters", "apps", "sort", "limit"}
SEARCH_KEYS |= {"direction", "full", "config", "cardData", "expand", "expand[]", "cursor"}
INFO_KEYS = {"blobs", "securityStatus", "expand", "expand[]"}
SORTS = {"downloads", "likes", "lastModified", "createdAt", "trendingScore"}


@dataclass(frozen=True)
class Asked:
    """One request as the API sees it."""

    method: str
    path: str
    query: Query
    token: str | None = None
    form: Query = field(default_factory=dict)
    instead: Content | None = None

    def true(self, key: str) -> bool:
        """Whether a parameter is set to true, as the client writes it or as JavaScript does."""
        return self.query.get(key, [""])[0].lower() in ("true", "1")


@dataclass(frozen=True)
class Reply:
    """What is sent back; `file` with its length, ranges and ETag, else `body`."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    file: Content | None = None


def told(value: Any, headers: Mapping[str, str] | None = None, status: int = 200) -> Reply:
    """A JSON answer."""
    return Reply(
        status, {"Content-Type": "application/json; charset=utf-8", **(headers or {})}, json.dumps(value).encode()
    )


def failed(status: int, message: str, code: str = "", headers: Mapping[str, str] | None = None) -> Reply:
    """A failure as the hub tells it: in headers, because HEAD has no body, and in the body."""
    named = {"X-Error-Code": code} if code else {}
    return told({"error": message}, {**named, "X-Error-Message": message, **(headers or {})}, status)


def answer(hub: "Hub", asked: Asked) -> Reply:
    """The answer to a request."""
    if asked.token is not None and asked.token not in hub.tokens:
        return failed(401, "Invalid credentials in Authorization header")
    for pattern, handler in ROUTES:
        if match := re.fullmatch(pattern, asked.path):
            parts = {name: unquote(part) for name, part in match.groupdict().items() if part is not None}
            return handler(hub, asked, parts)
    return failed(404, "Sorry, we can't find the page you are looking for.")


def who(hub: "Hub", asked: Asked, parts: Mapping[str, str]) -> Reply:
    """Whose token it is."""
    if asked.token is None:
        return failed(401, "Invalid username or password.")
    role = {"displayName": "test", "role": "read"}
    name = hub.tokens[asked.token]
    return told({"type": "user", "id": name, "name": name, "orgs": [], "auth": {"accessToken": role}})


def harnesses(hub: "Hub", asked: Asked, parts: Mapping[str, str]) -> Reply:
    """What the client asks before its first request, unless telemetry is off."""
    return told({"standardEnvVars": [], "harnesses": {}})


def search(hub: "Hub", asked: Asked, parts: Mapping[str, str]) -> Reply:
    """The repositories that match, page by page."""
    query = asked.query
    if wrong := set(query) - SEARCH_KEYS:
        return failed(400, f"Unknown parameters: {sorted(wrong)}")
    sort = query.get("sort", ["trendingScore"])[0]
    if sort not in SORTS:
        return failed(400, f"Unknown sort: {sort}")
    fields = expanded(query) or (FULL_FIELDS if asked.true("full") else DEFAULT_FIELDS)
    fields = (*fields, *(name for name in ("config", "cardData") if asked.true(name)))
    found = [repository for repository in hub.repositories.values() if matches(hub, repository, asked)]
    found.sort(key=lambda one: one.told(one.main, (sort,)).get(sort, 0), reverse=True)
    start = int(query.get("cursor", ["0"])[0])
    size = min(int(query.get("limit", [str(hub.page_size)])[0]), hub.page_size)
    page = [repository.told(repository.main, fields) for repository in found[start : start + size]]
    more = start + size < len(found)
    return told(page, next_page(hub, asked, start + size) if more else None)


def matches(hub: "Hub", repository: Repository, asked: Asked) -> bool:
    """Whether a search finds this repository."""
    query, tags = asked.query, set(repository.tags(repository.main))
    if repository.private and not may_read(hub, repository, asked):
        return False
    words = query.get("search", [""])[0].lower().split()
    wanted = {*query.get("filter", []), *query.get("pipeline_tag", []), *(["gguf"] if "apps" in query else [])}
    author = query.get("author", [None])[0]
    return (
        all(word in repository.id.lower() for word in words)
        and wanted <= tags
        and (author is None or repository.id.startswith(f"{author}/"))
        and ("gated" not in query or asked.true("gated") == bool(repository.gated))
        and sized(repository, query.get("num_parameters", [""])[0])
    )


def sized(repository: Repository, bounds: str) -> bool:
    """Whether its parameters are within "min:1B,max:8B"."""
    if not bounds:
        return True
    scale = {"K": 1e3, "M": 1e6, "B": 1e9}
    told_safetensors = repository.told_safetensors or repository.main.safetensors or repository.gguf or {}
    total = told_safetensors.get("total")
    if total is None:
        return False
    for bound in bounds.split(","):
        side, _, number = bound.partition(":")
        limit = float(number.rstrip("KMB")) * scale.get(number[-1], 1)
        if (side == "min" and total < limit) or (side == "max" and total > limit):
            return False
    return True


def expanded(query: Query) -> tuple[str, ...]:
    """The only fields wanted; empty for the usual ones."""
    return tuple(query.get("expand", []) + query.get("expand[]", []))


def next_page(hub: "Hub", asked: Asked, cursor: int) -> dict[str, str]:
    """The header that leads to the next page."""
    query = urlencode({**asked.query, "cursor": [str(cursor)]}, doseq=True)
    return {"Link": f'<{hub.url}{asked.path}?{query}>; rel="next"'}


def may_read(hub: "Hub", repository: Repository, asked: Asked) -> bool:
    """Whether the token is one of a user with access."""
    return asked.token is not None and hub.tokens[asked.token] in repository.readers


def reach(hub: "Hub", asked: Asked, parts: Mapping[str, str]) -> tuple[Repository, Commit] | Reply:
    """The repository and the commit asked for, or why not. A private one does not exist for strangers."""
    repository = hub.repositories.get(parts["repo"])
    if repository is None or (repository.private and not may_read(hub, repository, asked)):
        status, message = (
            (401, "Invalid username or password.") if asked.token is None else (404, "Repository not found")
        )
        return failed(status, message, "RepoNotFound")
    if repository.disabled:
        return failed(403, "Access to this resource is disabled.")
    commit = repository.find(parts.get("rev", "main"))
    if commit is None:
        return failed(404, f"Invalid rev id: {parts['rev']}", "RevisionNotFound")
    return repository, commit


def closed(hub: "Hub", asked: Asked, repository: Repository) -> Reply | None:
    """Why a gated repository's files are not given, None where they are."""
    if not repository.gated or may_read(hub, repository, asked):
        return None
    if asked.token is None:
        why = "is restricted. You must have access to it and be authenticated to access it. Please log in."
        return failed(401, f"Access to model {repository.id} {why}", "GatedRepo")
    why = f"is restricted and you are not in the authorized list. Visit {hub.url}/{repository.id} to ask for access."
    return failed(403, f"Access to model {repository.id} {why}", "GatedRepo")


def info(hub: "Hub", asked: Asked, parts: Mapping[str, str]) -> Reply:
    """All about a repository; open for gated ones too."""
    if wrong := set(asked.query) - INFO_KEYS:
        return failed(400, f"Unknown parameters: {sorted(wrong)}")
    reached = reach(hub, asked, parts)
    if isinstance(reached, Reply):
        return reached
    repository, commit = reached
    value = repository.told(commit, expanded(asked.query) or INFO_FIELDS, asked.true("blobs"))
    if asked.true("securityStatus"):
        value["securityRepoStatus"] = {"scansDone": True, "filesWithIssues": []}
    return told(value)


def listing(hub: "Hub", asked: Asked, parts: Mapping[str, str]) -> Reply:
    """The tree, page by page."""
    reached = reach(hub, asked, parts)
    if isinstance(reached, Reply):
        return reached
    expand = asked.true("expand")
    entries = tree(reached[1], parts.get("folder", ""), asked.true("recursive"), expand, hub.xet)
    if entries is None:
        return failed(404, f"{parts['folder']} does not exist on {parts['rev']}", "EntryNotFound")
    start, size = int(asked.query.get("cursor", ["0"])[0]), min(hub.page_size, 50 if expand else 1000)
    more = start + size < len(entries)
    return told(entries[start : start + size], next_page(hub, asked, start + size) if more else None)


def paths(hub: "Hub", asked: Asked, parts: Mapping[str, str]) -> Reply:
    """What the tree says of some paths; those that do not exist are left out."""
    reached = reach(hub, asked, parts)
    if isinstance(reached, Reply):
        return reached
    commit = reached[1]
    expand = asked.form.get("expand", [""])[0].lower() == "true"
    known: dict[str, Content | None] = dict.fromkeys(commit.directories) | dict(commit.files)
    found = [path for path in asked.form.get("paths", []) if path in known]
    return told([tree_entry(path, known[path], commit, expand, hub.xet) for path in found])


def refs(hub: "Hub", asked: Asked, parts: Mapping[str, str]) -> Reply:
    """Branches and tags."""
    reached = reach(hub, asked, parts)
    if isinstance(reached, Reply):
        return reached
    repository = reached[0]
    named = {
        "branches": [
            {"name": name, "ref": f"refs/heads/{name}", "targetCommit": sha}
            for name, sha in repository.branches.items()
        ],
        "tags": [
            {"name": name, "ref": f"refs/tags/{name}", "targetCommit": sha} for name, sha in repository.git_tags.items()
        ],
    }
    return told({**named, "converts": [], "pullRequests": []})


def allowed(hub: "Hub", asked: Asked, parts: Mapping[str, str]) -> Reply:
    """Whether the files may be read."""
    reached = reach(hub, asked, parts)
    return reached if isinstance(reached, Reply) else closed(hub, asked, reached[0]) or told({})


def shard_headers(hub: "Hub", asked: Asked, parts: Mapping[str, str]) -> Reply:
    """The headers of all shards of an index on the main branch, at once."""
    reached = reach(hub, asked, parts)
    if isinstance(reached, Reply):
        return reached
    repository, commit = reached
    if refusal := closed(hub, asked, repository):
        return refusal
    index = commit.json(parts["file"])
    if not index:
        return failed(404, "Entry not found", "EntryNotFound")
    shards = set(index.get("weight_map", {}).values())
    headers = {path: header for path, header in commit.headers().items() if path in shards}
    return told({"index": {"metadata": index.get("metadata")}, "headers": headers})


def resolve(hub: "Hub", asked: Asked, parts: Mapping[str, str]) -> Reply:
    """A file: small ones directly, LFS ones from the other host."""
    reached = reach(hub, asked, parts)
    if isinstance(reached, Reply):
        return reached
    repository, commit = reached
    if refusal := closed(hub, asked, repository):
        return refusal
    of_commit = {"X-Repo-Commit": commit.sha}
    content = asked.instead or commit.files.get(parts["file"])
    if content is None:
        return failed(404, "Entry not found", "EntryNotFound", of_commit)
    if not content.is_lfs:
        return Reply(headers={"Content-Type": "text/plain; charset=utf-8", **of_commit}, file=content)
    linked = {"X-Linked-Etag": f'"{content.sha256}"', "X-Linked-Size": str(content.size_bytes)}
    if hub.xet:
        token_url = f"{hub.url}/api/models/{repository.id}/xet-read-token/{commit.sha}"
        linked |= {"X-Xet-Hash": content.sha256, "Link": f'<{token_url}>; rel="xet-auth"'}
    where = f"{hub.cdn_url}/cdn/{content.sha256}/{quote(parts['file'])}?{urlencode(hub.signed(content.sha256))}"
    return Reply(302, {"Location": where, **linked, **of_commit, "ETag": f'"{content.oid}"'})


def stored(hub: "Hub", asked: Asked) -> Reply:
    """An LFS object on the other host, for whoever has the signature and brings no token."""
    match = re.fullmatch(r"/cdn/([0-9a-f]{64})/.+", asked.path)
    content = hub.objects.get(match[1]) if match else None
    if asked.token is not None:
        return Reply(400, body=b"<Error><Message>Only one auth mechanism allowed</Message></Error>")
    if content is None or {name: values[0] for name, values in asked.query.items()} != hub.signed(content.sha256):
        return Reply(403, body=b"<Error><Code>AccessDenied</Code></Error>")
    name = quote(asked.path.rsplit("/", 1)[-1])
    shown = {"Content-Disposition": f'inline; filename="{name}";', "Content-Type": "application/octet-stream"}
    return Reply(headers=shown, file=asked.instead or content)


Handler = Callable[["Hub", Asked, Mapping[str, str]], Reply]
ROUTES: tuple[tuple[str, Handler], ...] = (
    (r"/api/whoami-v2", who),
    (r"/api/agent-harnesses", harnesses),
    (r"/api/models", search),
    (rf"/api/models/{REPO}/tree/(?P<rev>[^/]+)(?:/(?P<folder>.+))?", listing),
    (rf"/api/models/{REPO}/paths-info/(?P<rev>[^/]+)", paths),
    (rf"/api/models/{REPO}/revision/(?P<rev>[^/]+)", info),
    (rf"/api/models/{REPO}/safetensors-metadata/(?P<file>.+)", shard_headers),
    (rf"/api/models/{REPO}/refs", refs),
    (rf"/api/models/{REPO}/auth-check", allowed),
    (rf"/api/models/{REPO}", info),
    (rf"/{REPO}/resolve/(?P<rev>[^/]+)/(?P<file>.+)", resolve),
)
