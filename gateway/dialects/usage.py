"""Usage objects of all vendors -> the normal form.

Each function takes the fields that a dialect's paths gave (decoded JSON, so any type may stand anywhere) and returns a
`Usage`, or None where nothing was counted: null, `{}` and all-zero objects are no usage. Numbers come as ints, floats,
numeric strings; negative, absurd and unreadable ones count as 0.

Names of `extra_units`: `audio_input_tokens`, `image_input_tokens`, `audio_output_tokens` and `image_output_tokens`
(parts of input and output), `images` (`generated_images` where the vendor calls them so), `seconds`, `characters`,
`search_units`, `credits`, and the vendor's own names for tool calls (`web_search`, `mcp`, `content_plugin`, ...).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from gateway.types import Usage

Object = Mapping[str, Any]

MOST = 2**53  # more is no count
_NUMBER = re.compile(r"\s*\d{1,20}(?:\.\d{0,20})?\s*")
_NOTHING: dict[str, Any] = {}

# Keys of a usage object that count something other than tokens, and our name for it.
_UNITS = {
    "generated_images": "generated_images",
    "image_count": "images",
    "characters": "characters",
    "usage_characters": "characters",
    "text_words": "characters",
    "seconds": "seconds",
    "total_seconds": "seconds",
    "duration": "seconds",
    "search_units": "search_units",
    "credits": "credits",
}
# Keys whose value is an object of counts: {name: n} or {name: {"count": n}}.
_TOOLS = ("tool_usage", "plugins", "x_tools")
_RARE = frozenset({*_UNITS, *_TOOLS, "server_tool_use", "x_details"})
_MODALITIES = {"audio_tokens": "audio", "image_tokens": "image"}


def count(value: object) -> int:
    """A counter, whatever type it came as."""
    if type(value) is int:
        return value if 0 < value <= MOST else 0
    return int(amount(value)) if value else 0


def amount(value: object) -> float:
    """A quantity that need not be whole, such as seconds."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MOST:
        return 0
    return value


def object_of(value: object) -> Object:
    return value if isinstance(value, dict) else _NOTHING


def objects_of(value: object) -> list[Object]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def first_count(values: Object, *keys: str) -> int:
    """The first of these counters that is above zero."""
    for key in keys:
        if found := count(values.get(key)):
            return found
    return 0


def normal(
    input: int, cached: int, write: int, output: int, reasoning: int, extra: dict[str, float] | None = None
) -> Usage | None:
    """The normal form with parts that never exceed their whole, or None if nothing was counted."""
    if not (input or output or extra):
        return None
    if cached + write > input:
        cached = min(cached, input)
        write = input - cached
    return Usage(input, cached, write, output, reasoning if reasoning < output else output, extra or {})


def combine(usages: Iterable[Usage | None]) -> Usage | None:
    """The sum of several calls' usages."""
    found = [usage for usage in usages if usage is not None]
    extra: dict[str, float] = {}
    for usage in found:
        for name, value in usage.extra_units.items():
            extra[name] = extra.get(name, 0) + value
    return normal(
        sum(usage.input for usage in found),
        sum(usage.cached_input for usage in found),
        sum(usage.cache_write for usage in found),
        sum(usage.output for usage in found),
        sum(usage.reasoning for usage in found),
        extra,
    )


def _add_modalities(extra: dict[str, float], details: Object, side: str) -> None:
    for key, modality in _MODALITIES.items():
        if found := count(details.get(key)):
            extra[f"{modality}_{side}_tokens"] = found


def _add_rare_units(extra: dict[str, float], usage: Object) -> None:
    for key, name in _UNITS.items():
        if key in usage and (found := amount(usage[key])):
            extra[name] = found
    for key in _TOOLS:
        for name, value in object_of(usage.get(key)).items():
            if found := count(value) or count(object_of(value).get("count")):
                extra["web_search" if name == "search" else name] = found
    for name, value in object_of(usage.get("server_tool_use")).items():
        if found := count(value):
            extra[name.removesuffix("_requests")] = found


def openai(usage: object) -> Usage | None:
    """All objects that name prompt and completion, or input and output, tokens; DashScope's too."""
    if not isinstance(usage, dict) or not usage:
        return None
    get = usage.get
    input = count(get("prompt_tokens") or get("input_tokens"))
    output = count(get("completion_tokens") or get("output_tokens"))
    total = count(get("total_tokens"))
    if total > input + output:
        # Gemini's and xAI's doors leave the thinking out of completion_tokens, but not out of the total: never below
        # the vendor's total. Where the prompt is not named, what is missing in the sum is the prompt.
        if get("prompt_tokens") is None and get("input_tokens") is None:
            input = total - output
        else:
            output = total - input
    extra: dict[str, float] = {}
    cached = write = reasoning = 0
    if details := _input_details(usage):
        cached = count(details.get("cached_tokens"))
        write = count(details.get("cache_write_tokens") or details.get("cache_creation_input_tokens"))
        if details.get("audio_tokens") or details.get("image_tokens"):
            _add_modalities(extra, details, "input")
    if details := _output_details(usage):
        reasoning = count(details.get("reasoning_tokens"))
        if details.get("audio_tokens") or details.get("image_tokens"):
            _add_modalities(extra, details, "output")
    if not cached:
        cached = count(get("cached_tokens") or get("prompt_cache_hit_tokens"))
    if not _RARE.isdisjoint(usage):
        _add_rare_units(extra, usage)
        write = write or _written_by_lines(get("x_details"))
    return normal(input, cached, write, output, reasoning, extra)


