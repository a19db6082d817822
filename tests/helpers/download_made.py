"""A server on this machine that can fail in many ways, and small sets to fetch from it."""

import hashlib
import io
import tarfile
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from redoseg.data.download.catalogue import SETS, DownloadableSet, RemoteFile


@dataclass
class Server:
    """What 127.0.0.1 answers: bytes under a path, and how; the paths asked for, in order."""

    address: str
    files: dict[str, bytes] = field(default_factory=dict)
    breaks: dict[str, int] = field(default_factory=dict)
    """Path -> how many answers break off in the middle."""
    errs: dict[str, list[int]] = field(default_factory=dict)
    """Path -> statuses to answer with first."""
    silent: set[str] = field(default_factory=set)
    """Paths whose answers don't say how long they are."""
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def url(self, path: str) -> str:
        return f"{self.address}/{path}"


class Handler(BaseHTTPRequestHandler):
    state: Server

    def do_GET(self) -> None:
        path, state = self.path.lstrip("/"), self.state
        state.asked.append(path)
        statuses = state.errs.get(path, [])
        if path not in state.files or statuses:
            self.send_error(statuses.pop(0) if statuses else 404)
            return
        content = state.files[path]
        self.send_response(200)
        for name, value in state.headers.get(path, {}).items():
            self.send_header(name, value)
        if path not in state.silent:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if state.breaks.get(path, 0) > 0:
            state.breaks[path] -= 1
            content = content[: len(content) // 2]
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


CONTENT = bytes(range(256)) * 4000


def md5(content: bytes) -> str:
    return f"md5:{hashlib.md5(content).hexdigest()}"


def tar(*members: tuple[str, bytes | tarfile.TarInfo]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name) if isinstance(content, bytes) else content
            if isinstance(content, bytes):
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content if isinstance(content, bytes) else b""))
    return packed.getvalue()


def special(kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo("jpg/special")
    info.type, info.linkname = kind, target
    return info


def a_set(*files: RemoteFile) -> DownloadableSet:
    return replace(SETS["flowers"], name="roses", files=files)


def plain(server: Server, name: str = "list.txt", content: bytes = CONTENT, known: bool = True) -> RemoteFile:
    server.files[name] = content
    return RemoteFile(name, (server.url(name),), sum=md5(content) if known else None)


PHOTOS = tar(
    ("./jpg/a.jpg", b"one"), ("./jpg/more/b.jpg", b"two"), ("notes.txt", b"no"), ("jpg/._a.jpg", b"no")
)


def packed(server: Server, content: bytes = PHOTOS, known: bool = True) -> RemoteFile:
    return replace(plain(server, "photos.tgz", content, known), unpacked={"jpg": "photos/jpg"})


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
