"""API keys and their limits."""

from __future__ import annotations

import asyncio
import hmac
from pathlib import Path

import httpx
import pytest

from gateway import keys
from gateway.app import create_app
from gateway.keys import Bucket, KeysError, digest, find_key, load_keys
from gateway.settings import Settings
from tests.unit.gateway.engine import BODY, Engine, gateway

FIRST, SECOND = "the-first-key-0123456789", "the-second-key-0123456789"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text(f"# two\n\nfirst:{FIRST}\nsecond:{SECOND}\n")
    return path


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def test_a_key_opens_and_others_do_not(file: Path):
    with gateway(api_keys_file=str(file)) as client:
        assert client.post("/predict", json=BODY, headers=bearer(FIRST)).status_code == 200
        assert client.post("/predict", json=BODY, headers={"authorization": f"bearer  {SECOND}"}).status_code == 200
        for wrong in ({}, bearer(""), bearer(FIRST + "x"), bearer("first"), {"authorization": FIRST}, bearer("ü" * 20)):
            raw = {name: value.encode("latin-1") for name, value in wrong.items()}
            response = client.post("/predict", json=BODY, headers=raw)
            assert response.status_code == 401 and list(response.json()) == ["success", "error"]
            assert response.headers["www-authenticate"].startswith("Bearer")
            assert "x-request-id" in response.headers
        assert "is needed" in client.post("/predict", json=BODY).json()["error"]
        assert "is not valid" in client.post("/predict", json=BODY, headers=bearer(FIRST[:-1])).json()["error"]
        assert client.get("/metrics").status_code == 401 and client.get("/nothing").status_code == 401
        for path in ("/healthz", "/readyz", "/openapi.json", "/docs", "/docs/assets/swagger-ui.css"):
            assert client.get(path).status_code == 200, path
        assert client.get("/metrics", headers=bearer(FIRST)).status_code == 200


def test_every_key_is_compared_in_constant_time(file: Path, monkeypatch: pytest.MonkeyPatch):
    known, compared = load_keys(Settings(api_keys_file=str(file))), []

    def compare(first: bytes, second: bytes) -> bool:
        compared.append((first, second))
        return first == second

    monkeypatch.setattr(hmac, "compare_digest", compare)
    assert [find_key(known, text) for text in (FIRST, SECOND, "x")] == [*known, None]
    assert len(compared) == 6 and {len(part) for pair in compared for part in pair} == {32}


def test_a_key_has_a_limit_of_requests_of_its_own(file: Path, monkeypatch: pytest.MonkeyPatch):
    now = 100.0
    monkeypatch.setattr(keys.time, "monotonic", lambda: now)
    with gateway(api_keys_file=str(file), key_requests_per_minute=3) as client:

        def ask(key: str) -> httpx.Response:
            return client.post("/predict", json=BODY, headers=bearer(key))

        assert [ask(FIRST).status_code for _ in range(4)] == [200, 200, 200, 429]
        limited = ask(FIRST)
        assert list(limited.json()) == ["success", "error"] and 20 <= int(limited.headers["retry-after"]) <= 21
        assert ask(SECOND).status_code == 200
        now += 20.5
        assert [ask(FIRST).status_code for _ in range(2)] == [200, 429]


def test_a_bucket_fills_to_its_size_and_zero_is_no_limit(monkeypatch: pytest.MonkeyPatch):
    now = 0.0
    monkeypatch.setattr(keys.time, "monotonic", lambda: now)
    bucket, endless = Bucket(2), Bucket(0)
    now = 1e6
    assert [bucket.take() for _ in range(3)] == [0, 0, 30]
    assert not any(endless.take() for _ in range(1000))


def test_a_key_has_a_limit_of_explanations_of_its_own(file: Path):
    async def scenario() -> None:
        engine = Engine()
        engine.answers.clear()
        app = create_app(Settings(api_keys_file=str(file), key_explanations=1), engine)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:

            def explain(key: str) -> asyncio.Task[httpx.Response]:
                body = BODY | {"explain": True}
                return asyncio.create_task(client.post("/predict", json=body, headers=bearer(key)))

            running = [explain(FIRST), explain(SECOND)]
            while len(engine.asked) < 2:
                await asyncio.sleep(0.01)
            limited = await explain(FIRST)
            assert limited.status_code == 429 and int(limited.headers["retry-after"]) > 0
            engine.answers.set()
            assert [response.status_code for response in await asyncio.gather(*running)] == [200, 200]
            assert (await explain(FIRST)).status_code == 200

    asyncio.run(asyncio.wait_for(scenario(), 20))


@pytest.mark.parametrize(
    "text", ["# nothing\n", "short:abc\n", f"{FIRST}\n", f"a b:{FIRST}\n", f"x:{FIRST}\nx:{SECOND}\n"]
)
def test_a_wrong_file_is_refused_without_repeating_it(file: Path, text: str):
    file.write_text(text)
    with pytest.raises(KeysError, match="MLBIO_API_KEYS_FILE") as refused:
        load_keys(Settings(api_keys_file=str(file)))
    assert FIRST not in str(refused.value)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_a_file_of_keys_is_as_windows_writes_it(file: Path, encoding: str):
    file.write_bytes(f"# clés\r\n first:{FIRST} \r\n\r\nsecond:{SECOND}\r\n".encode(encoding))
    assert [key.digest for key in load_keys(Settings(api_keys_file=str(file)))] == [digest(FIRST), digest(SECOND)]


def test_all_wrong_lines_are_named_at_once(file: Path):
    file.write_text(f"a:{FIRST}\n{SECOND}\n\nb:short\na:{SECOND}\n")
    with pytest.raises(KeysError, match="line 2, 4, 5: NAME:KEY is needed") as refused:
        load_keys(Settings(api_keys_file=str(file)))
    assert SECOND not in str(refused.value)


def test_a_file_that_is_missing_is_refused(tmp_path: Path):
    with pytest.raises(KeysError, match="cannot be read"):
        create_app(Settings(api_keys_file=str(tmp_path / "none")), Engine())


def test_without_a_file_nobody_needs_a_key():
    assert load_keys(Settings()) == []
