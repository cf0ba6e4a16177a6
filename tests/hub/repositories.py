"""What the stand-in hub holds: repositories with their commits, told as the hub's API tells them."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from tests.hub.contents import Content

CREATED = datetime(2025, 1, 1, tzinfo=UTC)
DEFAULT_FIELDS = ("likes", "private", "downloads", "tags", "pipeline_tag", "library_name", "createdAt")
FULL_FIELDS = (*DEFAULT_FIELDS, "author", "gated", "lastModified", "sha", "siblings", "disabled")
INFO_FIELDS = (*FULL_FIELDS, "cardData", "config", "safetensors", "gguf", "spaces", "usedStorage")


@dataclass(frozen=True)
class Commit:
    """The files at one moment, by path."""

    sha: str
    files: Mapping[str, Content]
    at: datetime

    @cached_property
    def directories(self) -> set[str]:
        """The folders that the files are in."""
        parts = (path.split("/")[:-1] for path in self.files)
        return {"/".join(part[: depth + 1]) for part in parts for depth in range(len(part))}

    @cached_property
    def safetensors(self) -> dict[str, Any] | None:
        """Parameters by weight type, counted in the files' own headers; None where there are none to be read."""
        counted: dict[str, int] = {}
        for header in self.headers().values():
            for tensor in (value for name, value in header.items() if name != "__metadata__"):
                elements = 1
                for length in tensor["shape"]:
                    elements *= length
                counted[tensor["dtype"]] = counted.get(tensor["dtype"], 0) + elements
        return {"parameters": counted, "total": sum(counted.values())} if counted else None

    def headers(self) -> dict[str, dict[str, Any]]:
        """The header of each readable safetensors file, by path."""
        found = {}
        for path, content in self.files.items():
            if path.endswith(".safetensors"):
                length = int.from_bytes(content.read(0, 8), "little")
                if length < content.size_bytes and isinstance(header := parsed(content.read(8, length)), dict):
                    found[path] = header
        return found

    def json(self, path: str) -> dict[str, Any]:
        """A JSON file's object; empty where there is none or it cannot be one."""
        content = self.files.get(path)
        value = parsed(content.read(0, content.size_bytes)) if content and content.size_bytes < 2**24 else None
        return value if isinstance(value, dict) else {}


def parsed(text: bytes) -> Any:
    """What the JSON says; None where it is none."""
    try:
        return json.loads(text)
    except ValueError:
        return None


