"""The console's files, as npm built them, and its addresses: any path that is no file is the console's own
and gets index.html (history fallback). Files are found by name in a table made from the folder, so no path of
a request ever reaches the file system.
"""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
import re
from pathlib import Path

import msgspec

CONSOLE = Path(__file__).resolve().parent / "console"

_HASHED = re.compile(r"^assets/.*[-.][A-Za-z0-9_-]{8,}\.[a-z0-9]+$")
_TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
    ".ico": "image/x-icon",
    ".txt": "text/plain; charset=utf-8",
}
_PACKED = frozenset({".js", ".mjs", ".css", ".html", ".json", ".svg", ".webmanifest", ".txt"})
_LEAST = 1024  # bytes below which packing gains nothing

_NOT_BUILT = """<!doctype html>
<html lang="zh"><meta charset="utf-8"><title>引泉 Headrace</title>
<h1>控制台尚未构建</h1>
<p>接口已在运行，但没有控制台的文件。请在源码目录运行 <code>scripts/setup</code>，然后刷新本页。</p>
<h1 lang="en">The console is not built</h1>
<p lang="en">The API is running, but the console's files are missing. Run <code>scripts/setup</code> in the
source checkout, then reload this page.</p>
</html>
"""


class Asset(msgspec.Struct, frozen=True):
    """One file, whole and packed (empty where packing gains nothing)."""

    body: bytes
    packed: bytes
    type: str
    etag: str
    forever: bool  # its name holds a hash of its content


class Console:
    """The files below `folder`, held in memory; read again when index.html changes, so that a new build is
    served without a restart."""

    def __init__(self, folder: Path = CONSOLE) -> None:
        self._folder = folder
        self._stamp: tuple[int, int] | None = None
        self._assets: dict[str, Asset] = {}
        self._missing = _asset(_NOT_BUILT.encode(), ".html", forever=False)

    def find(self, path: str) -> tuple[Asset, int]:
        """The answer for `path` ("/", "/trend", "/assets/x.js") and its status."""
        self._refresh()
        name = path.lstrip("/")
        if asset := self._assets.get(name):
            return asset, 200
        index = self._assets.get("index.html")
        if index is None:
            return self._missing, 503
        if name.startswith("assets/"):  # a file of an older build: index.html in its place would mislead
            return index, 404
        return index, 200

    def _refresh(self) -> None:
        try:
            stat = (self._folder / "index.html").stat()
        except OSError:
            self._stamp, self._assets = None, {}
            return
        stamp = (stat.st_mtime_ns, stat.st_size)
        if stamp == self._stamp:
            return
        self._assets = {
            name: _asset(path.read_bytes(), path.suffix.lower(), forever=bool(_HASHED.match(name)))
            for path in sorted(self._folder.rglob("*"))
            if path.is_file() and (name := path.relative_to(self._folder).as_posix())
        }
        self._stamp = stamp


def _asset(body: bytes, suffix: str, *, forever: bool) -> Asset:
    packed = gzip.compress(body, 6, mtime=0) if suffix in _PACKED and len(body) >= _LEAST else b""
    return Asset(
        body=body,
        packed=packed if len(packed) < len(body) else b"",
        type=_TYPES.get(suffix) or mimetypes.types_map.get(suffix, "application/octet-stream"),
        etag='"' + hashlib.sha256(body).hexdigest()[:20] + '"',
        forever=forever,
    )


def answer(
    asset: Asset, status: int, *, accepts_gzip: bool, if_none_match: str
) -> tuple[int, bytes, dict[str, str]]:
    """Status, body and headers."""
    caching = "public, max-age=31536000, immutable" if asset.forever else "no-cache"
    headers = {"content-type": asset.type, "cache-control": caching}
    if status != 200:
        headers["cache-control"] = "no-store"
        return status, asset.body, headers
    headers |= {"etag": asset.etag, "vary": "accept-encoding"}
    if asset.etag in if_none_match:
        return 304, b"", headers
    if accepts_gzip and asset.packed:
        return 200, asset.packed, {**headers, "content-encoding": "gzip"}
    return 200, asset.body, headers
