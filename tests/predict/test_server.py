"""`ferops serve`: the same answers as `ferops predict`, to many at once, and a named refusal for what is beyond it."""

import asyncio
import base64
import contextlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from predict.pictures import encoded, portrait, temple
from predict.serving import FEROPS, Served, served
from support import MODEL

from ferops import ExpressionRecognizer
from ferops.commands import serve
from ferops.labels import NAMES
from ferops.predict.networks import SHIPPED
from ferops.tracking import store
from ferops.tracking.store import Store

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob: data:; media-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "permissions-policy": "camera=(self)",
    "cache-control": "no-store",
}
HTTP = httpx.Client(timeout=60, verify=False, limits=httpx.Limits(max_keepalive_connections=0))
"""A connection for each request; certificates, which nothing here has, are not loaded each time."""

FACES = np.random.default_rng(0).integers(0, 256, (200, 48, 48), dtype=np.uint8)


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served() as started:
        yield started


@pytest.fixture(scope="module")
def faces_server() -> Iterator[Served]:
    """A server to which each picture is a face."""
    with served("--detector", "none") as started:
        yield started


def _form(*contents: bytes, name: str = "a.png") -> list[tuple[str, tuple[str, bytes]]]:
    return [("pictures", (name, content)) for content in contents]


def _metric(server: Served, name: str) -> float:
    lines = HTTP.get(f"{server.url}/metrics").text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.split(" ")[0] == name)


def _wait_until(condition: object, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def _begin(server: Served, body: bytes, length: int, kind: str = "application/json") -> socket.socket:
    """Open a connection and send a part of a body."""
    connection = socket.create_connection(server.place)
    head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
    connection.sendall(head.encode() + body)
    return connection


def _answer(connection: socket.socket) -> tuple[int, dict[str, str], dict[str, object]]:
    """Read an answer: status, headers and body."""
    with connection.makefile("rb") as stream:
        status = int(stream.readline().split()[1])
        pairs = iter(lambda: stream.readline().decode().strip(), "")
        headers = {name.lower(): value for name, value in (pair.split(": ", 1) for pair in pairs)}
        return status, headers, json.loads(stream.read(int(headers["content-length"])))


def test_a_photograph_has_the_answer_that_python_gives(server: Served) -> None:
    content = encoded(portrait(), ".jpg")
    (expected,) = ExpressionRecognizer().predict(content)
    sent = HTTP.post(f"{server.url}/predict", files=_form(content, name="großmutter.jpg"))
    assert (sent.status_code, sent.headers["content-type"]) == (200, "application/json")
    assert sent.json() == {"predictions": [expected.as_json() | {"path": "großmutter.jpg"}]}
    text = base64.b64encode(content).decode()
    as_json = HTTP.post(f"{server.url}/predict", json={"pictures": [text, text]}).json()
    assert as_json == {"predictions": [expected.as_json()] * 2}


def test_200_faces_at_once_have_the_answers_that_each_has_alone(faces_server: Served) -> None:
    async def ask() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=faces_server.url, limits=limits, timeout=60, verify=False) as client:
            posts = (client.post("/predict", files=_form(encoded(face), name=str(at))) for at, face in enumerate(FACES))
            return await asyncio.gather(*posts)

    network = ExpressionRecognizer(detector="none").network
    before = _metric(faces_server, "ferops_faces_total"), _metric(faces_server, "ferops_batch_faces_count")
    answers = asyncio.run(ask())
    for at, answer in enumerate(answers):
        assert answer.status_code == 200
        (picture,) = answer.json()["predictions"]
        assert picture["path"] == str(at)
        alone = network.probabilities(FACES[at : at + 1])[0]
        assert [picture["faces"][0]["probabilities"][name] for name in NAMES] == pytest.approx(alone, abs=1e-4)
    assert _metric(faces_server, "ferops_faces_total") - before[0] == 200
    assert _metric(faces_server, "ferops_batch_faces_count") - before[1] < 200  # some went together


