"""The console's files."""

import gzip
from pathlib import Path
from typing import Any

import pytest

from headrace.api.static import Console

INDEX = b"<!doctype html><script src=/assets/index-B1gxYz09.js></script>"
SCRIPT = b"console.log('x');" * 200


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    built = tmp_path / "built"
    (built / "assets").mkdir(parents=True)
    (built / "index.html").write_bytes(INDEX)
    (built / "favicon.svg").write_bytes(b"<svg/>")
    (built / "assets" / "index-B1gxYz09.js").write_bytes(SCRIPT)
    (tmp_path / "secret.txt").write_text("secret")
    return built


async def test_files_history_fallback_and_caching(start: Any, folder: Path, tmp_path: Path) -> None:
    node = await start(console=folder)
    async with node.connect() as browser:

        async def get(path: str, **headers: str) -> Any:
            return await browser.get(node.url + path, headers=headers)

        for path in ("/", "/trend", "/machines/oven", "/index.html", "/no/such/page"):
            page = await get(path)
            assert (page.status_code, page.content) == (200, INDEX)
            assert page.headers["content-type"] == "text/html; charset=utf-8"
            assert page.headers["cache-control"] == "no-cache"
        again = await get("/", **{"if-none-match": page.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        script = await get("/assets/index-B1gxYz09.js", **{"accept-encoding": "gzip"})
        assert script.content == SCRIPT
        assert script.headers["content-encoding"] == "gzip"
        assert script.headers["content-type"].startswith("text/javascript")
        assert script.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert int(script.headers["content-length"]) == len(gzip.compress(SCRIPT, 6, mtime=0))
        plain = await get("/assets/index-B1gxYz09.js", **{"accept-encoding": "identity"})
        assert "content-encoding" not in plain.headers
        assert plain.content == SCRIPT
        icon = await get("/favicon.svg")
        assert icon.headers["content-type"] == "image/svg+xml"
        assert icon.headers["cache-control"] == "no-cache"
        older = await get("/assets/index-OLDER000.js")
        assert older.status_code == 404
        for path in ("/%2e%2e/secret.txt", "/..%2fsecret.txt", "/assets/%2e%2e/%2e%2e/secret.txt"):
            assert b"secret" not in (await get(path)).content
        head = await browser.head(node.url + "/")
        assert (head.status_code, head.content) == (200, b"")
        assert (await browser.post(node.url + "/")).status_code == 405


async def test_a_missing_build_says_what_to_do(node: Any) -> None:
    async with node.connect() as browser:
        page = await browser.get(node.url + "/")
    assert page.status_code == 503
    assert "scripts/setup" in page.text
    assert "控制台尚未构建" in page.text
    assert page.headers["cache-control"] == "no-store"


def test_a_new_build_is_served_without_a_restart(folder: Path) -> None:
    console = Console(folder)
    assert console.find("/")[0].body == INDEX
    (folder / "assets" / "index-B1gxYz09.js").unlink()
    (folder / "assets" / "index-Cnew0000.js").write_bytes(b"new")
    (folder / "index.html").write_bytes(INDEX + b"<!-- new -->")
    assert console.find("/")[0].body.endswith(b"<!-- new -->")
    assert console.find("/assets/index-Cnew0000.js")[0].body == b"new"
    assert console.find("/assets/index-B1gxYz09.js")[1] == 404
    (folder / "index.html").unlink()
    assert console.find("/")[1] == 503
