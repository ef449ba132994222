"""A vendor's answers. A whole one is read as a stream of one piece, so there is one way to understand a part.

Gemini signs what it thought: on the first of its calls mostly, in streams also later, on a part with an empty text. A
signature that belongs neither to a call nor to a thought is left out: Gemini does not ask for it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec
from msgspec import Raw

from gateway.dialects import scan
from gateway.dialects.chat import form
from gateway.dialects.chat.events import Collector
from gateway.dialects.chat.form import Answer, Citation, Event, Image, Logprob
from gateway.dialects.gemini_generate.names import BROKEN, DIALECT, REASONS, standard_base64
from gateway.errors import BadUpstreamReply

_LONGEST_SEED = 28
_MOST_CITATIONS = 1000
_WEB = ("http://", "https://")


class _Blob(msgspec.Struct, rename="camel"):
    mime_type: str | None = None
    data: str | None = None
    file_uri: str | None = None


class _Call(msgspec.Struct):
    id: str | None = None
    name: str | None = None
    args: Raw = Raw()


class _Part(msgspec.Struct, rename="camel"):
    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: _Call | None = None
    inline_data: _Blob | None = None
    file_data: _Blob | None = None


class _Content(msgspec.Struct):
    parts: list[_Part] | None = None


class _Candidate(msgspec.Struct, rename="camel"):
    content: _Content | None = None
    finish_reason: str | None = None
    index: int | None = None
    citation_metadata: Raw = Raw()  # rare: read where they are, and not worth an answer where they cannot be read
    grounding_metadata: Raw = Raw()
    logprobs_result: Raw = Raw()


class _Feedback(msgspec.Struct, rename="camel"):
    block_reason: str | None = None


class _Chunk(msgspec.Struct, rename="camel"):
    candidates: list[_Candidate] | None = None
    prompt_feedback: _Feedback | None = None
    response_id: str | None = None


class _Source(msgspec.Struct, rename="camel"):
    uri: str | None = None
    title: str | None = None
    start_index: int | None = None
    end_index: int | None = None


class _Sources(msgspec.Struct, rename="camel"):
    citation_sources: list[_Source] | None = None  # AI Studio
    citations: list[_Source] | None = None  # Vertex


class _GroundingChunk(msgspec.Struct):
    web: _Source | None = None


class _Support(msgspec.Struct, rename="camel"):
    segment: _Source | None = None
    grounding_chunk_indices: list[int] | None = None


class _Grounding(msgspec.Struct, rename="camel"):
    grounding_chunks: list[_GroundingChunk] | None = None
    grounding_supports: list[_Support] | None = None


class _Likely(msgspec.Struct, rename="camel"):
    token: str = ""
    log_probability: float | None = None


class _Others(msgspec.Struct):
    candidates: list[_Likely] | None = None


class _Logprobs(msgspec.Struct, rename="camel"):
    chosen_candidates: list[_Likely] | None = None
    top_candidates: list[_Others] | None = None


_decode = msgspec.json.Decoder(_Chunk).decode
_decode_array = msgspec.json.Decoder(list[_Chunk]).decode
_decode_sources = msgspec.json.Decoder(_Sources).decode
_decode_grounding = msgspec.json.Decoder(_Grounding).decode
_decode_logprobs = msgspec.json.Decoder(_Logprobs).decode


def read_answer(body: bytes, seed: str) -> Answer:
    """A whole answer; also one that is an array of pieces."""
    reader, collector = Reader(seed), Collector(DIALECT)
    for chunk in _decode_array(body) if body.lstrip().startswith(b"[") else (_decode(body),):
        collector.take(reader.take(chunk))
    if not reader.heard:
        raise BadUpstreamReply("the vendor's answer has no candidate")
    return collector.answer()


class Reader:
    """One answer, piece by piece."""

    def __init__(self, seed: str) -> None:
        self._seed = seed[:_LONGEST_SEED]
        self._calls = 0
        self._signed = False  # whether the first call is
        self._thinking = False  # whether a thought is open
        self._pieces = 0  # of text
        self._said = False
        self._finished = False
        self._began = False
        self._cited: set[Citation] = set()
        self.heard = False  # anything that belongs to an answer

    def read(self, payload: bytes, name: bytes) -> Iterable[Event]:
        return self.take(_decode(payload))

    def take(self, chunk: _Chunk) -> list[Event]:
        events: list[Event] = []
        if not self._began:
            self._began = True
            events.append(form.Began(chunk.response_id or ""))
        candidate = next((each for each in chunk.candidates or () if not each.index), None)
        if candidate is not None:
            self.heard = True
            self._candidate(events, candidate)
        elif chunk.prompt_feedback is not None and chunk.prompt_feedback.block_reason and not self._finished:
            self.heard = self._finished = True
            events.append(form.Finished(form.FILTERED))
        return events

    def _candidate(self, events: list[Event], candidate: _Candidate) -> None:
        content = candidate.content
        logprobs = _logprobs(candidate.logprobs_result) if candidate.logprobs_result else ()
        for part in content.parts or () if content is not None else ():
            text = part.text
            if text and not part.thought:
                self._say()
                self._pieces += 1
                self._thinking = False
                events.append(form.TextPiece(text, logprobs))
                logprobs = ()
            elif text:
                self._say()
                self._thinking = True
                events.append(form.ThoughtPiece(text))
            else:
                self._other(events, part)
            if part.thought_signature and part.function_call is None:
                self._sign(events, part.thought_signature)
        if candidate.citation_metadata or candidate.grounding_metadata:
            events.extend(self._citations(candidate))
        reason = candidate.finish_reason
        if reason and reason != "FINISH_REASON_UNSPECIFIED" and not self._finished:
            self._finish(events, reason)

    def _say(self) -> None:
        if self._finished:
            raise BadUpstreamReply("the vendor's stream goes on behind its end")
        self._said = True

    def _other(self, events: list[Event], part: _Part) -> None:
        blob = part.inline_data or part.file_data
        if part.function_call is not None:
            self._say()
            self._thinking = False
            self._call(events, part.function_call, part.thought_signature or "")
        elif blob is not None and not part.thought:  # sketches of a thought are no part of the answer
            self._say()
            self._thinking = False
            events.append(form.ImageGiven(_picture(blob)))

    def _call(self, events: list[Event], call: _Call, signature: str) -> None:
        if not call.name:
            raise BadUpstreamReply("the vendor's answer holds a call without a name")
        index = self._calls
        self._calls += 1
        if not index:
            self._signed = bool(signature)
        words = bytes(call.args).decode(errors="replace")
        events.append(form.CallBegan(index, call.id or f"call_{self._seed}_{index}", call.name, signature))
        events.append(form.CallPiece(index, words if words not in ("", "null") else "{}"))

    def _sign(self, events: list[Event], signature: str) -> None:
        if self._thinking:
            self._thinking = False
            events.append(form.ThoughtEnded(signature))
        elif self._calls and not self._signed:
            self._signed = True
            events.append(form.CallSigned(0, signature))

    def _finish(self, events: list[Event], reason: str) -> None:
        if reason in BROKEN and not self._said:
            raise BadUpstreamReply(f"the vendor's model failed: {reason}")
        self._finished = True
        finish = REASONS.get(reason, form.STOP)
        events.append(form.Finished(form.TOOL_CALLS if self._calls and finish == form.STOP else finish))

    def _citations(self, candidate: _Candidate) -> Iterator[Event]:
        """Sources not told before. Places are bytes of all the text: they are known where that came in this piece."""
        parts = candidate.content.parts if candidate.content is not None else None
        texts = [part.text for part in parts or () if part.text and not part.thought]
        text = texts[0].encode() if len(texts) == 1 == self._pieces else b""
        for source, segment in _sources(candidate):
            if not (source.uri and source.uri.startswith(_WEB)):
                continue
            start, end = _places(segment, text)
            citation = Citation(source.uri, source.title or "", start=start, end=end)
            if citation not in self._cited and len(self._cited) < _MOST_CITATIONS:
                self._cited.add(citation)
                yield form.Cited(citation)


def _picture(blob: _Blob) -> Image:
    media_type = (blob.mime_type or "").lower()
    if media_type.startswith("image/"):
        if blob.data and (data := standard_base64(blob.data)):
            return Image(data=data, media_type=media_type)
        if blob.file_uri and blob.file_uri.startswith(_WEB):
            return Image(url=blob.file_uri, media_type=media_type)
    raise BadUpstreamReply("the vendor's answer holds media that cannot be read as a picture")


def _sources(candidate: _Candidate) -> Iterator[tuple[_Source, _Source | None]]:
    """Each source, and the segment of the text that it stands for."""
    try:
        plain = _decode_sources(candidate.citation_metadata or b"{}")
        grounding = _decode_grounding(candidate.grounding_metadata or b"{}")
    except scan.UNREADABLE:
        return
    for source in plain.citation_sources or plain.citations or ():
        yield source, source
    chunks = [chunk.web for chunk in grounding.grounding_chunks or ()]
    supports = grounding.grounding_supports
    for support in supports or ():
        for index in support.grounding_chunk_indices or ():
            if 0 <= index < len(chunks) and (web := chunks[index]) is not None:
                yield web, support.segment
    if not supports:
        yield from ((web, None) for web in chunks if web is not None)


def _places(segment: _Source | None, text: bytes) -> tuple[int | None, int | None]:
    """From bytes to characters."""
    if not text or segment is None or segment.end_index is None:
        return None, None
    start, end = segment.start_index or 0, segment.end_index
    if not 0 <= start < end <= len(text):
        return None, None
    return len(text[:start].decode(errors="ignore")), len(text[:end].decode(errors="ignore"))


def _logprobs(raw: Raw) -> tuple[Logprob, ...]:
    try:
        result = _decode_logprobs(raw)
    except scan.UNREADABLE:
        return ()
    tops = [_likely(each.candidates) for each in result.top_candidates or ()]
    chosen = _likely(result.chosen_candidates)
    if len(tops) != len(chosen):
        return chosen
    return tuple(Logprob(each.token, each.logprob, top=top) for each, top in zip(chosen, tops, strict=True))


def _likely(candidates: list[_Likely] | None) -> tuple[Logprob, ...]:
    return tuple(Logprob(each.token, each.log_probability or 0.0) for each in candidates or ())