def test_a_picture_that_cannot_be_read_says_why_among_the_others(server: Served) -> None:
    mixed = HTTP.post(f"{server.url}/predict", files=_form(b"text", encoded(temple(), ".jpg")))
    assert mixed.status_code == 200
    bad, good = mixed.json()["predictions"]
    assert (bad["error"], good["faces"]) == ("no image that is read here", [])
    assert "faces" not in bad
    alone = HTTP.post(f"{server.url}/predict", files=_form(b"text"))
    assert (alone.status_code, alone.json()) == (422, {"predictions": [bad]})


@pytest.mark.parametrize(
    ("body", "kind", "status", "reason"),
    [
        (b"", "application/json", 400, "expected {"),
        (b"{", "application/json", 400, "expected {"),
        (b"[" * 100_000, "application/json", 400, "expected {"),
        (b'{"pictures": []}', "application/json", 400, "no picture"),
        (b'{"pictures": ["AAAA", "%"]}', "application/json; charset=utf-8", 400, "pictures[1] is no base64"),
        (b'{"pictures": ["https://example.org/a.jpg"]}', "application/json", 400, "pictures[0] is no base64"),
        (b'{"pictures": ["\\u00e4"]}', "application/json", 400, "no base64"),
        (b'{"pictures": ["AAAA"], "url": "x"}', "application/json", 400, "expected {"),
        (json.dumps({"pictures": ["AAAA"] * 33}).encode(), "application/json", 413, "at most 32 pictures"),
        (b"", "multipart/form-data; boundary=x", 400, "cut short"),
        (b"", "multipart/form-data", 400, "expected a form"),
        (b"no form", "multipart/form-data; boundary=x", 400, "expected a form"),
        (b'--x\r\nContent-Disposition: form-data; name="pictures"; filename="a"\r\n\r\nabc',
         "multipart/form-data; boundary=x", 400, "cut short"),
        (b'--x\r\nContent-Disposition: form-data; name="pictures"; filename=""\r\n\r\n\r\n--x--\r\n',
         "multipart/form-data; boundary=x", 400, "no picture"),
        (b'--x\r\nContent-Disposition: form-data; name="picture"; filename="a"\r\n\r\nabc\r\n--x--\r\n',
         "multipart/form-data; boundary=x", 400, "files named pictures"),
        (b'--x\r\nContent-Disposition: form-data; name="pictures"\r\n\r\nabc\r\n--x--\r\n',
         "multipart/form-data; boundary=x", 400, "files named pictures"),
        (b"a=b", "application/x-www-form-urlencoded", 415, "expected multipart/form-data"),
        (b"\xff\xd8", "image/jpeg", 415, "expected multipart/form-data"),
    ],
)  # fmt: skip
def test_a_malformed_request_is_refused_in_a_sentence(
    body: bytes, kind: str, status: int, reason: str, server: Served
) -> None:
    answer = HTTP.post(f"{server.url}/predict", content=body, headers={"content-type": kind})
    assert (answer.status_code, list(answer.json())) == (status, ["detail"])
    assert reason in answer.json()["detail"]


def test_a_form_of_too_many_pictures_is_refused(server: Served) -> None:
    answer = HTTP.post(f"{server.url}/predict", files=_form(*[b"a"] * 33))
    assert (answer.status_code, answer.json()) == (413, {"detail": "a request has at most 32 pictures"})


def test_a_large_body_is_refused_before_it_is_sent(server: Served) -> None:
    with _begin(server, b"", (32 << 20) + 1) as connection:
        status, _, answer = _answer(connection)
    assert (status, answer) == (413, {"detail": "a body has at most 32 MiB"})


def test_a_large_body_without_its_length_is_refused_and_not_kept(server: Served) -> None:
    before = server.resident()
    chunks = (b" " * (1 << 20) for _ in range(300))
    answer = HTTP.post(f"{server.url}/predict", content=chunks, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()) == (413, {"detail": "a body has at most 32 MiB"})
    assert server.resident() - before < 100 << 20


