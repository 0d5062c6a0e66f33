"""What is answered to requests, with real models and without a network between them."""

from __future__ import annotations

import io
import json
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from serve.clients import client, noise, png
from unpaired.audit.charts import DETAIL_FACTOR
from unpaired.data.encode import encode_image
from unpaired.data.labels import Labels
from unpaired.data.values import Domain
from unpaired.models.files import translate_files
from unpaired.models.translator import Translator
from unpaired.serve import batching
from unpaired.serve.accept import MEDIA
from unpaired.web.headers import HEADERS

MakeModel = Callable[..., Path]
INDEX = Labels(kind="index", feed="colour", palette=((0, 0, 0), (255, 0, 0), (0, 0, 255)))


@pytest.fixture
def model(make_model: MakeModel) -> Path:
    return make_model()


@pytest.fixture
def open_client(model: Path) -> Iterator[TestClient]:
    with client(model, max_bytes=100_000, max_pixels=10_000) as found:
        yield found


def written(model: Path, content: bytes, folder: Path, suffix: str = ".png", **options: Any) -> bytes:
    """Return what `unpaired translate` writes for a file."""
    (folder / "in").mkdir(exist_ok=True)
    (folder / "in" / f"x{suffix}").write_bytes(content)
    translator = Translator.load(model, engine="torch", precision="fp32", device="cpu")
    format = options.pop("format", "png")
    report = translate_files(
        translator, [folder / "in"], folder / "out", format=format, existing="overwrite", **options
    )
    assert report.written == 1, report
    return (folder / "out" / f"x.{format}").read_bytes()


def test_every_format_holds_what_translate_writes(open_client: TestClient, model: Path, tmp_path: Path) -> None:
    content = png()
    for media, format in MEDIA.items():
        answer = open_client.post("/translate", content=content, headers={"accept": media})
        assert (answer.status_code, answer.headers["content-type"]) == (200, media)
        assert answer.content == written(model, content, tmp_path, format=format)
    form = open_client.post("/translate", files={"image": ("x.png", content, "image/png")})
    assert form.content == written(model, content, tmp_path)
    assert form.headers["x-unpaired-direction"] == "a2b"
    assert HEADERS.items() <= dict(form.headers).items()


@pytest.mark.parametrize(
    ("domain", "content", "suffix"),
    [
        (Domain(channels=3, dtype="uint16"), encode_image(noise(dtype="uint16"), ".png"), ".png"),
        (Domain(channels=1, dtype="float32"), encode_image(noise(channels=1) / np.float32(255), ".tif"), ".tif"),
        (Domain(channels=5), encode_image(noise(channels=5), ".npy"), ".npy"),
        (Domain(channels=3), png(noise(channels=4)), ".png"),
        (Domain(channels=3, labels=INDEX), encode_image(noise(channels=1) % 3, ".png"), ".png"),
    ],
    ids=["16 bits", "floats", "five channels", "alpha", "labels"],
)
def test_images_of_every_kind(
    make_model: MakeModel, tmp_path: Path, domain: Domain, content: bytes, suffix: str
) -> None:
    model = make_model(a=domain, b=domain)
    with client(model) as service:
        answer = service.post("/translate", content=content, headers={"accept": "image/png, image/tiff;q=0.5"})
        assert answer.status_code == 200, answer.text
        format = MEDIA[answer.headers["content-type"]]
        assert answer.content == written(model, content, tmp_path, suffix, format=format)
        if domain.dtype != "uint8":
            refused = service.post("/translate", content=content, headers={"accept": "image/webp"})
            assert (refused.status_code, refused.json()["error"]) == (406, "accept")
            eight = service.post("/translate?bit_depth=8", content=content, headers={"accept": "image/webp"})
            assert eight.status_code == 200


def pixels(answer: Any) -> Any:
    assert answer.status_code == 200, answer.text
    return np.asarray(Image.open(io.BytesIO(answer.content))).astype(int)


def test_views_show_what_they_say(open_client: TestClient, model: Path) -> None:
    image = noise(24, 32)
    given: dict[str, Any] = {"content": png(image)}
    translation = pixels(open_client.post("/translate", **given))
    there, back = Translator.load(model, "a2b", device="cpu"), Translator.load(model, "b2a", device="cpu")
    found = there.translate_images([image])[0]
    shown = pixels(open_client.post("/translate?view=reconstruction", **given))
    np.testing.assert_array_equal(shown, back.translate_values([found.values])[0].image)
    shown = pixels(open_client.post("/translate?view=difference", **given))
    assert np.abs(shown - np.abs(translation - image)).max() <= 1
    flat = pixels(open_client.post("/translate?view=hidden", content=png(np.full((24, 32, 3), 90, np.uint8))))
    assert np.abs(flat[8:16, 8:16] - 127).max() <= DETAIL_FACTOR  # nothing is hidden in what is even
    assert pixels(open_client.post("/translate?view=hidden", **given)).std() > 10


