"""The project's recordings of the API, replayed over HTTP. `pytest -s` prints how many."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest
import recordings as recorded
from proxying import replaying

from agentkit.emulator.recordings.recording import Recorded, Recording

pytestmark = pytest.mark.recordings


def converted(exchange: dict[str, Any]) -> Recorded:
    """An exchange of the project's recordings as one of agentkit's."""
    body, stream = exchange["response_body"], exchange["response_sse"]
    media_type = "text/event-stream; charset=utf-8" if stream else "application/json"
    headers = {name.lower(): value for name, value in exchange["response_headers"].items()}
    return Recorded(
        method=exchange["method"],
        path=exchange["path"].partition("?")[0],
        request=json.dumps(exchange["request_body"]).encode(),
        upstream=f"https://{exchange['host']}",
        status=exchange["status"],
        response_headers={"content-type": headers.get("content-type", media_type)},
        response=stream.encode() if stream else json.dumps(body, ensure_ascii=False).encode(),
    )


def replayed(path: Path, exchanges: list[dict[str, Any]]) -> Counter[str]:
    """Counts what came back byte for byte."""
    recording = Recording.to_append(path)
    wanted = [converted(exchange) for exchange in exchanges]
    for one in wanted:
        recording.append(one)
    counts: Counter[str] = Counter(exchanges=len(wanted), distinct=len({one.key for one in wanted}))
    with replaying(path) as url, httpx.Client(verify=False) as http:
        for one in wanted:
            answer = http.request(one.method, url + one.path, content=one.request)
            assert (answer.status_code, answer.content) == (one.status, one.response), one.key[:200]
            counts[f"status {answer.status_code}"] += 1
            counts["streams"] += "event-stream" in answer.headers["content-type"]
    return counts


def with_request() -> list[dict[str, Any]]:
    return [exchange for exchange in recorded.exchanges() if exchange["request_body"]]


def test_a_sample_comes_back_byte_for_byte(tmp_path: Path) -> None:
    sample = with_request()[::32]
    counts = replayed(tmp_path / "sample.jsonl.gz", sample)
    print(dict(counts))
    assert counts["exchanges"] >= 45
    assert counts["streams"] >= 10


@pytest.mark.slow
def test_all_come_back_byte_for_byte(tmp_path: Path) -> None:
    counts = replayed(tmp_path / "all.jsonl", with_request())
    print(dict(counts))
    assert counts["exchanges"] >= 1590
    assert counts["streams"] >= 500
