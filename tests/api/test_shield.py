"""Who is let in: nothing but the open operations without credentials, no other site, no forged write."""

import asyncio
from typing import Any

import pytest

from headrace.api.shield import CSP, OPEN
from headrace.kernel import messages

in_module = pytest.mark.asyncio(loop_scope="module")

CSRF = {"x-headrace": "1"}


async def signed_in(shared: Any, **more: Any) -> Any:
    """A client with a session cookie."""
    client = shared.connect(**more)
    answer = await client.post("/session", json={"token": shared.token})
    assert answer.status_code == 200, answer.text
    return client


@in_module
async def test_nothing_but_the_open_operations_answers_without_credentials(shared: Any) -> None:
    """Walks over the description, so that an operation that is added later is covered too."""
    described = await shared.get("/openapi.json")
    found = []
    for credentials in ({}, {"cookie": "headrace-coating-1=x"}, {"authorization": "Basic b3duZXI6eA=="}):
        async with shared.connect(headers=credentials) as client:
            for path, item in described["paths"].items():
                for method in item:
                    below = path.removeprefix("/api/v1")
                    filled = below.replace("{id}", "x").replace("{name}", "x")
                    answer = await client.request(method, filled, json={} if method == "post" else None)
                    key = (method.upper(), below)
                    found.append(key)
                    if key not in OPEN:
                        assert answer.status_code == 401, key
                        assert answer.json()["code"] == "api.not_signed_in"
                        assert answer.headers["www-authenticate"].startswith("Bearer")
    assert set(found) >= OPEN
    assert len(set(found)) >= 29


@pytest.mark.parametrize("path", ["/nope", "/openapi", "/schema", "", "/", "/session/x", "/machines/"])
@in_module
async def test_what_does_not_exist_needs_credentials_too(shared: Any, path: str) -> None:
    async with shared.connect() as client:
        assert (await client.get(path)).status_code == 401
        assert (await client.put("/session")).status_code == 401


@pytest.mark.parametrize(
    "path",
    [
        "//api/v1/machines",
        "/api//v1/machines",
        "/api/v1//machines",
        "/./api/v1/machines",
        "/x/../api/v1/machines",
        "/api/v1%2Fmachines",
        "/%61pi/v1/machines",
        "/API/v1/machines",
        "/api/v1/session/../machines",
        "/api/v1/healthz/../machines",
        "/api/v1/healthz;x/../machines",
    ],
)
@in_module
async def test_no_spelling_of_an_address_gets_round_it(shared: Any, path: str) -> None:
    """Sent as it is, without the normalisation that HTTP clients do."""
    for method in ("GET", "POST"):
        status, body = await raw(shared.url, method, path)
        assert status in (401, 404, 405, 503), (method, path, status)  # 503: the console, which is not built
        assert b"curing-oven" not in body


async def raw(url: str, method: str, path: str) -> tuple[int, bytes]:
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
    )
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return int(answer.split()[1]), answer


@in_module
async def test_description_says_which_operations_are_open(shared: Any) -> None:
    described = await shared.get("/openapi.json")
    assert described["openapi"].startswith("3.1")
    ids = []
    for path, item in described["paths"].items():
        for method, told in item.items():
            ids.append(told["operationId"])
            is_open = (method.upper(), path.removeprefix("/api/v1")) in OPEN
            assert (told.get("security") == []) is is_open, path
            assert told["summary"]
            assert told["tags"]
            errors = [code for code in told["responses"] if code >= "400"]
            assert "500" in errors
            for code in errors:
                assert list(told["responses"][code]["content"]) == ["application/problem+json"], (path, code)
    assert len(ids) == len(set(ids))
    assert described["security"] == [{"session": []}, {"token": []}]