def _input_details(usage: Object) -> Object:
    get = usage.get
    details = get("prompt_tokens_details") or get("input_tokens_details") or get("input_token_details")
    return details if isinstance(details, dict) else _NOTHING


def _output_details(usage: Object) -> Object:
    get = usage.get
    details = get("completion_tokens_details") or get("output_tokens_details") or get("output_token_details")
    return details if isinstance(details, dict) else _NOTHING


def _written_by_lines(lines: object) -> int:
    """DashScope's Responses repeat the usage for each billing line, and name the cache writes only there."""
    counts = (count(_input_details(line).get("cache_creation_input_tokens")) for line in objects_of(lines))
    return max(counts, default=0)


def chat(fields: Object) -> Usage | None:
    """Ark's bots may call several models; else the top-level usage; Moonshot's may sit in a choice."""
    bots = fields.get("bot_usage")
    if bots and (usage := _bots(object_of(bots))):
        return usage
    return openai(fields.get("usage")) or openai(fields.get("choices[].usage"))


def _bots(bots: Object) -> Usage | None:
    total = combine(openai(each) for each in objects_of(bots.get("model_usage")))
    if total is None:
        return None
    for action in objects_of(bots.get("action_usage")):
        name = action.get("action_name") or action.get("name")
        if isinstance(name, str) and (found := count(action.get("count"))):
            total.extra_units[name] = total.extra_units.get(name, 0) + found
    return total


def plain(fields: Object) -> Usage | None:
    return openai(fields.get("usage"))


def responses(fields: Object) -> Usage | None:
    """A response, or the event that holds it; hosted tools are counted beside the usage at OpenAI."""
    prefix = "response." if fields.get("response.usage") is not None else ""
    usage = openai(fields.get(f"{prefix}usage"))
    if usage is not None:
        tools = object_of(fields.get(f"{prefix}tool_usage"))
        if found := count(object_of(tools.get("web_search")).get("num_requests")):
            usage.extra_units.setdefault("web_search", found)
        image = object_of(tools.get("image_gen"))
        for side in ("input", "output"):
            if found := count(image.get(f"{side}_tokens")):
                usage.extra_units[f"image_gen_{side}_tokens"] = found
    return usage


def embeddings(fields: Object) -> Usage | None:
    """Everything is input; MiniMax names the total beside the vectors, Cohere under `meta`."""
    usage = object_of(fields.get("usage"))
    input = first_count(usage, "prompt_tokens", "input_tokens", "total_tokens") or count(fields.get("total_tokens"))
    if not input:
        return rerank(fields)
    extra: dict[str, float] = {}
    _add_modalities(extra, _input_details(usage), "input")
    return normal(input, 0, 0, 0, 0, extra)


def rerank(fields: Object) -> Usage | None:
    """Jina's total, or the tokens and search units under `meta` (in older bodies the tokens stand at the top)."""
    meta = object_of(fields.get("meta"))
    billed = object_of(meta.get("billed_units"))
    input = output = 0
    for place in (fields.get("usage"), meta.get("tokens"), fields.get("tokens"), billed):
        usage = object_of(place)
        if input := first_count(usage, "total_tokens", "prompt_tokens", "input_tokens"):
            output = count(usage.get("output_tokens")) if "total_tokens" not in usage else 0
            break
    searches, images = count(billed.get("search_units")), count(billed.get("images"))
    extra: dict[str, float] = {"search_units": searches} if searches else {}
    if images:
        extra["images"] = images
    return normal(input, 0, 0, output, 0, extra)


def images(fields: Object) -> Usage | None:
    """Tokens where the vendor counts them, and the number of images: its own count, else the items that came."""
    usage = openai(fields.get("usage"))
    extra = usage.extra_units if usage else {}
    if "generated_images" not in extra and "images" not in extra:
        made = count(object_of(fields.get("metadata")).get("success_count")) or fields.get("data[#]", 0)
        kind = fields.get("type")
        if not made and isinstance(kind, str) and kind.endswith(".completed"):
            made = 1
        if made:
            extra["images"] = made
    return usage or normal(0, 0, 0, 0, 0, extra)


def transcription(fields: Object) -> Usage | None:
    """Tokens or seconds by usage, else the duration that the verbose form tells."""
    seconds = amount(fields.get("duration"))
    return openai(fields.get("usage")) or normal(0, 0, 0, 0, 0, {"seconds": seconds} if seconds else None)