def test_the_server_keeps_nothing_of_a_picture_on_disk(server: Served) -> None:
    head = b'--x\r\nContent-Disposition: form-data; name="pictures"; filename="a"\r\n\r\n'
    with _begin(server, head + bytes(6 << 20), 8 << 20, "multipart/form-data; boundary=x"):
        _wait_until(lambda: _metric(server, "ferops_queue_requests") == 1)
        time.sleep(0.2)
        opened = [str(file.readlink()) for file in Path(f"/proc/{server.process.pid}/fd").iterdir()]
    assert not [name for name in opened if "tmp" in name]


def test_half_an_upload_leaves_nothing_behind(server: Served) -> None:
    gone = 'ferops_requests_total{route="/predict",status="499"}'
    before = _metric(server, gone)
    for _ in range(50):
        _begin(server, b'{"pictures": ["AAAA', 1000).close()
    _wait_until(lambda: _metric(server, gone) - before == 50)
    assert _metric(server, "ferops_queue_requests") == 0
    assert HTTP.post(f"{server.url}/predict", files=_form(encoded(temple(), ".jpg"))).status_code == 200


def test_pictures_of_a_client_that_went_away_are_not_searched() -> None:
    body = json.dumps({"pictures": [base64.b64encode(encoded(temple(), ".jpg")).decode()] * 12}).encode()
    with served() as started:
        connections = [_begin(started, body, len(body)) for _ in range(8)]
        _wait_until(lambda: _metric(started, "ferops_queue_requests") == 8)
        for connection in connections:
            connection.close()
        _wait_until(lambda: _metric(started, "ferops_queue_requests") == 0)
        began = time.monotonic()
        assert HTTP.post(f"{started.url}/predict", files=_form(encoded(temple(), ".jpg"))).is_success
        one = time.monotonic() - began
        began = time.monotonic()
        HTTP.post(f"{started.url}/predict", content=body, headers={"content-type": "application/json"})
        assert one < time.monotonic() - began  # of 12, where 96 were given up


def test_a_full_queue_sends_away_and_tells_when_to_come_back(faces_server: Served) -> None:
    connections = [_begin(faces_server, b"{", 100) for _ in range(256)]
    _wait_until(lambda: _metric(faces_server, "ferops_queue_requests") == 256)
    answer = HTTP.post(f"{faces_server.url}/predict", files=_form(encoded(FACES[0])))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "too many requests" in answer.json()["detail"]
    assert HTTP.get(f"{faces_server.url}/health").is_success
    for connection in connections:
        connection.close()
    _wait_until(lambda: _metric(faces_server, "ferops_queue_requests") == 0)
    assert HTTP.post(f"{faces_server.url}/predict", files=_form(encoded(FACES[0]))).is_success


def test_bodies_of_all_requests_together_are_bounded() -> None:
    with served("--detector", "none", limits={"held_mebibytes": 8}) as started:
        connections = [_begin(started, b" " * (3 << 20), 4 << 20) for _ in range(2)]
        _wait_until(lambda: _metric(started, "ferops_queue_requests") == 2)
        time.sleep(0.5)  # until what was sent is read
        with _begin(started, b" " * (3 << 20), 4 << 20) as third:
            assert _answer(third)[0] == 503
        for connection in connections:
            connection.close()


def test_a_slow_body_is_given_up_and_so_is_an_answer_that_takes_too_long() -> None:
    with served(limits={"seconds": 1}) as started:
        with _begin(started, b'{"pictures": [', 100) as slow:
            assert _answer(slow)[::2] == (504, {"detail": "no answer within 1 seconds"})
        late = HTTP.post(f"{started.url}/predict", files=_form(*[encoded(temple(), ".jpg")] * 32))
        assert late.status_code == 504
        assert _metric(started, "ferops_queue_requests") == 0