def test_one_way_models_and_label_maps_have_fewer_views(make_model: MakeModel) -> None:
    one = make_model("one", directions=("a2b",))
    labels = make_model("labels", b=Domain(channels=3, labels=INDEX))
    with client(one, labels) as service:
        views = {each["name"]: each["directions"][0]["views"] for each in service.get("/models").json()["models"]}
        assert "reconstruction" not in views["one"]
        assert "hidden" not in views["labels"]
        for query in ("view=reconstruction", "model=labels&view=hidden", "model=labels&view=difference"):
            assert service.post(f"/translate?{query}", content=png()).status_code == 422


def test_what_is_asked_for_travels_in_the_address_or_in_the_form(make_model: MakeModel) -> None:
    named = {"a": Domain(channels=3, name="horse"), "b": Domain(channels=3, name="zebra")}
    with client(f"first={make_model('one')}", f"h2z={make_model('two', **named)}") as service:
        form = service.post("/translate", files={"image": png()}, data={"model": "h2z", "direction": "zebra2horse"})
        address = service.post("/translate?model=h2z&direction=zebra2horse", content=png())
        assert form.content == address.content
        assert (form.headers["x-unpaired-model"], form.headers["x-unpaired-direction"]) == ("h2z", "b2a")
        listed = service.get("/models").json()["models"]
        assert [each["name"] for each in listed] == ["first", "h2z"]
        assert [each["heading"] for each in listed[1]["directions"]] == ["horse to zebra", "zebra to horse"]
        smaller = service.post("/translate?size=16", content=png(noise(40, 40)))
        assert pixels(smaller).shape == (40, 40, 3)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("model=no", 404),
        ("direction=sideways", 422),
        ("checkpoint=best", 422),
        ("size=0", 422),
        ("size=99999", 422),
        ("view=inside", 422),
        ("bit_depth=9", 422),
        ("alpha=perhaps", 422),
        ("modell=x", 422),
        ("view=translation&view=hidden", 422),
        (f"model={'x' * 5000}", 422),
        ("model=%00%1b[31m", 404),
    ],
)
def test_wrong_parameters_are_one_sentence(open_client: TestClient, model: Path, query: str, status: int) -> None:
    answer = open_client.post(f"/translate?{query}", content=png())
    assert answer.status_code == status
    assert set(answer.json()) == {"error", "message"}
    assert str(model.parent) not in answer.text
    assert HEADERS.items() <= dict(answer.headers).items()


def bomb(height: int, width: int) -> bytes:
    """Return a small PNG that announces so many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    )


BODIES: list[tuple[dict[str, Any], int]] = [
    ({"content": b""}, 400),
    ({"content": b"hello"}, 422),
    ({"content": png()[:-40]}, 422),
    ({"content": bomb(30_000, 30_000)}, 413),
    ({"content": bomb(101, 100)}, 413),
    ({"content": bomb(10, 10)}, 422),
    ({"content": bytes(100_001)}, 413),
    ({"content": iter([bytes(60_000)] * 2)}, 413),
    ({"content": b"x", "headers": {"content-length": "9" * 30}}, 413),
    ({"content": b"<svg/>", "headers": {"content-type": "text/html"}}, 415),
    ({"data": {"image": "no file"}}, 415),
    ({"files": {"image": b"hello"}}, 422),
    ({"files": [("a", png()), ("b", png())]}, 400),
    ({"files": {"image": bytes(100_001)}}, 413),
    ({"files": {"image": png()}, "data": {"view": ["translation", "hidden"]}}, 422),
    ({"files": {"image": png()}, "data": {"direction": "a2b"}, "params": {"direction": "b2a"}}, 422),
    ({"content": b"--x\r\nno form", "headers": {"content-type": "multipart/form-data; boundary=x"}}, 400),
    ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 400),
    ({"content": b"{", "headers": {"content-type": "application/json"}}, 400),
    ({"content": b"[" * 50_000, "headers": {"content-type": "application/json"}}, 400),
    ({"json": {"path": "x.png"}}, 422),
    ({"json": {"image": "x.png"}}, 422),
    ({"json": 5}, 422),
]  # fmt: skip


@pytest.mark.parametrize(("body", "status"), BODIES, ids=range(len(BODIES)))
def test_hostile_bodies_are_refused_and_the_service_lives(
    open_client: TestClient, body: dict[str, Any], status: int
) -> None:
    answer = open_client.post("/translate", **body)
    assert (answer.status_code, set(answer.json())) == (status, {"error", "message"})
    assert open_client.post("/translate", content=png()).status_code == 200


def test_files_of_the_storage_alone_are_read(model: Path, tmp_path: Path) -> None:
    root, content = tmp_path / "photos", png()
    (root / "in").mkdir(parents=True)
    (root / "in" / "1.png").write_bytes(content)
    (tmp_path / "secret.png").write_bytes(content)
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    (root / "big.png").write_bytes(content + bytes(20_000))
    with client(model, root=root, max_bytes=10_000) as service:
        sent = service.post("/translate", content=content)
        assert service.post("/translate", json={"path": "in/1.png", "direction": "a2b"}).content == sent.content
        outside = [
            "../secret.png",
            str(tmp_path / "secret.png"),
            "link.png",
            "in",
            "no.png",
            "big.png",
            "a\0b",
            "x" * 5000,
        ]
        answers = [service.post("/translate", json={"path": path}) for path in outside]
        assert {answer.status_code for answer in answers} == {404}
        assert len({answer.text for answer in answers}) == 1  # nothing is told of what is where
        for url in ("http://127.0.0.1/x.png", "https://elsewhere/x.png", "file:///etc/passwd", "s3://bucket/x.png"):
            answer = service.post("/translate", json={"path": url})
            assert (answer.status_code, "nothing is fetched" in answer.text) == (422, True)


# ------------------------------------------------------------------------------------------------- too much, too slow


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Let tests hold the network's thread (`go`), see that it works (`begun`) and let it fail (`error`)."""
    found: dict[str, Any] = {"go": threading.Event(), "begun": threading.Event(), "error": None}
    compute = batching._compute

    def held(batch: Any, batch_size: int) -> Any:
        found["begun"].set()
        assert found["go"].wait(60)
        return [found["error"]] * len(batch) if found["error"] else compute(batch, batch_size)

    monkeypatch.setattr(batching, "_compute", held)
    yield found
    found["go"].set()