@dataclass
class Repository:
    """A model repository; branches and tags name its commits."""

    id: str
    gated: str | bool = False
    private: bool = False
    disabled: bool = False
    readers: set[str] = field(default_factory=set)
    """The users who may read it although it is gated or private."""
    downloads: int = 0
    likes: int = 0
    card: dict[str, Any] = field(default_factory=dict)
    extra_tags: tuple[str, ...] = ()
    library: str | None = None
    pipeline_tag: str | None = None
    told_safetensors: dict[str, Any] | None = None
    """What the hub claims in the place of what the headers say."""
    gguf: dict[str, Any] | None = None
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    git_tags: dict[str, str] = field(default_factory=dict)

    def commit(self, files: Mapping[str, Content], branch: str = "main") -> Commit:
        """A new commit with exactly these files; the branch moves to it."""
        what = [
            self.id,
            len(self.commits),
            branch,
            *(f"{path}{content.oid}" for path, content in sorted(files.items())),
        ]
        made = Commit(
            hashlib.sha1(repr(what).encode()).hexdigest(), dict(files), CREATED + timedelta(days=len(self.commits))
        )
        self.commits[made.sha] = made
        self.branches[branch] = made.sha
        return made

    def find(self, revision: str) -> Commit | None:
        """The commit that a branch, a tag or a hash names."""
        named = self.branches.get(revision) or self.git_tags.get(revision) or revision
        return self.commits.get(named.removeprefix("refs/heads/"))

    @property
    def main(self) -> Commit:
        """The newest commit of the main branch."""
        return self.commits[self.branches["main"]]

    def tags(self, commit: Commit) -> list[str]:
        """The card's tags and those which the hub adds."""
        suffixes = {path.rsplit(".", 1)[-1] for path in commit.files}
        base = listed(self.card.get("base_model"))
        made = "gguf" in suffixes or {"mlx", "openvino", "onnx"} & set(self.extra_tags)
        relation = "quantized" if made else "finetune"
        return [
            *([self.library] if self.library else []),
            *(kind for kind in ("safetensors", "gguf") if kind in suffixes),
            *([commit.json("config.json")["model_type"]] if "model_type" in commit.json("config.json") else []),
            *self.extra_tags,
            *([self.pipeline_tag] if self.pipeline_tag else []),
            *listed(self.card.get("language")),
            *(f"base_model:{name}" for name in base),
            *(f"base_model:{relation}:{name}" for name in base),
            *(f"license:{name}" for name in listed(self.card.get("license"))),
            "region:us",
        ]

    def told(self, commit: Commit, fields: Iterable[str], blobs: bool = False) -> dict[str, Any]:
        """What the API says of the repository at a commit, these fields of it."""
        safetensors = self.told_safetensors or commit.safetensors
        base = listed(self.card.get("base_model"))
        config = commit.json("config.json")
        keep = ("architectures", "model_type", "auto_map", "quantization_config")
        short = {name: config[name] for name in keep if name in config}
        tokenizer = commit.json("tokenizer_config.json")
        facts: dict[str, Any] = {
            "likes": self.likes,
            "private": self.private,
            "downloads": self.downloads,
            "downloadsAllTime": self.downloads * 12,
            "tags": self.tags(commit),
            "pipeline_tag": self.pipeline_tag,
            "library_name": self.library,
            "createdAt": stamp(CREATED),
            "author": self.id.split("/")[0] if "/" in self.id else None,
            "gated": self.gated,
            "disabled": self.disabled,
            "lastModified": stamp(commit.at),
            "sha": commit.sha,
            "siblings": [sibling(path, content, blobs) for path, content in sorted(commit.files.items())],
            "cardData": self.card or None,
            "config": (short | {"tokenizer_config": tokenizer} if tokenizer else short) or None,
            "safetensors": safetensors,
            "gguf": self.gguf,
            "baseModels": {"relation": "quantized", "models": [{"id": name} for name in base]} if base else None,
            "spaces": [],
            "trendingScore": self.likes // 10,
            "usedStorage": sum(content.size_bytes for content in commit.files.values()),
        }
        head = {"_id": hashlib.sha1(self.id.encode()).hexdigest()[:24], "id": self.id, "modelId": self.id}
        return head | {name: facts[name] for name in fields if facts.get(name) is not None}


def listed(value: Any) -> list[str]:
    """A card's value, which may be one or several."""
    return [] if value is None else [value] if isinstance(value, str) else list(value)


def stamp(at: datetime) -> str:
    """A moment as the API writes it."""
    return at.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def sibling(path: str, content: Content, blobs: bool) -> dict[str, Any]:
    """A file as the repository's description lists it."""
    told: dict[str, Any] = {"rfilename": path}
    if blobs:
        told |= {"size": content.size_bytes, "blobId": content.oid}
        if content.is_lfs:
            told["lfs"] = {
                "sha256": content.sha256,
                "size": content.size_bytes,
                "pointerSize": len(content.pointer),
            }
    return told


def tree_entry(path: str, content: Content | None, commit: Commit, expand: bool, xet: bool) -> dict[str, Any]:
    """A file, or with no content a folder, as the tree lists it."""
    if content is None:
        told: dict[str, Any] = {
            "type": "directory",
            "oid": hashlib.sha1(path.encode()).hexdigest(),
            "size": 0,
            "path": path,
        }
    else:
        told = {"type": "file", "oid": content.oid, "size": content.size_bytes, "path": path}
        if content.is_lfs:
            told["lfs"] = {"oid": content.sha256, "size": content.size_bytes, "pointerSize": len(content.pointer)}
            if xet:
                told["xetHash"] = content.sha256
    if expand:
        told["lastCommit"] = {"id": commit.sha, "title": "Upload", "date": stamp(commit.at)}
        if content is not None:
            told["securityFileStatus"] = {"status": "safe", "avScan": None, "pickleImportScan": None}
    return told


def tree(commit: Commit, folder: str, recursive: bool, expand: bool, xet: bool) -> list[dict[str, Any]] | None:
    """What is in a folder, in the order of the paths; None where there is no such folder."""
    if folder and folder not in commit.directories:
        return None
    inside = re.compile(re.escape(f"{folder}/" if folder else "") + (".+" if recursive else "[^/]+"))
    every: dict[str, Content | None] = dict.fromkeys(commit.directories) | dict(commit.files)
    return [tree_entry(path, every[path], commit, expand, xet) for path in sorted(every) if inside.fullmatch(path)]