def test_a_token_is_asked_for_where_one_is_set() -> None:
    picture = _form(encoded(FACES[0]))
    with served("--detector", "none", FEROPS_TOKEN="s3cret-!") as started:
        for headers in ({}, {"Authorization": "Bearer s3cret"}, {"Authorization": b"Basic s3cret-!"}):
            refused = HTTP.post(f"{started.url}/predict", files=picture, headers=headers)
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
            assert "FEROPS" not in refused.text
        assert HTTP.get(f"{started.url}/model").status_code == 401
        given = {"Authorization": b"Bearer s3cret-!"}
        assert HTTP.post(f"{started.url}/predict", files=picture, headers=given).is_success
        assert all(HTTP.get(started.url + path).is_success for path in ("/health", "/", "/page/page.js"))


@pytest.mark.parametrize("name", ["evil.example", "evil.example:80", "localhost.evil.example", "[", ""])
def test_another_name_of_the_machine_is_refused(name: str, server: Served) -> None:
    refused = HTTP.get(f"{server.url}/model", headers={"host": name})
    assert refused.status_code == 400
    assert "localhost" in refused.text


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:8000"])
def test_the_machines_own_names_are_answered(name: str, server: Served) -> None:
    assert HTTP.get(f"{server.url}/model", headers={"host": name}).is_success


@pytest.mark.parametrize(
    ("path", "status"),
    [("/", 200), ("/page/style.css", 200), ("/health", 200), ("/ready", 200), ("/model", 200), ("/metrics", 200),
     ("/openapi.json", 200), ("/nowhere", 404), ("/page/..%2Fapp.py", 404), ("/docs", 404), ("/predict", 405)],
)  # fmt: skip
def test_every_answer_has_the_security_headers(path: str, status: int, server: Served) -> None:
    answer = HTTP.get(server.url + path)
    assert answer.status_code == status
    assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
    assert not {"server", "access-control-allow-origin"} & set(answer.headers)
    assert status < 400 or "detail" in answer.json()


def test_the_model_is_described_with_its_card_and_the_limits(server: Served) -> None:
    network = ExpressionRecognizer().network
    assert HTTP.get(f"{server.url}/model").json() == {
        "name": network.name,
        "version": None,
        "digest": network.card.weights,
        "detector": "blazeface",
        "card": network.card.model_dump(by_alias=True),
        "limits": {"pictures": 32, "body_mebibytes": 32, "seconds": 30, "requests": 256, "held_mebibytes": 256},
    }
    assert HTTP.get(f"{server.url}/ready").json() == {"status": "ready", "model": network.name}


def test_openapi_describes_the_requests_and_answers(server: Served) -> None:
    described = HTTP.get(f"{server.url}/openapi.json").json()
    assert set(described["paths"]) == {"/predict", "/model", "/health", "/ready", "/metrics"}
    predict = described["paths"]["/predict"]["post"]
    assert set(predict["requestBody"]["content"]) == {"multipart/form-data", "application/json"}
    assert set(predict["responses"]) == {"200", "400", "401", "413", "415", "422", "503", "504"}
    answer = HTTP.post(f"{server.url}/predict", files=_form(encoded(portrait(), ".jpg"))).json()
    (picture,) = answer["predictions"]
    schemas = described["components"]["schemas"]
    assert set(picture) <= set(schemas["Picture"]["properties"])
    assert set(picture["faces"][0]) == set(schemas["Face"]["properties"])
    assert set(HTTP.get(f"{server.url}/model").json()) == set(schemas["Model"]["properties"])