def test_a_full_queue_is_429_with_a_time(model: Path, network: dict[str, Any]) -> None:
    with client(model, queue=1) as service, ThreadPoolExecutor(1) as pool:
        first = pool.submit(service.post, "/translate", content=png())
        assert network["begun"].wait(60)
        refused = service.post("/translate", content=png())
        assert (refused.status_code, int(refused.headers["retry-after"]) >= 1) == (429, True)
        assert service.get("/ready").json() == {"status": "busy"}
        network["go"].set()
        assert first.result().status_code == 200
        assert service.get("/ready").json() == {"status": "ready"}
        metrics = service.get("/metrics").text
        assert 'unpaired_refused_total{reason="queue"} 1.0' in metrics
        assert 'unpaired_batch_images_count{model="model"} 1.0' in metrics


def test_what_takes_too_long_is_504(model: Path, network: dict[str, Any]) -> None:
    with client(model, timeout=0.3) as service:
        answer = service.post("/translate", content=png())
        assert (answer.status_code, "retry-after" in answer.headers) == (504, True)
        network["go"].set()


@pytest.mark.parametrize(("error", "status"), [(MemoryError(), 503), (ZeroDivisionError("inside"), 500)])
def test_a_network_that_fails_is_an_answer(
    model: Path, network: dict[str, Any], error: Exception, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    network["go"].set()
    with client(model) as service:
        network["error"] = error
        answer = service.post("/translate", content=png())
        assert (answer.status_code, "inside" in answer.text) == (status, False)
        network["error"] = None
        assert service.post("/translate", content=png()).status_code == 200


def test_keys_and_listed_origins(model: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("0123456789abcdef0123\n")
    keys.chmod(0o600)
    page, key = "https://page.example", {"x-api-key": "0123456789abcdef0123"}
    with client(model, keys=keys, cors=page) as service:
        for method, path in (("POST", "/translate"), ("GET", "/models"), ("GET", "/metrics")):
            answer = service.request(method, path)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert service.get("/health").status_code == service.get("/ready").status_code == 200
        assert "securitySchemes" in service.get("/openapi.json").json()["components"]
        answer = service.post("/translate", content=png(), headers={**key, "origin": page})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, page)
        asked = {"origin": page, "access-control-request-method": "POST", "access-control-request-headers": "x-api-key"}
        assert service.options("/translate", headers=asked).status_code == 200
        assert service.options("/translate", headers={**asked, "origin": "https://other.example"}).status_code == 400


def test_every_request_is_a_line_without_names_of_files(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with client(model) as service:
        service.post("/translate", files={"image": ("my secret holiday.png", png())})
        service.get("/my secret folder")
        service.post("/translate", json={"path": "my secret.png"})
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    requests = [line for line in lines if line["event"] == "request"]
    assert [(each["path"], each["status"]) for each in requests if each["path"] != "/ready"] == [
        ("/translate", 200),
        ("other", 404),
        ("/translate", 422),
    ]
    done = next(each for each in requests if each["status"] == 200 and each["path"] == "/translate")
    assert (done["model"], done["direction"], done["bytes"] > 0, done["ms"] > 0) == ("model", "a2b", True, True)
    assert "secret" not in json.dumps(lines)


def test_the_schema_says_what_is_taken_and_answered(open_client: TestClient) -> None:
    schema = open_client.get("/openapi.json").json()
    translate = schema["paths"]["/translate"]["post"]
    assert {*translate["requestBody"]["content"]} >= {"multipart/form-data", "application/json", "image/*"}
    assert {*translate["responses"]["200"]["content"]} == {*MEDIA}
    assert {"413", "429", "504"} <= {*translate["responses"]}
    assert open_client.get("/docs").status_code == 404  # it would load scripts from elsewhere
