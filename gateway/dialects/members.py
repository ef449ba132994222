"""The top-level members of a JSON object: each value as its raw text, and the text between the values.

A body is head, value, head, value, ..., tail: the head of a member is all that stands before its value (`, "name": `),
the tail what follows the last (an object without members is a tail
that lacks its `{`). So a value can be swapped, a member dropped or added, and every other byte stays.

A decoder keeps the last of two members of one name, and another reader may keep the first: such a body would mean one
thing here and another at the vendor, so it is refused. How it is found out: nearly every client prints JSON without
spaces or in Python's way, and a body that equals what its decoded members print to in one of those ways holds nothing
else. Only what is neither is walked through, member by member. (Lengths alone would not do: with spaces there is room
for a member more, and checking the names where they should stand can be met by names inside of values.)
"""

from __future__ import annotations

import re

import msgspec
from msgspec import Raw

from gateway.errors import BadRequest

Style = tuple[bytes, bytes]  # what stands before and behind a name

COMPACT: Style = (b',"', b'":')
SPACED: Style = (b', "', b'": ')

# In a body of more than this only these members may be large: what is left bounds how many members there can be,
# which take two hundred bytes each once decoded.
_LARGE = 1 << 20
_BULKY = """
    messages input documents query instructions prompt prediction tools functions response_format text contents system
    metadata content requests systemInstruction system_instruction generateContentRequest
    generate_content_request
""".split()
_Bulk = msgspec.defstruct("_Bulk", [(name, Raw, Raw(b"")) for name in _BULKY])

_decode = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_bulk = msgspec.json.Decoder(_Bulk).decode
_decode_name = msgspec.json.Decoder(str).decode
_SPACE = 0x20
HEAD = re.compile(rb'\s*+[{,]\s*+("(?:[^"\\]++|\\.)*+")\s*+:\s*+')  # group 1: the name, with its quotes
_TAIL = re.compile(rb"\s*+\}\s*+")


class Members(msgspec.Struct):
    """The values in the body's order; how the body is printed, or, where that is its own way, the pieces between."""

    body: bytes
    fields: dict[str, Raw]
    style: Style | None
    walked: tuple[dict[str, bytes], bytes] | None = None

    def place(self, name: str) -> tuple[int, int] | None:
        """Where the value of a field begins and ends in the body; None where that would have to be searched."""
        if self.style is None:
            return None
        before, behind = map(len, self.style)
        at = 2
        for each, value in self.fields.items():
            at += len(each.encode()) + behind
            end = at + len(memoryview(value))
            if each == name:
                return at, end
            at = end + before
        return None

    def heads(self) -> tuple[dict[str, bytes], bytes]:
        """The head of each member, in order (a fresh dict), and the tail."""
        if self.style is None:
            assert self.walked is not None
            return dict(self.walked[0]), self.walked[1]
        before, behind = self.style
        heads = {name: before + name.encode() + behind for name in self.fields}
        for name, head in heads.items():
            heads[name] = b"{" + head.lstrip(b", ")
            break
        return heads, b"}"


def members(body: bytes) -> Members:
    """The members of a body that is one JSON object without repeated names; BadRequest for any other."""
    try:
        if len(body) > _LARGE:
            _check_bulk(body)
        fields = _decode(body)
        if not body.isascii():
            body.decode()
    except RecursionError:
        raise BadRequest("the body is nested too deeply: send flatter JSON") from None
    except msgspec.ValidationError:
        raise BadRequest("the body is not a JSON object: send one with the fields of the request") from None
    except msgspec.DecodeError as exc:
        raise BadRequest(f"the body is not valid JSON: {str(exc).removeprefix('JSON is malformed: ')}") from None
    except UnicodeDecodeError as exc:
        raise BadRequest("the body is not UTF-8: encode the JSON as UTF-8") from exc
    for name in fields:
        style = SPACED if body[len(name) + 4] == _SPACE else COMPACT
        if _printed(fields, style, body):
            return Members(body, fields, style)
        break
    return Members(body, fields, None, walk(body, fields))


def _printed(fields: dict[str, Raw], style: Style, body: bytes) -> bool:
    """Whether the body is what its members print to."""
    before, behind = style
    # All in C, for this is on the way of every call: `name": value, "name": value`, which stands behind `{"`.
    text = before.join(map(behind.join, zip(map(str.encode, fields), fields.values(), strict=True)))
    return len(body) == len(text) + 3 and body.startswith(text, 2)


def walk(body: bytes, fields: dict[str, Raw]) -> tuple[dict[str, bytes], bytes]:
    """Head of each member and the tail, read from the body; BadRequest if a name comes twice.

    `fields` tells where a value ends: where the value does not stand that its name ends up with, the name is repeated.
    """
    heads: dict[str, bytes] = {}
    position = 0
    while head := HEAD.match(body, position):
        name = _decode_name(head[1])
        value = bytes(fields[name])
        if name in heads or not body.startswith(value, head.end()):
            raise _repeated(name)
        heads[name] = head[0]
        position = head.end() + len(value)
    if not heads:
        position = body.index(b"{") + 1
    elif not _TAIL.fullmatch(body, position):
        raise _repeated(name)  # a number that begins like the one that its name ends up with
    return heads, body[position:]


def _repeated(name: str) -> BadRequest:
    shown = name if len(name) <= 64 and name.isprintable() else None
    return BadRequest(
        f"the field `{shown}` is given twice: send it once" if shown else "a field is given twice: send it once",
        param=shown,
    )


def _check_bulk(body: bytes) -> None:
    known = _decode_bulk(body)
    large = sum(len(memoryview(getattr(known, name))) for name in _BULKY)
    if len(body) - large > _LARGE:
        raise BadRequest(
            "the fields beside messages, input, documents and tools take more than 1 MiB: send less in them"
        )
