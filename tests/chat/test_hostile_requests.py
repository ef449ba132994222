"""Requests with any value in any place: each is carried by every vendor dialect or refused by name, never a crash."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.dialects import conversion
from gateway.dialects.chat.conversion import Read, decoded, read
from gateway.dialects.chat.dialect import Told
from gateway.dialects.chat.form import Answer, Text
from gateway.errors import BadRequest
from gateway.types import Usage
from tests.chat.hostile import DEEP, WRONG, encoded, mutated, places
from tests.chat.test_pairs import MODELS, aim, drawn, pair

SURFACES = list(conversion.SURFACES)
_MANY = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
_LONGEST = 2000  # of a message that a client is told


def asked(surface: str, body: bytes) -> Read | None:
    """None: refused, and well."""
    try:
        return read(conversion.SURFACES[surface], decoded(body), MODELS[surface])
    except BadRequest as error:
        check_told(error)
        return None


def check_told(error: BadRequest) -> None:
    assert type(error).__module__ == "gateway.errors"
    assert 0 < len(error.message) < _LONGEST
    assert error.param is None or len(error.param) < _LONGEST


def check_carried(surface: str, known: Read) -> int:
    """Every vendor dialect writes JSON or refuses; returns how many wrote."""
    written = 0
    for vendor in conversion.VENDORS:
        if vendor == surface:
            continue
        try:
            sent = pair(surface, vendor).request(known, aim(vendor))
        except BadRequest as error:
            check_told(error)
            continue
        assert isinstance(json.loads(sent.body), dict)
        assert all(name.isascii() and name.isprintable() and len(name) <= 64 for name in sent.dropped)
        written += 1
        question = None
        try:
            question = pair(surface, vendor).question(known, aim(vendor))
        except BadRequest as error:
            check_told(error)
        assert question is None or isinstance(json.loads(question.body), dict)
    return written


def check_repeated(surface: str, known: Read) -> None:
    """Some surfaces repeat the request in their answers: what was taken must be writable there, too."""
    told = Told(model="alias", request_id="req1", created=1, request=known.request, wants_usage=True)
    ours = conversion.SURFACES[surface]
    assert isinstance(json.loads(ours.write(Answer(parts=(Text("a"),)), Usage(1, output=1), told)), dict)
    ours.stream(told).end(Usage(1, output=1)).decode()


@pytest.mark.parametrize("surface", SURFACES)
@_MANY
@given(data=st.data())
def test_any_value_in_any_place(surface: str, data: st.DataObject) -> None:
    body = data.draw(mutated(drawn(data, surface)))
    known = asked(surface, encoded(body))
    if known is not None:
        check_carried(surface, known)
        check_repeated(surface, known)


@pytest.mark.parametrize("surface", SURFACES)
def test_some_mutated_requests_are_carried(surface: str) -> None:
    """Surfaces that refused everything would pass the test above."""
    written = 0

    @settings(max_examples=80, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(data=st.data())
    def count(data: st.DataObject) -> None:
        nonlocal written
        known = asked(surface, encoded(data.draw(mutated(drawn(data, surface)))))
        written += 0 if known is None else check_carried(surface, known)

    count()
    assert written > 10


# Whole bodies that are hostile by their size, their depth or their bytes. `%s` stands in a text, or for a value.
_BODIES = {
    "openai.chat": '{"messages":[{"role":"user","content":"a"}],"tools":[{"type":"function","function":'
    '{"name":"f","parameters":{"type":"object","x":%s}}}]}',
    "openai.responses": '{"input":"a","tools":[{"type":"function","name":"f","parameters":{"type":"object","x":%s}}]}',
    "anthropic.messages": '{"max_tokens":5,"messages":[{"role":"user","content":"a"}],'
    '"tools":[{"name":"f","input_schema":{"type":"object","x":%s}}]}',
    "gemini.generate": '{"contents":[{"parts":[{"text":"a"}]}],"tools":[{"functionDeclarations":'
    '[{"name":"f","parametersJsonSchema":{"type":"object","x":%s}}]}]}',
}  # fmt: skip
_VALUES = {
    "lists": "[" * DEEP * 16 + "]" * DEEP * 16,
    "objects": '{"a":' * DEEP * 16 + "1" + "}" * DEEP * 16,
    "schemas": '{"properties":{"a":' * 480 + '{"type":"string"}' + "}}" * 480,
    "schemas in lists": '{"anyOf":[' * 480 + '{"type":"string"}' + "]}" * 480,
    "items": '{"items":' * 900 + '{"type":"string"}' + "}" * 900,
    "a circle": '{"$ref":"#/x","$defs":{"x":{"$ref":"#/x"}}}',
    "the end of depth": "[" * 990 + "]" * 990,
    "number": "1" * 5000,
    "exponent": "1e99999",
    "surrogate": '"\\ud800"',
    "surrogates the wrong way round": '"\\udc00\\ud800"',
    "NUL": '"\\u0000"',
    "thousands": "[" + ",".join(["{}"] * 50_000) + "]",
    "many names": "{" + ",".join(f'"a{number}":{number}' for number in range(20_000)) + "}",
    "a million": '"' + "a" * 1_000_000 + '"',
}
_BYTES = {"bad UTF-8": b'"\xff\xfe"', "surrogate bytes": b'"\xed\xa0\x80"', "overlong": b'"\xc0\xaf"', "nothing": b""}


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("name", [*_VALUES, *_BYTES])
def test_nasty_values_in_a_schema(surface: str, name: str) -> None:
    """A schema is carried as it is: whatever stands there reaches the encoders of all vendors."""
    value = _VALUES[name].encode() if name in _VALUES else _BYTES[name]
    before, behind = _BODIES[surface].encode().split(b"%s")
    known = asked(surface, before + value + behind)
    if name in _BYTES or name.startswith(("number", "exponent", "surrogate")):
        assert known is None
    if known is not None:
        check_carried(surface, known)
        check_repeated(surface, known)


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[]", b"null", b'"a"', b"1", b"true", b"{", b'{"messages"', b"\xff", b"[" * 100_000, b'{"a":' * 9999],
)
def test_what_is_no_request_is_refused(surface: str, body: bytes) -> None:
    assert asked(surface, body) is None


def _members(surface: str) -> list[dict[str, Any]]:
    """A few legal bodies that hold most members there are."""
    bodies: list[dict[str, Any]] = []

    @settings(max_examples=40, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(data=st.data())
    def collect(data: st.DataObject) -> None:
        bodies.append(drawn(data, surface))

    collect()
    return sorted(bodies, key=lambda body: len(places(body)))[-3:]


@pytest.mark.parametrize("surface", SURFACES)
def test_every_place_of_a_rich_request_takes_every_wrong_type(surface: str) -> None:
    """What random search may miss: each member once with each kind of value."""
    for body in _members(surface):
        for container, key in places(body)[:120]:
            kept = container[key]
            for value in WRONG:
                container[key] = value
                known = asked(surface, encoded(body))
                if known is not None:
                    check_carried(surface, known)
            container[key] = kept