def test_metrics_count_requests_by_route_and_status(server: Served) -> None:
    name = 'ferops_requests_total{route="other",status="404"}'
    before = _metric(server, name)
    for path in ("/a", "/b"):
        HTTP.get(server.url + path)
    assert _metric(server, name) - before == 2
    text = HTTP.get(f"{server.url}/metrics").text
    assert 'ferops_model_info{name="lean_cnn/' in text
    assert 'ferops_request_seconds_bucket{le="0.1",route="/metrics"}' in text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_is_in_flight_is_answered_before_the_end(number: signal.Signals) -> None:
    content = encoded(temple(), ".jpg")
    answers: list[int] = []
    with served() as started:

        def ask() -> None:
            answers.append(HTTP.post(f"{started.url}/predict", files=_form(*[content] * 12)).status_code)

        asking = threading.Thread(target=ask)
        asking.start()
        _wait_until(lambda: _metric(started, "ferops_queue_requests") == 1)
        started.process.send_signal(number)
        assert started.process.wait(40) == 0
        asking.join()
        assert started.process.stderr.read() == ""
    assert answers == [200]


def _refused(*options: str, **environment: str) -> str:
    command = [FEROPS, "serve", *options]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60, env={**os.environ, **environment}
    )
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    return line


def test_a_mistake_is_one_line(server: Served, tmp_path: Path) -> None:
    port = str(server.place[1])
    assert _refused("--port", port) == f"ferops: port {port} of 127.0.0.1 is in use; give another with --port"
    assert "cannot listen on 192.0.2.1:0: Cannot assign requested address" in _refused(
        "--host", "192.0.2.1", "--port", "0"
    )
    assert "cannot listen on no.invalid" in _refused("--host", "no.invalid")
    assert "does not exist" in _refused("--port", "0", "--model", str(tmp_path / "a.tflite"))
    for token in ("", "my secret", "s3cret-ß"):
        assert "FEROPS_TOKEN: expected" in _refused("--port", "0", FEROPS_TOKEN=token)


def test_a_server_open_to_others_without_a_token_is_warned_of() -> None:
    with served("--host", "0.0.0.0") as started:
        assert HTTP.get(f"{started.url}/health", headers={"host": "elsewhere.example"}).is_success
        started.process.terminate()
        assert started.process.stderr.read() == (
            "warning: whoever reaches 0.0.0.0 may use this server: FEROPS_TOKEN is not set\n"
        )
    with served("--host", "0.0.0.0", FEROPS_TOKEN="a") as started:
        started.process.terminate()
        assert started.process.stderr.read() == ""


def test_answers_are_not_held_back_for_more_to_send() -> None:
    with serve._listen("127.0.0.1", 0) as listening:
        assert listening.proto == socket.IPPROTO_TCP  # by which asyncio turns Nagle's algorithm off


def test_neither_tensorflow_nor_mlflow_is_loaded(server: Served) -> None:
    mapped = Path(f"/proc/{server.process.pid}/maps").read_text()
    assert "litert" in mapped
    assert not [name for name in ("tensorflow", "sqlalchemy", "pandas") if name in mapped]


@pytest.mark.services
def test_a_connection_that_sends_nothing_is_closed(server: Served) -> None:
    with socket.create_connection(server.place, timeout=30) as silent, contextlib.suppress(ConnectionResetError):
        assert silent.recv(1) == b""


def _register(opened: Store, folder: Path, number: int) -> str:
    """Register the shipped network, under weights of another digest; returns the name by which it answers."""
    exported = folder / str(number) / "exported"
    exported.mkdir(parents=True)
    shutil.copy(SHIPPED, exported / "network.tflite")
    card = json.loads(SHIPPED.with_suffix(".json").read_text()) | {"weights": str(number) * 64}
    (exported / "network.json").write_text(json.dumps(card))
    opened.client.create_model_version(MODEL, str(exported.parent))
    return f"lean_cnn/{str(number) * 12}"


