"""Pictures of chats: those that a client names by URL, for vendors that fetch none; and Gemini's, as text or inline."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from google import genai
from google.genai import types

from tests.clients.places import Sandbox
from tests.unified.place import PRICE, Answer, Place, quoted
from tests.wire.ends import PATIENCE
from tests.wire.serving import free_port

PICTURES = "gemini-3-pro-image"
# Vendor's model -> the dialect; all take pictures as data only.
BASE64 = {
    "gemini": ("gemini", "gemini-3-pro", "gemini.generate"),
    "claude": ("anthropic", "claude-sonnet-4-5", "anthropic.messages"),
    "gpt": ("openai", "gpt-5.1", "openai.chat"),
    "responses": ("openai", "gpt-5.1", "openai.responses"),
}
FORMS = {"as it is": None, "text": "text", "inline": "inline"}
MODELS: dict[str, Any] = {
    **{
        name: {
            "targets": [{"provider": provider, "model": model, "dialect": dialect}], "price": PRICE,
            "features": {"images": "base64"},
        }
        for name, (provider, model, dialect) in BASE64.items()
    },
    "sees for itself": {"targets": [{"provider": "anthropic", "model": "claude-sonnet-4-5"}], "price": PRICE},
    **{
        f"{form} from {kind}": {
            "targets": [{"provider": "gemini", "model": PICTURES + "+text_image" * (kind == "text")}], "price": PRICE,
            "features": {"gemini_image_output": output} if output else {},
        }
        for form, output in FORMS.items()
        for kind in ("inline", "text")
    },
}  # fmt: skip
# Surface -> its path, the field that holds the picture, and a body.
SURFACES = ("chat", "responses", "messages", "gemini")
FIELDS = {"chat": "messages", "responses": "input", "messages": "messages", "gemini": "contents"}
OWN = {"gpt": "chat", "responses": "responses", "claude": "messages", "gemini": "gemini"}
CONVERTED = [(surface, model) for surface in SURFACES for model in BASE64 if OWN[model] != surface]
EVERY_PAIR = pytest.mark.parametrize(("surface", "model"), CONVERTED)


def asked(surface: str, model: str, url: str) -> tuple[str, dict[str, Any]]:
    """A question with a picture by its URL: path and body."""
    if surface == "chat":
        content: list[Any] = [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": url}}]
        return "/v1/chat/completions", {"model": model, "messages": [{"role": "user", "content": content}]}
    if surface == "responses":
        content = [{"type": "input_text", "text": "see"}, {"type": "input_image", "image_url": url}]
        return "/v1/responses", {"model": model, "input": [{"role": "user", "content": content}]}
    if surface == "messages":
        content = [{"type": "text", "text": "see"}, {"type": "image", "source": {"type": "url", "url": url}}]
        return "/v1/messages", {"model": model, "max_tokens": 50, "messages": [{"role": "user", "content": content}]}
    parts = [{"text": "see"}, {"fileData": {"mimeType": "image/png", "fileUri": url}}]
    return f"/v1beta/models/{quoted(model)}:generateContent", {"contents": [{"role": "user", "parts": parts}]}


def ask(place: Place, key: str, surface: str, model: str, url: str) -> Answer:
    path, body = asked(surface, model, url)
    return place.call(path, body, key)


def made(directory: Path, sandbox: Sandbox, **server: Any) -> Place:
    running = Place(directory, sandbox, server, models=MODELS)
    running.start()
    return running


@pytest.fixture(scope="module")
def fetching(tmp_path_factory: pytest.TempPathFactory, sandbox: Sandbox) -> Iterator[Place]:
    """It may fetch from this machine."""
    running = made(tmp_path_factory.mktemp("fetching"), sandbox, fetch_media=True, private_hosts=["127.0.0.1"])
    yield running
    assert running.stop() == 0, running.stderr[-3000:]
    assert "Traceback" not in running.stderr, running.stderr[-3000:]


@pytest.fixture(scope="module")
def careful(tmp_path_factory: pytest.TempPathFactory, sandbox: Sandbox) -> Iterator[Place]:
    """It fetches, but from public hosts only."""
    running = made(tmp_path_factory.mktemp("careful"), sandbox, fetch_media=True)
    yield running
    assert running.stop() == 0, running.stderr[-3000:]


@pytest.fixture(scope="module")
def key(fetching: Place) -> str:
    return fetching.key()


@pytest.fixture(scope="module")
def careful_key(careful: Place) -> str:
    return careful.key()


@pytest.fixture(scope="module")
def plain_key(place: Place) -> str:
    return place.key()


@pytest.fixture(scope="module")
def picture(sandbox: Sandbox) -> str:
    return f"http://127.0.0.1:{sandbox.port}/_sandbox/files/abcdef-8x8.png"


# -- by URL ------------------------------------------------------------------------------------------------------------


@EVERY_PAIR
def test_a_picture_is_fetched(fetching: Place, key: str, picture: str, surface: str, model: str) -> None:
    answer = ask(fetching, key, surface, model, picture)
    assert answer.status == 200, answer.body
    assert "You said: see (1 image)" in answer.body.decode()


@EVERY_PAIR
def test_nothing_is_fetched_unless_it_is_said(
    place: Place, plain_key: str, picture: str, surface: str, model: str
) -> None:
    answer = ask(place, plain_key, surface, model, picture)
    assert answer.status == 400
    assert FIELDS[surface] in answer.error["message"]
    assert "127.0.0.1" not in answer.error["message"]


@pytest.mark.parametrize("surface", SURFACES)
def test_this_machine_is_not_public(careful: Place, careful_key: str, picture: str, surface: str) -> None:
    """Whether or not there is somebody: what is told is the same."""
    model = "claude" if surface != "messages" else "gemini"
    nobody = f"http://127.0.0.1:{free_port()}/a.png"
    urls = (picture, nobody, nobody.replace("127.0.0.1", "localhost"), nobody.replace("127.0.0.1", "[::1]"))
    answers = [ask(careful, careful_key, surface, model, url) for url in (*urls, "http://no-such-host.invalid/a.png")]
    assert {answer.status for answer in answers} == {400}
    assert len({answer.error["message"] for answer in answers}) == 1
    told = answers[0].error["message"]
    assert not any(word in told for word in ("127.0.0.1", "localhost", "refused", str(careful.port), ".png")), told
    if "param" in answers[0].error:
        assert answers[0].error["param"] == FIELDS[surface]


@pytest.mark.parametrize("path", ["/_sandbox/files/nothing-8x8.png", "/_sandbox", "/_sandbox/files/ab-100.wav"])
def test_what_is_no_picture(fetching: Place, key: str, sandbox: Sandbox, path: str) -> None:
    answer = ask(fetching, key, "chat", "claude", f"http://127.0.0.1:{sandbox.port}{path}")
    assert answer.status == 400
    assert answer.error["message"].startswith("a picture cannot be fetched from its URL: ")
    assert "127.0.0.1" not in answer.error["message"]
    assert fetching.charged(answer) == ("failed", Decimal(0))


@pytest.mark.parametrize("surface", ["chat", "responses", "gemini"])
def test_vendors_that_fetch_get_the_url(fetching: Place, key: str, surface: str) -> None:
    """The gateway does not look at it: this one leads nowhere."""
    answer = ask(fetching, key, surface, "sees for itself", "https://no-such-host.invalid/a.png")
    assert answer.status == 200, answer.body
    assert "You said: see (1 image)" in answer.body.decode()


# -- Gemini's ----------------------------------------------------------------------------------------------------------

METHODS = ("generateContent", "streamGenerateContent", "streamGenerateContent?alt=sse")
ASKED = {"contents": [{"role": "user", "parts": [{"text": "paint a blue square"}]}]}


def direct(place: Place, kind: str, method: str) -> bytes:
    """What the vendor itself answers."""
    model = PICTURES + "+text_image" * (kind == "text")
    connection = http.client.HTTPConnection("127.0.0.1", place.sandbox.port, timeout=PATIENCE)
    try:
        headers = {"x-goog-api-key": "sk-of-nobody", "Content-Type": "application/json"}
        connection.request("POST", f"/gemini/v1beta/models/{model}:{method}", json.dumps(ASKED), headers)
        return connection.getresponse().read()
    finally:
        connection.close()


def through(place: Place, key: str, model: str, method: str) -> bytes:
    answer = place.call(f"/v1beta/models/{quoted(model)}:{method}", ASKED, key)
    assert answer.status == 200, answer.body
    return answer.body


def documents(body: bytes) -> list[Any]:
    """What an answer holds, whole or streamed, either way."""
    if body.startswith(b"data:"):
        return [json.loads(line[5:]) for line in body.decode().splitlines() if line.startswith("data:")]
    found = json.loads(body)
    return found if isinstance(found, list) else [found]


def rewritten(value: Any, form: str) -> Any:
    """The same with its pictures in a form."""
    if isinstance(value, list):
        return [rewritten(item, form) for item in value]
    if not isinstance(value, dict):
        return value
    if form == "text" and "inlineData" in value:
        return {"text": value["inlineData"]["data"]}
    if form == "inline" and str(value.get("text", "")).startswith("iVBOR"):
        return {"inlineData": {"mimeType": "image/png", "data": value["text"]}}
    return {name: rewritten(item, form) for name, item in value.items()}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["inline", "text"])
def test_unless_it_is_said_bytes_pass(place: Place, plain_key: str, kind: str, method: str) -> None:
    assert through(place, plain_key, f"as it is from {kind}", method) == direct(place, kind, method)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["inline", "text"])
@pytest.mark.parametrize("form", ["inline", "text"])
def test_pictures_come_in_the_form_that_is_said(
    place: Place, plain_key: str, form: str, kind: str, method: str
) -> None:
    theirs = direct(place, kind, method)
    ours = through(place, plain_key, f"{form} from {kind}", method)
    assert documents(ours) == rewritten(documents(theirs), form)
    if form == kind:
        assert ours == theirs
    assert ours.startswith(b"data:") == method.endswith("sse")


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("kind", ["inline", "text"])
@pytest.mark.parametrize("form", ["inline", "text"])
def test_googles_own_client(place: Place, plain_key: str, form: str, kind: str, stream: bool) -> None:
    options = types.HttpOptions(base_url=f"http://127.0.0.1:{place.port}")
    sdk = genai.Client(api_key=plain_key, http_options=options)
    wish: dict[str, Any] = {"model": f"{form} from {kind}", "contents": "paint a blue square"}
    chunks = list(sdk.models.generate_content_stream(**wish)) if stream else [sdk.models.generate_content(**wish)]
    sdk.close()
    parts = [part for chunk in chunks for part in chunk.parts or []]
    words = "".join(part.text for part in parts if part.text and not part.text.startswith("iVBOR"))
    assert words == "You said: paint a blue square"
    if form == "inline":
        (data,) = (part.inline_data.data for part in parts if part.inline_data)
    else:
        (data,) = (base64.b64decode(part.text) for part in parts if part.text and part.text.startswith("iVBOR"))
    assert data is not None
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    usage = chunks[-1].usage_metadata
    assert usage is not None
    assert usage.candidates_token_count == 1290 + 6
