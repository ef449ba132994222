"""The shipped vendors, how a call finds its host and its meter, and every mistake refused where it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from gateway import settings
from gateway.metered import METERED, NEVER
from gateway.providers import DIALECTS, RESERVED, Provider, Table
from gateway.settings import Origin

SHIPPED = settings.load(None, {}).providers
TABLE = Table(SHIPPED)

BASES = {
    "tencent": "https://api.hunyuan.cloud.tencent.com",
    "ali": "https://dashscope.aliyuncs.com",
    "baidu": "https://qianfan.baidubce.com",
    "zhipu": "https://open.bigmodel.cn",
    "minimax": "https://api.minimaxi.com",
    "lingyi": "https://api.lingyiwanwu.com",
    "deepseek": "https://api.deepseek.com",
    "moonshot": "https://api.moonshot.cn",
    "xunfei": "https://spark-api-open.xf-yun.com",
    "siliconflow": "https://api.siliconflow.cn",
    "bytedance": "https://ark.cn-beijing.volces.com",
    "openai": "https://api.openai.com",
    "anthropic": "https://api.anthropic.com",
    "gemini": "https://generativelanguage.googleapis.com",
    "byteplus": "https://ark.ap-southeast.bytepluses.com",
}

# Path as it stands at some vendor -> the dialect by which it is metered, where no provider has its own.
PATHS = {
    "/v1/chat/completions": "openai.chat",
    "/chat/completions": "openai.chat",
    "/compatible-mode/v1/chat/completions": "openai.chat",
    "/api/v3/batch/chat/completions": "openai.chat",
    "/v1beta/openai/chat/completions": "openai.chat",
    "/api/v3/context/chat/completions": "openai.chat",
    "/api/v3/bots/chat/completions": "ark.bots",
    "/v1/completions": "openai.completions",
    "/beta/completions": "openai.completions",
    "/v1/messages": "anthropic.messages",
    "/anthropic/v1/messages": "anthropic.messages",
    "/v1/responses": "openai.responses",
    "/api/v3/responses": "openai.responses",
    "/v1/embeddings": "openai.embeddings",
    "/api/v3/embeddings/multimodal": "ark.embeddings",
    "/v1/rerank": "jina.rerank",
    "/v1/images/edits": "openai.images",
    "/api/v3/context/create": "ark.context",
    "/v1/text/chatcompletion_v2": "minimax.chat",
    "/v1beta/models/gemini-2.5-pro:generateContent": "gemini.generate",
    "/v1beta/models/gemini-2.5-pro%3AgenerateContent": "gemini.generate",
    "/v1beta/tunedModels/mine%3astreamGenerateContent": "gemini.generate",
    "/v1beta/models/m:streamGenerateContent": "gemini.generate",
    "/v1beta/models/m:embedContent": "gemini.embed",
    "/v1beta/models/m:batchEmbedContents": "gemini.embed",
    "/api/v1/services/aigc/text-generation/generation": "dashscope.generation",
    "/api/v1/services/aigc/multimodal-generation/generation": "dashscope.generation",
    "/api/v1/services/embeddings/text-embedding/text-embedding": "dashscope.embeddings",
    "/api/v1/services/rerank/text-rerank/text-rerank": "dashscope.rerank",
    "/": "hunyuan.chat",
    "": "hunyuan.chat",
}
IMAGES = dict.fromkeys(SHIPPED, "openai.images") | {
    "bytedance": "ark.images",
    "byteplus": "ark.images",
    "zhipu": "zhipu.images",
}
UNMETERED = [
    "/v1/messages/count_tokens",
    "/v1beta/models/m:countTokens",
    "/v1beta/models/m%3AcountTokens",
    "/v1/responses/input_tokens",
    "/v1/responses/resp_1",
    "/v1/responses/resp_1/cancel",
    "/api/v3/tokenization",
    "/v1/tokenizers/estimate-token-count",
    "/v1/models",
    "/v1/files",
    "/v1/batches",
    "/v1/messages/batches",
    "/v1/chat/completions/",
    "/v1/chat/completionsx",
    "/v1/xcompletions",
    "/api/v3/contents/generations/tasks",
    "/v1/image_generation",
    "/v1/video_generation",
    "/v1/generation",
    "/v1beta/models/m:batchGenerateContent",
    "/v1beta/models/m:predictLongRunning",
    "//",
]


# --- the shipped table


def test_shipped_ids_and_hosts() -> None:
    assert {name: entry.base_url for name, entry in SHIPPED.items()} == BASES


@pytest.mark.parametrize("name", BASES)
def test_shipped_entry_is_complete(name: str) -> None:
    entry = SHIPPED[name]
    assert entry.id == name
    assert entry.origin == Origin("https", BASES[name].removeprefix("https://"), 443)
    assert entry.base_path == b""
    assert len(entry.keys) == 1
    assert re.fullmatch(r"env:[A-Z0-9_]+", entry.keys[0].reference)
    assert entry.speaks
    assert entry.speaks.keys() <= DIALECTS
    assert TABLE.find(name.encode()) is entry


@pytest.mark.parametrize(
    ("name", "path", "host"),
    [
        ("bytedance", b"/api/v3/sauc/bigmodel", "openspeech.bytedance.com"),
        ("bytedance", b"/api/v3/sauc/bigmodel_async", "openspeech.bytedance.com"),
        ("bytedance", b"/api/v3/tts/unidirectional/sse", "openspeech.bytedance.com"),
        ("bytedance", b"/api/v1/tts", "openspeech.bytedance.com"),
        ("bytedance", b"/api/v1/tts/ws_binary", "openspeech.bytedance.com"),
        ("bytedance", b"/api/v3/auc/bigmodel/submit", "openspeech.bytedance.com"),
        ("bytedance", b"/api/v3/realtime/dialogue", "openspeech.bytedance.com"),
        ("bytedance", b"/api/v3/duplex/realtime/dialogue", "openspeech.bytedance.com"),
        ("bytedance", b"/v1/realtime", "ai-gateway.vei.volces.com"),
        ("bytedance", b"/api/v3/chat/completions", "ark.cn-beijing.volces.com"),
        ("bytedance", b"/api/v3/sauc", "ark.cn-beijing.volces.com"),
        ("bytedance", b"/", "ark.cn-beijing.volces.com"),
        ("tencent", b"/", "hunyuan.tencentcloudapi.com"),
        ("tencent", b"", "hunyuan.tencentcloudapi.com"),
        ("tencent", b"/v1/chat/completions", "api.hunyuan.cloud.tencent.com"),
        ("tencent", b"/asr/v2/1250000000", "asr.cloud.tencent.com"),
        ("xunfei", b"/v2/iat", "iat-api.xfyun.cn"),
        ("xunfei", b"/v2/chat/completions", "spark-api-open.xf-yun.com"),
        ("xunfei", b"/v3.5/chat", "spark-api.xf-yun.com"),
        ("baidu", b"/rpc/2.0/ai_custom/v1/wenxinworkshop/chat/x", "aip.baidubce.com"),
        ("ali", b"/api-ws/v1/inference", "dashscope.aliyuncs.com"),
    ],
)
def test_some_paths_live_on_other_hosts(name: str, path: bytes, host: str) -> None:
    assert TABLE.target(SHIPPED[name], path) == (Origin("https", host, 443), b"")


def test_find_compares_bytes() -> None:
    assert TABLE.find(b"silliconflow") is TABLE.find(b"siliconflow") is SHIPPED["siliconflow"]
    for word in (b"", b"OpenAI", b"openai ", b"open%61i", b"openai\xff", b"v1", b"unknown"):
        assert TABLE.find(word) is None


# --- metering


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize(("path", "dialect"), PATHS.items())
def test_metered_paths(name: str, path: str, dialect: str) -> None:
    entry = SHIPPED[name]
    assert TABLE.meter(entry, b"POST", path.encode()) == dialect
    assert TABLE.meter(entry, b"POST", path.encode() + b"?beta=true") == dialect
    for method in (b"GET", b"HEAD", b"DELETE", b"PUT", b"OPTIONS", b"post"):
        assert TABLE.meter(entry, method, path.encode()) is None


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize("path", UNMETERED)
def test_unmetered_paths(name: str, path: str) -> None:
    assert TABLE.meter(SHIPPED[name], b"POST", path.encode()) is None


@pytest.mark.parametrize(("name", "dialect"), IMAGES.items())
def test_images_are_read_as_the_vendor_speaks(name: str, dialect: str) -> None:
    assert TABLE.meter(SHIPPED[name], b"POST", b"/any/images/generations") == dialect


@pytest.mark.parametrize("name", BASES)
def test_what_a_vendor_speaks_by_itself_is_metered(name: str) -> None:
    """All token dialects that answer the call itself; media tasks tell their usage when they are read."""
    told_later = re.compile(r"videos|interactions|realtime|speech|transcriptions|^openspeech|^minimax.images")
    for dialect, path in SHIPPED[name].speaks.items():
        if told_later.search(dialect):
            continue
        path = path.replace("{model}", "m:generateContent" if dialect == "gemini.generate" else "m:embedContent")
        metered = TABLE.meter(SHIPPED[name], b"POST", path.encode())
        expected = "dashscope.generation" if dialect == "dashscope.images" else dialect
        assert metered == expected, dialect


@pytest.mark.parametrize(
    ("name", "path", "dialect"),
    [
        ("ali", b"/compatible-api/v1/reranks", "jina.rerank"),
        ("ali", b"/api/v1/services/embeddings/multimodal-embedding/multimodal-embedding", "dashscope.embeddings"),
        ("openai", b"/v1/responses/compact", "openai.responses"),
    ],
)
def test_shipped_additions(name: str, path: bytes, dialect: str) -> None:
    assert TABLE.meter(SHIPPED[name], b"POST", path) == dialect


def entry(text: str, tmp_path: Path) -> tuple[Table, Provider]:
    file = tmp_path / "mine.yaml"
    file.write_text(f"providers:\n  mine: {{base_url: 'http://localhost:9/base', {text}}}\n")
    found = settings.load(str(file), {}).providers
    return Table(found), found["mine"]


def test_own_patterns_win_and_the_longer_first(tmp_path: Path) -> None:
    table, mine = entry(
        'meter: {"*": openai.chat, /v1/messages: openai.chat, "/v1/*": minimax.chat, "/v1/*/b*c": ark.bots, '
        '"/v1/*e*s*s*a*g*": ark.context}',
        tmp_path,
    )
    expected = {b"/v1/messages": "openai.chat", b"/v1/x": "minimax.chat", b"/v1/a/b/c": "ark.bots", b"/": "openai.chat"}
    assert {path: table.meter(mine, b"POST", path) for path in expected} == expected
    assert table.meter(mine, b"GET", b"/v1/messages") is None
    for end in NEVER:
        assert table.meter(mine, b"POST", b"/v1/x" + end) is None


def test_base_path_belongs_to_the_path_that_the_defaults_see(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "providers:\n  a: {base_url: 'http://h/api/v1/services/aigc/'}\n"
        "  b: {base_url: 'http://h/v1/chat'}\n  c: {base_url: 'http://h/v1'}\n"
    )
    found = settings.load(str(file), {}).providers
    table = Table(found)
    assert table.meter(found["a"], b"POST", b"/text-generation/generation") == "dashscope.generation"
    assert table.meter(found["b"], b"POST", b"/completions") == "openai.chat"
    assert table.meter(found["c"], b"POST", b"/") is None


def test_rerank_is_read_as_the_vendor_speaks(tmp_path: Path) -> None:
    table, mine = entry("speaks: {cohere.rerank: /v2/rerank}", tmp_path)
    assert table.meter(mine, b"POST", b"/v2/rerank") == "cohere.rerank"


def test_every_default_names_known_dialects() -> None:
    assert {dialect for _, dialects in METERED for dialect in dialects} <= DIALECTS


@given(st.binary(max_size=40), st.sampled_from([b"POST", b"GET", b""]))
def test_any_path_is_metered_or_not(path: bytes, method: bytes) -> None:
    for provider in (SHIPPED["ali"], SHIPPED["gemini"]):
        assert TABLE.meter(provider, method, path) in DIALECTS | {None}
        assert TABLE.target(provider, path) == (provider.origin, b"")


@example("/a*/a", "a")  # the ends may not overlap
@example("/a*/a*b", "ab")  # nor may a middle part lie in the beginning
@given(st.lists(st.sampled_from("ab/*"), min_size=1, max_size=8).map("".join), st.text("ab/", max_size=10))
@hypothesis_settings(deadline=None)
def test_patterns_mean_what_a_regular_expression_would(pattern: str, path: str) -> None:
    provider = Provider("x", "http://h", Origin("http", "h", 80), b"", meter=((pattern.encode(), "openai.chat"),))
    path = "/" + path
    expected = re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), path) is not None
    found = Table([provider]).meter(provider, b"POST", path.encode()) == "openai.chat"
    assert found == expected


# --- a vendor is one entry


def test_new_vendor_needs_no_code(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "providers:\n  groq: {base_url: 'https://api.groq.com/openai/', keys: [env:GROQ], "
        "speaks: {openai.chat: /v1/chat/completions}, quirks: {drop: [logit_bias]}}\n"
        "models: {llama: {targets: [{provider: groq, model: llama-4}]}}\n"
    )
    found = settings.load(str(file), {"GROQ": "key"})
    groq = Table(found.providers).find(b"groq")
    assert groq is not None
    assert (groq.origin, groq.base_path) == (Origin("https", "api.groq.com", 443), b"/openai")
    assert Table(found.providers).meter(groq, b"POST", b"/v1/chat/completions") == "openai.chat"
    assert groq.keys[0].get() == "key"
    assert groq.quirks.drop == ("logit_bias",)
    assert found.models["llama"].targets[0].provider == "groq"
    assert found.warnings == ()


def test_hosts_are_sorted_and_may_have_paths(tmp_path: Path) -> None:
    _, mine = entry("hosts: {/a/: 'ws://one:81/x/', /a/b: 'https://two', /: 'http://root'}", tmp_path)
    assert mine.hosts == (
        (b"/a/b", Origin("https", "two", 443), b""),
        (b"/a/", Origin("http", "one", 81), b"/x"),
        (b"/", Origin("http", "root", 80), b""),
    )
    table = Table([mine])
    assert table.target(mine, b"/a/bc")[0].host == "two"
    assert table.target(mine, b"/a/x") == (Origin("http", "one", 81), b"/x")
    assert table.target(mine, b"/")[0].host == "root"
    assert table.target(mine, b"/other") == (Origin("http", "localhost", 9), b"/base")


@pytest.mark.parametrize(
    ("url", "origin", "authority", "path"),
    [
        ("HTTPS://API.Example", Origin("https", "api.example", 443), "api.example", b""),
        ("http://127.0.0.1:8080/", Origin("http", "127.0.0.1", 8080), "127.0.0.1:8080", b""),
        ("wss://host/v1/", Origin("https", "host", 443), "host", b"/v1"),
        ("ws://host:443", Origin("http", "host", 443), "host:443", b""),
        ("http://[0:0::1]:80/a%20b", Origin("http", "::1", 80), "[::1]", b"/a%20b"),
        ("https://xn--bcher-kva.eu:8443", Origin("https", "xn--bcher-kva.eu", 8443), "xn--bcher-kva.eu:8443", b""),
        ("http://my_service:1", Origin("http", "my_service", 1), "my_service:1", b""),
    ],
)
def test_base_urls(tmp_path: Path, url: str, origin: Origin, authority: str, path: bytes) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"providers: {{mine: {{base_url: '{url}'}}}}")
    mine = settings.load(str(file), {}).providers["mine"]
    assert (mine.origin, mine.origin.authority, mine.base_path) == (origin, authority, path)


def test_user_may_name_a_provider_like_a_shipped_alias(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("providers:\n  silliconflow: {base_url: 'http://a'}\n  mine: {base_url: 'http://b', aliases: [o]}")
    found = settings.load(str(file), {}).providers
    assert found["siliconflow"].aliases == ()
    assert Table(found).find(b"silliconflow") is found["silliconflow"]
    assert Table(found).find(b"o") is found["mine"]
    file.write_text("providers:\n  mine: {base_url: 'http://b', aliases: [silliconflow]}")
    found = settings.load(str(file), {}).providers
    assert Table(found).find(b"silliconflow") is found["mine"]


# --- mistakes

URL_ERRORS = {
    "api.example": "not a URL",
    "https:/api.example": "not a URL",
    "ftp://host": "scheme",
    "https://": "no host",
    "https://:80": "no host",
    "https://user:hidden-word@host": "user or password",
    "https://host?x=1": "query or fragment",
    "https://host/#x": "query or fragment",
    "https://host:0": "bad port",
    "https://host:65536": "bad port",
    "https://host:": "bad port",
    "https://host:8x": "bad port",
    "https://ho st": "bad host",
    "https://-host": "bad host",
    "https://host..x": "bad host",
    "https://bücher.example": "xn--",
    "https://::1": "no host",
    "https://[::1": "write it as [::1]",
    "https://[zz]": "IPv6",
    "https://300.1.1.1": "IPv4",
    "https://127.1": "IPv4",
    "https://0x7f000001": "IPv4",
    "https://host/a b": "path with characters",
    "https://host/ä": "path with characters",
    "https://host/%zz": "path with characters",
    "https://host/../x": ". or ..",
    "https://host/%2e%2E/x": ". or ..",
    "https://host\\@evil": "user or password",
}
ENTRY_ERRORS = {
    "base_ulr: x": "did you mean base_url?",
    "aliases: one": "not a list",
    "aliases: [Two]": "cannot be a provider's name",
    "aliases: [chat]": "path of the gateway itself",
    "aliases: [no]": 'quote it: "no"',
    "aliases: [openai]": "already belongs to 'openai'",
    "aliases: [mine]": "already belongs to 'mine'",
    "aliases: [other]": "already belongs to 'other'",
    "aliases: [same, same]": "already belongs to 'mine'",
    "auth: basic": "not a kind of authentication",
    "auth: Bearer": "did you mean bearer?",
    "auth: 'query:'": "did you mean query:NAME?",
    "speaks: [openai.chat]": "not a map",
    "speaks: {openai.caht: /v1}": "did you mean openai.chat?",
    "speaks: {openai.chat: v1/chat}": "start with /",
    "speaks: {openai.chat: /v1?x}": "start with /",
    "speaks: {openai.chat: '/v1/{modle}'}": "start with /",
    "speaks: {openai.chat: null}": "is empty",
    "quirks: {dorp: [x]}": "did you mean drop?",
    "quirks: {drop: [off]}": 'quote it: "off"',
    "quirks: {clamp: {temperature: [1, 0]}}": "[low, high]",
    "quirks: {clamp: {temperature: 1}}": "[low, high]",
    "quirks: {clamp: {temperature: [a, b]}}": "[low, high]",
    "quirks: {rename: {a: [b]}}": "is a list",
    "quirks: {set: {a: yes}}": 'quote it: "yes"',
    "proxy: host:3128": "not a URL",
    "proxy: socks4://host:1": "scheme",
    "proxy: http://user:hidden-word@host:1": "user or password",
    "proxy: socks5://host": "no port",
    "proxy: env:BADPROXY": "scheme",
    "ca: /etc/ssl/ca.pem": "file:PATH",
    "headers: {Authorization: Bearer hidden-word}": "env:NAME",
    "headers: {'a b': x}": "not a header name",
    "headers: {Host: x}": "belongs to the connection",
    "headers: {x: ä}": "printable ASCII",
    'headers: {x: "a\\r\\nb: c"}': "printable ASCII",
    "max_connections: 0": "out of range",
    "max_connections: many": "whole number",
    "hosts: {api/: https://h}": "start with /",
    "hosts: {/api/: h}": "not a URL",
    "hosts: {/api/: null}": "is empty",
    "meter: {/x: openai.cht}": "did you mean openai.chat?",
    "meter: {x: openai.chat}": "start with / or *",
    "meter: {'/a?b': openai.chat}": "start with / or *",
    "meter: {'/a**': openai.chat}": "start with / or *",
}


def errors_of(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "mine.yaml"
    file.write_text(text, encoding="utf-8")
    errors, _ = settings.check(str(file), {"BADPROXY": "gopher://hidden-word"})
    assert not any("hidden-word" in line for line in errors)
    return [line.removeprefix(f"{file}:") for line in errors]


@pytest.mark.parametrize(("url", "said"), URL_ERRORS.items())
def test_bad_urls(tmp_path: Path, url: str, said: str) -> None:
    found = errors_of(tmp_path, f"providers:\n  mine:\n    base_url: '{url}'\n")
    assert len(found) == 1
    assert found[0].startswith("3: base_url: ")
    assert said in found[0]


@pytest.mark.parametrize(("entry", "said"), ENTRY_ERRORS.items())
def test_bad_entries(tmp_path: Path, entry: str, said: str) -> None:
    text = f"providers:\n  other: {{base_url: 'http://o'}}\n  mine:\n    base_url: http://m\n    {entry}\n"
    found = errors_of(tmp_path, text)
    assert len(found) == 1, found
    assert found[0].startswith("5: ")
    assert said in found[0]


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_reserved_names(tmp_path: Path, name: str) -> None:
    found = errors_of(tmp_path, f"providers:\n  {name}: {{base_url: 'http://h'}}\n")
    assert found == [f"2: {name!r} is a path of the gateway itself; choose another name"]


@pytest.mark.parametrize("name", ["A", "open_AI", "-a", ".a", "a b", "a/b", "ä", "a" * 65, "a:b", "%61"])
def test_impossible_names(tmp_path: Path, name: str) -> None:
    found = errors_of(tmp_path, f"providers:\n  '{name}': {{base_url: 'http://h'}}\n")
    assert len(found) == 1
    assert found[0].startswith("2: ")
    assert "cannot be a provider's name" in found[0]


@pytest.mark.parametrize("name", ["a", "0", "a" * 64, "my-vendor_2.eu", "tencent2", "null.x"])
def test_possible_names(tmp_path: Path, name: str) -> None:
    assert errors_of(tmp_path, f"providers:\n  {name}: {{base_url: 'http://h'}}\n") == []


def test_base_url_is_needed(tmp_path: Path) -> None:
    assert errors_of(tmp_path, "providers:\n  mine:\n    keys: []\n") == ["3: base_url is missing; add `base_url:`"]


def test_repeated_provider(tmp_path: Path) -> None:
    found = errors_of(
        tmp_path, "providers:\n  a: {base_url: 'http://a'}\n  b: {base_url: 'http://b'}\n  a: {base_url: 'http://c'}\n"
    )
    assert found == ["4: the key 'a' is already on line 2; keep one of the two"]