@in_module
async def test_sign_in_and_out(shared: Any) -> None:
    async with shared.connect() as client:
        before = (await client.get("/session")).json()
        assert before["signed_in"] is False
        assert before["user"] is None
        assert before["node"]["title"] == {"zh": "涂装车间", "en": "Coating"}
        answer = await client.post("/session", json={"token": shared.token})
        assert answer.status_code == 200
        assert answer.json()["signed_in"] is True
        cookie = answer.headers["set-cookie"]
        for part in ("HttpOnly", "SameSite=strict", "Path=/"):
            assert part.lower() in cookie.lower()
        assert "secure" not in cookie.lower(), "plain HTTP on loopback"
        assert shared.token not in cookie
        assert (await client.get("/machines")).status_code == 200
        assert (await client.get("/session")).json()["user"] == "owner"
        kept = dict(client.cookies)
        assert (await client.delete("/session")).status_code == 403, "a write by cookie needs the header"
        assert (await client.delete("/session", headers=CSRF)).status_code == 200
        assert (await client.get("/machines")).status_code == 401
    async with shared.connect(cookies=kept) as client:
        assert (await client.get("/machines")).status_code == 401, "a copy is worth nothing"


@in_module
async def test_cookie_names_differ_by_port(shared: Any) -> None:
    client = await signed_in(shared)
    assert list(client.cookies) == [f"headrace-coating-1-{client.base_url.port}"]
    await client.aclose()


async def test_wrong_tokens_are_slowed_down(node: Any) -> None:
    async with node.connect() as client:
        for _ in range(5):
            answer = await client.post("/session", json={"token": "wrong"})
            assert (answer.status_code, answer.json()["code"]) == (401, "api.wrong_token")
        answer = await client.post("/session", json={"token": node.token})
        assert (answer.status_code, answer.json()["code"]) == (429, "api.too_many_tries")
        assert int(answer.headers["retry-after"]) == answer.json()["retry_after"] == 1
        answer = await client.get("/machines", headers={"authorization": "Bearer wrong"})
        assert answer.status_code == 429, "bearer tokens count too"


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8088", "127.0.0.1.evil.example", "10.0.0.1", ""]
)
@in_module
async def test_other_names_are_not_ours(shared: Any, host: str) -> None:
    async with shared.connect(headers={"host": host}) as client:
        for path in ("/healthz", "/session", "/machines"):
            answer = await client.get(path)
            assert (answer.status_code, answer.json()["code"]) == (421, "api.wrong_host")
        assert (await client.get(f"{shared.url}/")).status_code == 421, "the console too"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:9", "LOCALHOST", "[::1]:8088", "127.0.0.2:1"])
@in_module
async def test_names_of_loopback_are_ours(shared: Any, host: str) -> None:
    async with shared.connect(headers={"host": host}) as client:
        assert (await client.get("/healthz")).status_code == 200


@in_module
async def test_forged_writes_are_refused(shared: Any) -> None:
    body = {"writes": []}
    client = await signed_in(shared)
    refused = await client.post("/writes", json=body)
    assert (refused.status_code, refused.json()["code"]) == (403, "api.no_csrf_header")
    refused = await client.post("/writes", json=body, headers={**CSRF, "origin": "http://127.0.0.1:1"})
    assert (refused.status_code, refused.json()["code"]) == (403, "api.other_origin")
    refused = await client.post("/writes", json=body, headers={**CSRF, "origin": "null"})
    assert refused.status_code == 403
    passed = await client.post("/writes", json=body, headers={**CSRF, "origin": shared.url})
    assert passed.json()["code"] == "api.nothing_to_write"
    await client.aclose()
    assert (await shared.client.post("/writes", json=body)).status_code == 400, "a bearer needs no header"
    async with shared.connect(headers={"origin": "http://evil.example"}) as other:
        refused = await other.post("/session", json={"token": shared.token})
        assert refused.json()["code"] == "api.other_origin", "nobody is signed in from elsewhere"


