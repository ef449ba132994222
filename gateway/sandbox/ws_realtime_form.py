"""The forms of the realtime interface: OpenAI's (GA), its predecessor (beta), and DashScope's omni models after it.

A `Form` says how events and content parts are called, what a session object looks like and what a client may set in it,
and where in it the few values are that the sandbox acts upon. A schema is a type, a tuple of types, a set of allowed
values, or a dict of schemas; null is allowed everywhere.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gateway.sandbox.ws_session import Fault, Json

NUMBER = (int, float)
_VAD: Json = {
    "type": {"server_vad", "semantic_vad"},
    "threshold": NUMBER,
    "prefix_padding_ms": int,
    "silence_duration_ms": int,
    "idle_timeout_ms": int,
    "eagerness": {"low", "medium", "high", "auto"},
    "create_response": bool,
    "interrupt_response": bool,
}
_VAD_DEFAULT: Json = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": 300,
    "silence_duration_ms": 500,
    "create_response": True,
    "interrupt_response": True,
}
_TRANSCRIPTION: Json = {"model": str, "language": str, "prompt": str}
_PCM: Json = {"type": {"audio/pcm"}, "rate": {24000}}
_INPUT: Json = {
    "format": _PCM,
    "transcription": _TRANSCRIPTION,
    "turn_detection": _VAD,
    "noise_reduction": {"type": {"near_field", "far_field"}},
}
_TOOL: Json = {"type": {"function", "mcp"}, "name": str, "description": str, "parameters": dict, "server_label": str,
               "server_url": str, "require_approval": (str, dict)}  # fmt: skip
_GA: Json = {
    "type": {"realtime"},
    "model": str,
    "output_modalities": list,
    "instructions": str,
    "audio": {"input": _INPUT, "output": {"format": _PCM, "voice": (str, dict), "speed": NUMBER}},
    "tools": [_TOOL],
    "tool_choice": (str, dict),
    "max_output_tokens": (int, str),
    "include": list,
    "tracing": (str, dict),
    "truncation": (str, dict),
    "prompt": dict,
    "reasoning": dict,
    "parallel_tool_calls": bool,
}
_GA_TRANSCRIPTION: Json = {"type": {"transcription"}, "audio": {"input": _INPUT}, "include": list}
_BETA: Json = {
    "modalities": list,
    "instructions": str,
    "voice": str,
    "model": str,
    "input_audio_format": {"pcm16"},
    "output_audio_format": {"pcm16"},
    "input_audio_transcription": _TRANSCRIPTION,
    "input_audio_noise_reduction": {"type": {"near_field", "far_field"}},
    "turn_detection": _VAD,
    "tools": [_TOOL],
    "tool_choice": (str, dict),
    "temperature": NUMBER,
    "max_response_output_tokens": (int, str),
    "speed": NUMBER,
    "tracing": (str, dict),
}
_BETA_TRANSCRIPTION: Json = {
    "input_audio_format": {"pcm16"},
    "input_audio_transcription": _TRANSCRIPTION,
    "input_audio_noise_reduction": {"type": {"near_field", "far_field"}},
    "turn_detection": _VAD,
    "include": list,
    "modalities": list,
}
_OMNI_FORMAT: Json = {"type": {"pcm", "wav"}, "sample_rate": {8000, 16000, 24000, 48000}}
_OMNI: Json = {
    "modalities": list,
    "instructions": str,
    "voice": str,
    "input_audio_format": {"pcm", "pcm16"},
    "output_audio_format": {"pcm", "pcm16", "pcm24"},
    "sample_rate": {8000, 16000, 24000, 48000},
    "audio": {"input": {"format": _OMNI_FORMAT}, "output": {"format": _OMNI_FORMAT}},
    "input_audio_transcription": {"model": str, "language": str, "corpus": dict},
    "turn_detection": _VAD,
    "tools": [dict],
    "tool_choice": (str, dict),
    "temperature": NUMBER,
    "top_p": NUMBER,
    "top_k": int,
    "max_tokens": int,
    "repetition_penalty": NUMBER,
    "presence_penalty": NUMBER,
    "seed": int,
    "smooth_output": bool,
    "enable_search": bool,
    "search_options": dict,
    "translation": dict,
}


def _ga(model: str) -> Json:
    sound = {"type": "audio/pcm", "rate": 24000}
    heard: Json = {"format": sound, "transcription": None, "noise_reduction": None, "turn_detection": _VAD_DEFAULT}
    return {
        "type": "realtime", "object": "realtime.session", "model": model, "output_modalities": ["audio"],
        "instructions": "", "tools": [], "tool_choice": "auto", "max_output_tokens": "inf", "tracing": None,
        "truncation": "auto", "prompt": None, "include": None,
        "audio": {"input": heard, "output": {"format": sound, "voice": "alloy", "speed": 1.0}},
    }  # fmt: skip


def _ga_transcription(model: str) -> Json:
    heard = _ga(model)["audio"]["input"]
    return {"type": "transcription", "object": "realtime.transcription_session", "include": None,
            "audio": {"input": heard}}  # fmt: skip


def _beta(model: str) -> Json:
    return {
        "object": "realtime.session", "model": model, "modalities": ["audio", "text"], "instructions": "",
        "voice": "alloy", "input_audio_format": "pcm16", "output_audio_format": "pcm16",
        "input_audio_transcription": None, "turn_detection": _VAD_DEFAULT, "tools": [], "tool_choice": "auto",
        "temperature": 0.8, "max_response_output_tokens": "inf", "client_secret": None,
    }  # fmt: skip


def _beta_transcription(model: str) -> Json:
    return {
        "object": "realtime.transcription_session", "input_audio_format": "pcm16", "input_audio_transcription": None,
        "turn_detection": _VAD_DEFAULT, "client_secret": None,
    }  # fmt: skip


def _omni(model: str) -> Json:
    vad = {"type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 800,
           "create_response": True, "interrupt_response": True}  # fmt: skip
    return {
        "object": "realtime.session", "model": model, "modalities": ["text", "audio"], "instructions": "",
        "voice": "Chelsie", "input_audio_format": "pcm16", "output_audio_format": "pcm24",
        "input_audio_transcription": {"model": "gummy-realtime-v1"}, "turn_detection": vad, "tools": [],
        "tool_choice": "auto", "temperature": 0.8, "max_tokens": None,
    }  # fmt: skip


@dataclass(frozen=True)
class Form:
    """`paths`: where voice, modalities, ... are; a kind that has no such value leaves it out."""

    audio: str
    transcript: str
    text: str
    output_parts: tuple[str, str]  # of text, of audio
    item_events: tuple[str, str | None]  # when an item is there, when it is complete
    details: str
    created: str
    updated: str
    update: str
    schema: Json
    defaults: Callable[[str], Json]
    paths: dict[str, str]
    rates: tuple[int, int] = (24000, 24000)
    converses: bool = True
    limits: bool = True

    def get(self, session: Json, name: str) -> Any:
        value: Any = session
        path = self.paths.get(name)
        for key in path.split(".") if path else ("",):
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def merge(self, session: Json, change: Json) -> Json:
        """The session after an update; raises Fault for what the vendor does not know."""
        if self.schema.get("type") and change.get("type") not in self.schema["type"]:
            raise Fault("missing_required_parameter", "Missing or wrong parameter: 'session.type'.", "session.type")
        _check(change, self.schema, "session")
        return _merge(session, change)


_GA_PATHS = {
    "voice": "audio.output.voice", "modalities": "output_modalities", "instructions": "instructions",
    "transcription": "audio.input.transcription", "turn_detection": "audio.input.turn_detection", "tools": "tools",
    "tool_choice": "tool_choice", "max_output": "max_output_tokens",
}  # fmt: skip
_BETA_PATHS = {
    "voice": "voice", "modalities": "modalities", "instructions": "instructions", "tools": "tools",
    "transcription": "input_audio_transcription", "turn_detection": "turn_detection", "tool_choice": "tool_choice",
    "max_output": "max_response_output_tokens",
}  # fmt: skip
_GA_NAMES = ("response.output_audio", "response.output_audio_transcript", "response.output_text")
_BETA_NAMES = ("response.audio", "response.audio_transcript", "response.text")
_GA_ITEMS = ("conversation.item.added", "conversation.item.done")
_BETA_ITEMS = ("conversation.item.created", None)
_PLAIN = ("session.created", "session.updated", "session.update")
_OLD = ("transcription_session.created", "transcription_session.updated", "transcription_session.update")

GA = Form(*_GA_NAMES, ("output_text", "output_audio"), _GA_ITEMS, "token_details", *_PLAIN, _GA, _ga, _GA_PATHS)
GA_TRANSCRIPTION = Form(
    *_GA_NAMES, ("output_text", "output_audio"), _GA_ITEMS, "token_details", *_PLAIN, _GA_TRANSCRIPTION,
    _ga_transcription, _GA_PATHS, converses=False,
)  # fmt: skip
BETA = Form(*_BETA_NAMES, ("text", "audio"), _BETA_ITEMS, "token_details", *_PLAIN, _BETA, _beta, _BETA_PATHS)
BETA_TRANSCRIPTION = Form(
    *_BETA_NAMES, ("text", "audio"), _BETA_ITEMS, "token_details", *_OLD, _BETA_TRANSCRIPTION, _beta_transcription,
    _BETA_PATHS, converses=False,
)  # fmt: skip
OMNI = Form(
    *_BETA_NAMES, ("text", "audio"), _BETA_ITEMS, "tokens_details", *_PLAIN, _OMNI, _omni,
    _BETA_PATHS | {"max_output": "max_tokens"}, rates=(16000, 24000), limits=False,
)  # fmt: skip


def _check(value: Any, schema: Any, path: str) -> None:
    if value is None:
        return
    if isinstance(schema, dict):
        if not isinstance(value, dict):
            raise Fault("invalid_type", f"Invalid type for '{path}': expected an object.", path)
        for name, inner in value.items():
            if name not in schema:
                raise Fault("unknown_parameter", f"Unknown parameter: '{path}.{name}'.", f"{path}.{name}")
            _check(inner, schema[name], f"{path}.{name}")
    elif isinstance(schema, list):
        for place, inner in enumerate(value if isinstance(value, list) else [0]):
            _check(inner, schema[0], f"{path}[{place}]")
    elif isinstance(schema, set):
        if not isinstance(value, (str, int)) or value not in schema:
            known = ", ".join(repr(known) for known in sorted(schema))
            raise Fault("invalid_value", f"Invalid value: {value!r}. Supported values are: {known}.", path)
    elif not isinstance(value, schema) or isinstance(value, bool) and schema is not bool:
        raise Fault("invalid_type", f"Invalid type for '{path}': {type(value).__name__}.", path)


def _merge(old: Json, new: Json) -> Json:
    merged = copy.deepcopy(old)
    for name, value in new.items():
        both = isinstance(value, dict) and isinstance(merged.get(name), dict)
        merged[name] = _merge(merged[name], value) if both else value
    return merged