@pytest.mark.services
def test_a_new_champion_answers_without_a_restart_and_without_a_failed_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = tmp_path / "mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}")
    opened = store.connect()
    opened.client.create_registered_model(MODEL)
    names = [_register(opened, tmp_path, number) for number in (1, 2)]
    opened.client.set_registered_model_alias(MODEL, "champion", "1")
    answered: list[tuple[int, str]] = []
    asking = threading.Event()
    asking.set()
    with served("--detector", "none", "--model", f"{MODEL}@champion") as started:

        def ask() -> None:
            with httpx.Client(base_url=started.url, timeout=60, verify=False) as client:
                while asking.is_set():
                    answer = client.post("/predict", files=_form(encoded(FACES[0]), encoded(FACES[1])))
                    models = {picture["model"] for picture in answer.json()["predictions"]}
                    answered.append((answer.status_code, *models))

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        assert HTTP.get(f"{started.url}/model").json()["version"] == f"{MODEL}/1"
        opened.client.set_registered_model_alias(MODEL, "champion", "2")
        _wait_until(lambda: HTTP.get(f"{started.url}/model").json()["version"] == f"{MODEL}/2", 60)
        at_swap = len(answered)
        _wait_until(lambda: len(answered) > at_swap + 20, 60)
        looked = time.monotonic() + 12  # at the registry: twice
        while time.monotonic() < looked:
            assert _metric(started, "ferops_model_current") == 1
        database.rename(tmp_path / "away.db")
        database.mkdir()  # nothing can be opened there
        _wait_until(lambda: _metric(started, "ferops_model_current") == 0, 60)
        time.sleep(11)  # asked twice more, and said once
        asking.clear()
        for thread in threads:
            thread.join()
        assert HTTP.get(f"{started.url}/ready").json() == {"status": "ready", "model": names[1]}
        started.process.terminate()
        swapped, unreachable = started.process.stdout.read().splitlines()
    assert swapped == f"{MODEL}/2 ({names[1]}) answers from now on"
    assert unreachable.endswith(f"{MODEL}/2 ({names[1]}) goes on answering")
    assert set(answered) == {(200, names[0]), (200, names[1])}
    assert [name for _, name in answered[:1] + answered[-1:]] == names


def _mutated(random: np.random.Generator, contents: list[bytes]) -> bytes:
    """An image file with some bytes changed, left out or put in, or cut off."""
    content = bytearray(contents[random.integers(len(contents))])
    for _ in range(random.integers(1, 20)):
        at = int(random.integers(len(content) + 1)) if random.random() < 0.7 else int(random.integers(64))
        few = random.bytes(int(random.integers(1, 5)))
        content[at : at + int(random.integers(0, 5))] = few
    return bytes(content[: random.integers(len(content))] if random.random() < 0.2 else content)


def _feed(server: Served, number: int) -> None:
    """Send mutated pictures; each must be answered, and memory must not grow."""
    random = np.random.default_rng(number)
    small = np.asarray(portrait()[100:400:2, 150:400:2])
    contents = [encoded(small, suffix) for suffix in (".jpg", ".png", ".bmp", ".webp", ".tiff", ".ppm")]
    stream = io.BytesIO()
    from PIL import Image

    Image.fromarray(small).save(stream, "GIF")
    contents.append(stream.getvalue())
    resident = []
    with httpx.Client(base_url=server.url, timeout=60, verify=False) as client:
        for at in range(number // 20):
            answer = client.post("/predict", files=_form(*[_mutated(random, contents) for _ in range(20)]))
            assert answer.status_code in (200, 422)
            assert len(answer.json()["predictions"]) == 20
            if at % 10 == 9:
                resident.append(server.resident())
    assert server.process.poll() is None
    half = len(resident) // 2
    assert min(resident[half:]) - min(resident[1:half] or resident[:half]) < 40 << 20, resident


def test_a_thousand_mutated_pictures_are_answered_and_memory_stays_flat(server: Served) -> None:
    _feed(server, 1000)


@pytest.mark.fuzz
def test_ten_thousand_mutated_pictures_are_answered_and_memory_stays_flat(server: Served) -> None:
    _feed(server, 10_000)