@in_module
async def test_every_answer_carries_the_headers(shared: Any) -> None:
    async with shared.connect() as client:
        for answer in [
            await client.get("/healthz"),
            await client.get("/machines"),
            await client.get(f"{shared.url}/trend"),
            await client.get("/healthz", headers={"host": "evil.example"}),
            await shared.client.get("/nope"),
        ]:
            assert answer.headers["content-security-policy"] == CSP
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["referrer-policy"] == "no-referrer"
            assert answer.headers["cross-origin-opener-policy"] == "same-origin"
            assert answer.headers["cross-origin-resource-policy"] == "same-origin"
            assert answer.headers["cache-control"] == "no-store"
            assert "server" not in answer.headers
    assert "unsafe" not in CSP


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/nope", None, 404, "api.no_such_path"),
        ("GET", "/machines/nope", None, 404, "api.no_such_machine"),
        ("GET", "/tags/no/such/tag", None, 404, "api.no_such_tag"),
        ("GET", "/screens/nope", None, 404, "api.no_such_screen"),
        ("GET", "/alarms/nope", None, 404, "api.no_such_alarm"),
        ("GET", "/gateway/connections/nope/plan", None, 404, "api.no_such_connection"),
        ("POST", "/machines", b"{}", 405, "api.method_not_allowed"),
        ("GET", "/tags?limit=abc", None, 400, "api.bad_request"),
        ("GET", "/tags?limit=0", None, 400, "api.bad_request"),
        ("GET", "/alarms?state=strange", None, 400, "api.bad_request"),
        ("POST", "/writes", b"{", 400, "api.not_json"),
        ("POST", "/writes", b"[" * 100_000, 400, "api.nested_too_deep"),
        ("POST", "/writes", b"{}", 400, "api.bad_request"),
        ("POST", "/writes", b'{"writes": [], "more": 1}', 400, "api.bad_request"),
        ("POST", "/writes", b'{"writes": "' + b"x" * (1 << 20) + b'"}', 413, "api.too_large"),
        ("GET", "/stream?topics=weather", None, 400, "api.no_such_topic"),
        ("GET", "/stream?machine=nope", None, 404, "api.no_such_machine"),
    ],
)
@in_module
async def test_errors_are_problem_documents(
    shared: Any, method: str, path: str, body: bytes | None, status: int, code: str
) -> None:
    for lang in ("zh", "en"):
        headers = {"accept-language": "zh-CN,zh;q=0.9,en;q=0.5" if lang == "zh" else "en"}
        answer = await shared.client.request(method, path, content=body, headers=headers)
        said = answer.json()
        assert (answer.status_code, said["code"]) == (status, code), answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert said["status"] == status
        assert said["detail"] == said[lang]
        assert said["zh"] != said["en"]
        assert said["type"] == f"urn:headrace:problem:{code}"
        assert "Traceback" not in answer.text
        if code == "api.bad_request":
            assert said["errors"][0]["zh"] and said["errors"][0]["en"]


@in_module
async def test_unexpected_errors_get_an_incident_and_no_details(
    shared: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("secret detail")

    monkeypatch.setattr("headrace.api.plant.Plant.summary", broken)
    logged: list[dict[str, Any]] = []
    monkeypatch.setattr("headrace.api.problems._log.error", lambda event, **facts: logged.append(facts))
    answer = await shared.client.get("/summary")
    assert answer.status_code == 500
    said = answer.json()
    assert said["code"] == "api.incident"
    assert said["incident"] in said["zh"] and said["incident"] in said["en"]
    assert "secret" not in answer.text
    assert any(facts["incident"] == said["incident"] for facts in logged)


def test_every_code_that_the_room_raises_is_in_the_table() -> None:
    import re
    from pathlib import Path

    room = Path(__file__).resolve().parents[2] / "src" / "headrace" / "api"
    used = {c for p in room.rglob("*.py") for c in re.findall(r'"(api\.[a-z_]+)"', p.read_text("utf-8"))}
    used -= {"api.json", "api.log"}
    assert len(used) > 30
    assert used == set(messages.read(room / "messages.toml"))
