"""How many tokens a text probably has: what is held before a call, and charged where a vendor tells no usage.

No tokenizer runs here: each vendor has another one, and the best take a millisecond for what must take a microsecond.
Bytes are counted by kind, in C, and each kind has a weight. The rule, in hundredths of a token:

    lower-case ASCII letter, space              22     four and a half of them make a token
    other ASCII but digits                      47     capitals and punctuation begin tokens
    digit                                      100     many tokenizers have a token for each
    character of two bytes in UTF-8             45     Latin with accents, Greek, Cyrillic, Arabic, Hebrew
    character of three bytes                   100     Chinese, Japanese, Korean, Hindi, Thai
    character of four bytes                    200     emoji

A request's body is weighed as it is, its field names and quotes with it, which stand for what vendors add to each
message. `\\uXXXX` counts as the character that it means. Media are not text:

    picture (data URL, `inlineData`, a link ...)      1,000
    WAV in base64                                     a token for 1,500 characters (25 a second at 16 kHz)
    other audio, video                                a token for 200 characters (25 a second at 32 kbit/s)
    text file                                         a token for 5 characters
    other file, as PDF                                a token for 50 characters

Against cl100k_base, o200k_base and Qwen's tokenizer the rule is mostly 0 to 40% above, more where one of them knows a
script well; it is below for text without words (base64: by 40%) and, against the oldest of them, for Asian scripts.
tests/test_estimate.py has the figures.
"""

from __future__ import annotations

import re
from itertools import islice

PICTURE = 1_000
_MOST_MEDIA = 1_000  # in one request; what is beyond counts as text

_LIGHT = b"abcdefghijklmnopqrstuvwxyz "
_DIGITS = b"0123456789"
_ASCII = bytes(range(128))
_TAILS = bytes(range(0x80, 0xC0))  # bytes of a character behind its first
_TWO = bytes(range(0xC0, 0xE0))
_THREE = bytes(range(0xE0, 0xF0))

# Whole JSON strings: a quote that is itself escaped neither begins nor ends one.
_BASE64 = rb"((?:[A-Za-z0-9+/=_-]++|\\/)*+)"
_DATA_URL = re.compile(rb'"(?<!\\")data:([a-z]{1,20})\\?/[^"\s,]{0,200};base64,%s"' % _BASE64)
_DATA = re.compile(rb'"(?<!\\")data"\s*+:\s*+"%s"' % _BASE64)
_LINK = re.compile(rb'"(?:image_url|url)"\s*+:\s*+"https?:')
_INLINE_LINK = re.compile(rb'"type"\s*+:\s*+"url"|"(?:fileUri|file_uri)"\s*+:')
# The type of what is in `data`, which stands beside it in one object, on either side.
_MEDIA_TYPE = re.compile(rb'"(?:media_type|mimeType|mime_type)"\s*+:\s*+"([a-z]{1,20})\\?/')
_BESIDE = 300
_WAV = b"UklGR"  # RIFF in base64
_WAV_PER_TOKEN = 1_500
_PER_TOKEN = {b"audio": 200, b"video": 200, b"text": 5}
_FILE_PER_TOKEN = 50


def estimate_tokens(body: bytes, inline: bool = False) -> int:
    """Tokens of a request's JSON body. `inline`: media are objects of a media type and base64 data."""
    tokens = 0
    # The search from the end skips ahead where that from the start looks at each byte.
    if body.rfind(b";base64,") >= 0:
        body, tokens = _without(_DATA_URL, body)
    if inline or body.rfind(b'"input_audio"') >= 0:
        body, more = _without(_DATA, body, b"" if inline else b"audio")
        tokens += more
    if inline:
        tokens += PICTURE * sum(1 for _ in islice(_INLINE_LINK.finditer(body), _MOST_MEDIA))
    if body.rfind(b'"image_url"') >= 0:
        tokens += PICTURE * sum(1 for _ in islice(_LINK.finditer(body), _MOST_MEDIA))
    if (escape := body.find(b"\\")) >= 0 and body.rfind(b"\\u", escape) >= 0 and body.isascii():
        body = _unescaped(body)
    return tokens + _weighed(body)


def estimate_text(text: str) -> int:
    """Tokens of a text, such as an answer's."""
    return _weighed(text.encode(errors="surrogatepass"))


def estimate_items(text: bytes) -> int:
    """Tokens of JSON that is a list of tokens, or a list of such lists: as many as there are."""
    return text.count(b",") + 1


def _weighed(text: bytes) -> int:
    heavy = text.translate(None, _LIGHT)
    plain = heavy.translate(None, _DIGITS)
    size = len(heavy)
    weight = 22 * (len(text) - size) + 100 * (size - len(plain)) + 47 * len(plain)
    if not plain.isascii():
        wide = plain.translate(None, _ASCII)
        firsts = wide.translate(None, _TAILS)
        longer = firsts.translate(None, _TWO)
        longest = len(longer.translate(None, _THREE))
        weight += 45 * (len(firsts) - len(longer)) + 100 * (len(longer) - longest) + 200 * longest - 47 * len(wide)
    return (weight + 99) // 100


def _without(media: re.Pattern[bytes], body: bytes, usual: bytes = b"") -> tuple[bytes, int]:
    """The body less what the pattern finds, and the tokens of that. `usual`: the kind where none stands beside it."""
    tokens = 0

    def weigh(found: re.Match[bytes]) -> bytes:
        nonlocal tokens
        kind, data = (found[1], found[2]) if media is _DATA_URL else (_kind_beside(found) or usual, found[1])
        if not kind:
            return found[0]  # no media
        if kind == b"image":
            tokens += PICTURE
        else:
            per_token = _WAV_PER_TOKEN if data.startswith(_WAV) else _PER_TOKEN.get(kind, _FILE_PER_TOKEN)
            tokens += len(data) // per_token + 1
        return b""

    return media.sub(weigh, body, count=_MOST_MEDIA), tokens


def _kind_beside(found: re.Match[bytes]) -> bytes:
    """What kind of media the type says that stands in the same object as the data; nothing if there is none."""
    start, end = found.span()
    body = found.string
    before = body[max(0, start - _BESIDE) : start].rpartition(b"{")[2]
    behind = body[end : end + _BESIDE].partition(b"}")[0]
    named = _MEDIA_TYPE.search(before) or _MEDIA_TYPE.search(behind)
    return named[1] if named is not None else b""


def _unescaped(body: bytes) -> bytes:
    try:
        return body.decode("raw_unicode_escape").encode(errors="surrogatepass")
    except UnicodeDecodeError:
        return body