def dashscope(fields: Object) -> Usage | None:
    """Native calls; an application's usage is a list by model."""
    usage = object_of(fields.get("usage"))
    if "models" in usage:
        return combine(openai(each) for each in objects_of(usage["models"])) or openai(usage)
    return openai(usage)


def minimax_speech(fields: Object) -> Usage | None:
    found = count(object_of(fields.get("extra_info")).get("usage_characters"))
    return normal(0, 0, 0, 0, 0, {"characters": found}) if found else None


def openspeech(fields: Object) -> Usage | None:
    """Volcengine speech: words spoken, or milliseconds heard."""
    heard = amount(object_of(fields.get("audio_info")).get("duration")) / 1000
    return openai(fields.get("usage")) or (normal(0, 0, 0, 0, 0, {"seconds": heard}) if heard else None)


_HUNYUAN = {"PromptTokens": "prompt_tokens", "CompletionTokens": "completion_tokens", "TotalTokens": "total_tokens"}


def hunyuan(fields: Object) -> Usage | None:
    """The native API; only its unary answers wrap everything in `Response`."""
    usage = object_of(fields.get("Usage") or fields.get("Response.Usage"))
    plain_names = {name: usage[key] for key, name in _HUNYUAN.items() if key in usage}
    plain_names["cached_tokens"] = object_of(usage.get("PromptTokensDetails")).get("CachedTokens")
    return openai(plain_names)


def gemini(fields: Object) -> Usage | None:
    usage = object_of(fields.get("usageMetadata"))
    if not usage:
        return None
    input = count(usage.get("promptTokenCount")) + count(usage.get("toolUsePromptTokenCount"))
    output = first_count(usage, "candidatesTokenCount", "responseTokenCount")
    thoughts, total = count(usage.get("thoughtsTokenCount")), count(usage.get("totalTokenCount"))
    # Some models count the thoughts among the candidates; then the sum without them is the total already.
    if not (thoughts and input + output == total):
        output += thoughts
    if not (input or output):
        input = total
    extra: dict[str, float] = {}
    for key, side in _GEMINI_DETAILS.items():
        for each in objects_of(usage.get(key)):
            if each.get("modality") in ("AUDIO", "IMAGE") and (found := count(each.get("tokenCount"))):
                name = f"{each['modality'].lower()}_{side}_tokens"
                extra[name] = extra.get(name, 0) + found
    return normal(input, count(usage.get("cachedContentTokenCount")), 0, output, thoughts, extra)


_GEMINI_DETAILS = {
    "promptTokensDetails": "input",
    "toolUsePromptTokensDetails": "input",
    "candidatesTokensDetails": "output",
    "responseTokensDetails": "output",
}


def interactions(fields: Object) -> Usage | None:
    """Gemini's Interactions: the same arithmetic under other names; thoughts are in the total in any case."""
    usage = object_of(fields.get("usage") or fields.get("interaction.usage"))
    input = count(usage.get("total_input_tokens")) + count(usage.get("total_tool_use_tokens"))
    thoughts = first_count(usage, "total_thought_tokens", "total_reasoning_tokens")
    output, total = count(usage.get("total_output_tokens")), count(usage.get("total_tokens"))
    if total > input + output:
        output = total - input
    return normal(input, count(usage.get("total_cached_tokens")), 0, output, thoughts)


def silent(fields: Object) -> Usage | None:
    """For answers that carry nothing to count."""
    return None


_ANTHROPIC_COUNTERS = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens")


def anthropic_counters(usage: Object) -> dict[str, int]:
    """The counters of one Anthropic usage object. Its `iterations` hold what the top level leaves out (compaction)."""
    counters = {key: count(usage.get(key)) for key in _ANTHROPIC_COUNTERS}
    if not counters["cache_creation_input_tokens"]:
        by_ttl = object_of(usage.get("cache_creation"))
        counters["cache_creation_input_tokens"] = sum(map(count, by_ttl.values()))
    counters["thinking"] = count(object_of(usage.get("output_tokens_details")).get("thinking_tokens"))
    if iterations := objects_of(usage.get("iterations")):
        parts = [anthropic_counters({**each, "iterations": None}) for each in iterations]
        counters = {key: max(value, sum(part[key] for part in parts)) for key, value in counters.items()}
    for name, value in object_of(usage.get("server_tool_use")).items():
        if found := count(value):
            counters["unit:" + name.removesuffix("_requests")] = found
    return counters


def anthropic(counters: Mapping[str, int]) -> Usage | None:
    """The normal form of (merged) counters: the three input counters exclude each other."""
    get = counters.get
    cached, write = get("cache_read_input_tokens", 0), get("cache_creation_input_tokens", 0)
    extra: dict[str, float] = {key[5:]: value for key, value in counters.items() if key.startswith("unit:")}
    return normal(
        get("input_tokens", 0) + cached + write, cached, write, get("output_tokens", 0), get("thinking", 0), extra
    )
