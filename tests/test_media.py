"""Pictures fetched from where clients say: real servers on loopback addresses of their own."""

from __future__ import annotations

import asyncio
import base64
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from gateway import media
from gateway.dialects.chat import form
from gateway.dialects.chat.form import ChatRequest, Image, Message, Text, ToolResult
from gateway.errors import BadRequest
from gateway.media import MAX_BYTES, Media, Picture, sniffed
from gateway.reach import Reach
from gateway.unified.pictures import MOST, embed_pictures
from gateway.wire.waiting import Walk

PNG = b"\x89PNG\r\n\x1a\n" + b"pixels"
# Stands for the public internet here; the other loopback addresses are what must not be reached.
OUTSIDE, INSIDE = "127.0.0.2", "127.0.0.1"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Names(AbstractResolver):
    """Says what the test wants, one list of addresses after the other; the last one stays."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked.append(host)
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [
            ResolveResult(hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=0)
            for address in found
        ]

    async def close(self) -> None:
        pass


class Place:
    """Servers on both addresses, on one port; `seen` has the address, path and headers of each request."""

    def __init__(self) -> None:
        self.port = 0
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        self.answer: Handler = picture

    def url(self, path: str = "/cat.png", host: str = OUTSIDE) -> str:
        return f"http://{host}:{self.port}{path}"

    async def serve(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        address = request.transport.get_extra_info("sockname")[0]
        self.seen.append((address, request.path, dict(request.headers)))
        return await self.answer(request)


async def picture(_: web.Request) -> web.StreamResponse:
    return web.Response(body=PNG, content_type="image/png")


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    found = Place()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", found.serve)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, INSIDE, 0)
    await site.start()
    found.port = runner.addresses[0][1]
    await web.TCPSite(runner, OUTSIDE, found.port).start()
    yield found
    await runner.cleanup()


def reaching(resolver: AbstractResolver | None = None, seconds: float = 10) -> Media:
    return Media(Reach([OUTSIDE]), resolver, seconds)


async def refused(made: Media, url: str) -> str:
    with pytest.raises(BadRequest) as caught:
        await made.fetch(url)
    assert INSIDE not in caught.value.message
    return caught.value.message


async def test_a_picture_comes_with_the_type_that_its_bytes_have(place: Place) -> None:
    async def lies(_: web.Request) -> web.StreamResponse:
        return web.Response(body=PNG, content_type="image/jpeg")

    place.answer = lies
    assert await reaching().fetch(place.url("/a?b=c%20d#e")) == Picture("image/png", PNG)
    (_, path, headers), = place.seen
    assert path == "/a"
    assert not {"Cookie", "Authorization"} & set(headers)
    assert headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (PNG, "image/png"), (b"\xff\xd8\xff\xe0abc", "image/jpeg"), (b"GIF89a...", "image/gif"),
        (b"GIF87a...", "image/gif"), (b"RIFF\x10\0\0\0WEBPVP8 ", "image/webp"), (b"RIFF\x10\0\0\0WAVEfmt ", None),
        (b"<svg>", None), (b"", None), (b"\x89PN", None),
    ],
)  # fmt: skip
def test_kinds_of_pictures(data: bytes, kind: str | None) -> None:
    assert sniffed(data) == kind


@pytest.mark.parametrize("host", [INSIDE, "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "0"])
async def test_loopback_is_not_reached_however_it_is_written(place: Place, host: str) -> None:
    message = await refused(Media(Reach()), place.url(host=host))
    assert "not public" in message
    assert place.seen == []


async def test_a_private_host_is_reached_where_the_settings_say_so(place: Place) -> None:
    named = Media(Reach(["files.internal"]), Names([INSIDE]))
    assert (await named.fetch(place.url(host="files.internal"))).data == PNG
    await refused(named, place.url(host="other.internal"))
    assert len(place.seen) == 1


async def test_a_name_that_changes_its_address_gains_nothing(place: Place) -> None:
    """The socket is made for one address, and that is looked at: there is no second look-up in between."""
    names = Names([OUTSIDE], [INSIDE])
    made = reaching(names)
    assert (await made.fetch(place.url(host="rebound.example"))).data == PNG
    await refused(made, place.url(host="rebound.example"))
    assert names.asked == ["rebound.example"] * 2  # once for each connection
    assert [address for address, _, _ in place.seen] == [OUTSIDE]


async def test_of_several_addresses_only_public_ones_are_tried(place: Place) -> None:
    made = reaching(Names([INSIDE, "10.0.0.1", OUTSIDE]))
    assert (await made.fetch(place.url(host="both.example"))).data == PNG
    assert [address for address, _, _ in place.seen] == [OUTSIDE]


async def test_redirects_are_followed_with_the_same_look(place: Place) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        step = int(request.path.strip("/"))
        if step == 3:
            return await picture(request)
        return web.Response(status=(301, 302, 307)[step], headers={"Location": f"/{step + 1}", "Set-Cookie": "a=b"})

    place.answer = answer
    assert (await reaching().fetch(place.url("/0"))).data == PNG
    assert [path for _, path, _ in place.seen] == ["/0", "/1", "/2", "/3"]
    assert not any("Cookie" in headers for _, _, headers in place.seen)


@pytest.mark.parametrize(
    "target", [f"http://{INSIDE}:PORT/secret", "http://localhost:PORT/secret", "//localhost:PORT/", "file:///etc/passwd",
               "http://user:pw@outside.example:PORT/", "gopher://outside.example/", "http://:80/", "http://[::1/"],
)  # fmt: skip
async def test_a_redirect_to_where_nothing_may_be_fetched(place: Place, target: str) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": target.replace("PORT", str(place.port))})

    place.answer = answer
    message = await refused(reaching(), place.url())
    assert "secret" not in message
    assert [path for _, path, _ in place.seen] == ["/cat.png"]


async def test_redirects_come_to_an_end(place: Place) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": "/again"})

    place.answer = answer
    assert "more than 3 times" in await refused(reaching(), place.url())
    assert len(place.seen) == 4


@pytest.mark.parametrize(
    "url", ["", "cat.png", "//127.0.0.2/a", "ftp://127.0.0.2/a", "data:image/png;base64,AA", "file:///etc/passwd",
            "http://", "http://:80/", "http://[::1/", "http://a:b@127.0.0.2/", "http://127.0.0.2:99999/",
            "http://127.0.0.2:0/", "http://127.0.0.2/" + "a" * 9000, "http://\ud800/", "http://a b/",
            "http://a\r\nX: y/", "http://" + "x" * 300 + ".example/"],
)  # fmt: skip
async def test_what_is_no_url_for_this(url: str) -> None:
    message = await refused(reaching(), url)
    assert ("user or password" in message) is ("@" in url)


async def test_answers_that_are_no_pictures(place: Place) -> None:
    compressed = {"Content-Type": "image/png", "Content-Encoding": "gzip"}
    responses: list[tuple[Callable[[], web.Response], str]] = [
        (lambda: web.Response(status=404, body=PNG, content_type="image/png"), "status 404"),
        (lambda: web.Response(status=304), "status 304"),
        (lambda: web.Response(body=PNG, content_type="text/html"), "not a picture"),
        (lambda: web.Response(body=b"<svg/>", content_type="image/svg+xml"), "neither PNG"),
        (lambda: web.Response(body=b"", content_type="image/png"), "neither PNG"),
        (lambda: web.Response(body=PNG, headers=compressed), "compressed"),
    ]
    for make, words in responses:

        async def answer(_: web.Request, make: Callable[[], web.Response] = make) -> web.StreamResponse:
            return make()

        place.answer = answer
        assert words in await refused(reaching(), place.url())


@pytest.mark.parametrize("told", [True, False])
async def test_a_picture_that_is_too_large_is_given_up(
    place: Place, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse(headers={"Content-Type": "image/png"})
        if told:
            response.content_length = MAX_BYTES + 1
        await response.prepare(request)
        try:
            for _ in range(10 * MAX_BYTES >> 20):
                await response.write(PNG + bytes((1 << 20) - len(PNG)))
                sent += 1
        except (ConnectionError, RuntimeError):
            pass
        return response

    place.answer = answer
    assert "larger than 20 MiB" in await refused(reaching(), place.url())
    assert sent < 2 * MAX_BYTES >> 20


async def test_a_server_that_says_nothing_is_left(place: Place) -> None:
    never = asyncio.Event()

    async def answer(_: web.Request) -> web.StreamResponse:
        await never.wait()
        return web.Response()

    place.answer = answer
    assert "did not come within" in await refused(reaching(seconds=0.2), place.url())
    never.set()


async def test_a_cut_answer_and_a_closed_port(place: Place) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "image/png", "Content-Length": "1000"})
        await response.prepare(request)
        await response.write(PNG)
        assert request.transport is not None
        request.transport.close()
        return response

    place.answer = answer
    assert "cannot be reached" in await refused(reaching(), place.url())
    with socket.socket() as free:
        free.bind((OUTSIDE, 0))
        assert "cannot be reached" in await refused(reaching(), f"http://{OUTSIDE}:{free.getsockname()[1]}/")


async def test_no_more_than_so_many_at_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "_AT_ONCE", 2)
    running = most = 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(20):
            await asyncio.sleep(0)
        running -= 1
        return await picture(request)

    place.answer = answer
    made = reaching()
    assert len(await asyncio.gather(*(made.fetch(place.url()) for _ in range(10)))) == 10
    assert most == 2


# -- in requests -------------------------------------------------------------------------------------------------------


def chat(*parts: Any) -> ChatRequest:
    return ChatRequest(model="m", messages=(Message(form.USER, (Text("hello"),)), Message(form.USER, parts)))


async def test_pictures_are_put_in_where_their_urls_stood(place: Place) -> None:
    kept = Image(data="AAAA", media_type="image/gif")
    request = chat(
        Text("look"), Image(url=place.url("/a"), detail="low"), kept, Image(url=place.url("/a")),
        ToolResult("call", parts=(Text("t"), Image(url=place.url("/b")))),
    )  # fmt: skip
    found = await embed_pictures(request, reaching().fetch)
    data = base64.b64encode(PNG).decode()
    assert found.messages[0] is request.messages[0]
    assert found.messages[1].parts == (
        Text("look"), Image(data=data, media_type="image/png", detail="low"), kept,
        Image(data=data, media_type="image/png"),
        ToolResult("call", parts=(Text("t"), Image(data=data, media_type="image/png"))),
    )  # fmt: skip
    assert sorted(path for _, path, _ in place.seen) == ["/a", "/b"]  # each once


async def test_a_request_without_urls_is_left_as_it_is() -> None:
    request = chat(Text("no"), Image(data="AAAA", media_type="image/png"))
    assert await embed_pictures(request, reaching().fetch) is request


async def test_the_clients_field_is_named(place: Place) -> None:
    with pytest.raises(BadRequest) as caught:
        await embed_pictures(chat(Image(url="ftp://x/")), reaching().fetch, "input")
    assert caught.value.param == "input"
    many = chat(*(Image(url=place.url(f"/{number}")) for number in range(MOST + 1)))
    with pytest.raises(BadRequest) as caught:
        await embed_pictures(many, reaching().fetch)
    assert caught.value.param == "messages"
    assert place.seen == []


async def test_all_pictures_together_are_bounded() -> None:
    asked = 0

    async def fetch(_: str) -> tuple[str, bytes]:
        nonlocal asked
        asked += 1
        return "image/png", bytes(MAX_BYTES)

    with pytest.raises(BadRequest, match="64 MiB together"):
        await embed_pictures(chat(*(Image(url=f"http://x/{number}") for number in range(30))), fetch)
    assert asked == 4


async def test_it_runs_in_a_coroutine_that_no_task_drives(place: Place) -> None:
    done: asyncio.Future[ChatRequest] = asyncio.get_running_loop().create_future()

    async def walk() -> None:
        with pytest.raises(BadRequest):
            await reaching().fetch("ftp://x/")
        done.set_result(await embed_pictures(chat(Image(url=place.url())), reaching().fetch))

    asyncio.get_running_loop().call_soon(Walk(walk(), done.set_exception).go)
    assert isinstance((await done).messages[1].parts[0], Image)
