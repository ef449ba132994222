"""Layers, the server section, secrets and warnings, and that a file is either loaded or refused with lines."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from gateway import settings
from gateway.errors import ConfigError
from gateway.providers import DIALECTS
from gateway.settings import ServerSettings, Settings

ROOT = Path(__file__).parent.parent
LINE = re.compile(r"[^\n]+:[1-9][0-9]*: [^\n]+; [^\n]+", re.DOTALL)

EVERYTHING = """\
server:
  database: postgresql://user:hidden-word@db/gateway
  redis: redis://localhost:6379/0
  access_log: file:access.log
  metrics_port: 9100
  credits: false
  passthrough_key: true
  durability: power
  missing_usage: free
  store_responses: 24
  fetch_media: yes
  cors: ["https://app.example", "http://localhost:3000"]
  max_connections: 10
  idle_timeout: 0.5
  connect_timeout: 250ms
  head_timeout: 5s
  drain_seconds: 0
  drain_on_disconnect: 2m
  max_body: 1MiB
  public_url: https://gateway.example/base/
  assets: s3://bucket/prefix
  assets_expire: 30d
  poll_interval: 0.05
  answer_timeout: 1h
  private_hosts: [10.0.0.0/8, "::1", localhost, 127.0.0.1]
providers:
  tencent: {base_url: "https://api.hunyuan.cloud.tencent.com", keys: [env:HUNYUAN], speaks: {openai.chat: /chat}}
  siliconflow:
    base_url: https://api.siliconflow.cn
    aliases: [silliconflow]
    keys: [env:SILICON]
    auth: query:key
    speaks: {openai.chat: /v1/chat/completions, jina.rerank: /v1/rerank}
    quirks: {drop: [logit_bias], rename: {max_tokens: limit}, set: {a: [1, {b: 0.5}]}, clamp: {temperature: [0, 1]}}
    proxy: socks5://127.0.0.1:1080
    ca: null
    headers: {x-plain: text, Authorization: env:EXTRA}
    max_connections: 7
  bytedance:
    base_url: https://ark.cn-beijing.volces.com
    hosts:
      /api/v3/sauc/: wss://openspeech.bytedance.com
    meter: {/api/v3/context/chat/completions: openai.chat}
  openai: null
models:
  deepseek-chat:
    strategy: least_busy
    targets:
      - {provider: deepseek, model: deepseek-chat, weight: 3}
      - {provider: silliconflow, model: deepseek-ai/DeepSeek-V3, priority: 2}
    price: {input: 2, cached_input: 0.5, output: 8}
    features: {thinking: effort, images: url+base64, json_schema: true, max_output: 8192, gemini_image_output: inline}
    cache: {ttl: 1h, price: 0.1, semantic: {threshold: 0.9, embed: local, shadow: true}}
  seedance-2.0:
    kind: video
    targets: [{provider: bytedance, model: doubao-seedance-2-0-260128, dialect: ark.videos}]
    price: {per_second: {480p: 0.2, 720p: 0.4, 1080p: 0.9}}
  auto:
    rules: [{when: {task: coding}, use: deepseek-chat}, {when: {input_tokens: ">32000"}, use: seedance-2.0}]
    use: deepseek-chat
"""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees a providers.yaml that it did not write."""
    monkeypatch.chdir(tmp_path)


def written(text: str, name: str = "mine.yaml") -> str:
    Path(name).write_text(text, encoding="utf-8")
    return name


def loaded(text: str, **environ: str) -> Settings:
    return settings.load(written(text), environ)


def problems(text: str | bytes) -> list[str]:
    if isinstance(text, bytes):
        Path("mine.yaml").write_bytes(text)
    else:
        written(text)
    errors, _ = settings.check("mine.yaml", {})
    return errors


def test_shipped_file_alone_is_valid_and_needs_no_key() -> None:
    found = settings.load(None, {})
    assert found.server == ServerSettings()
    assert found.warnings == ()
    assert len(found.providers) == 15


@pytest.mark.parametrize("text", ["", "\n# nothing\n", "---\n", "null", "{}", "server:\nproviders: null\nmodels: {}"])
def test_empty_file_is_valid(text: str) -> None:
    assert loaded(text) == settings.load(None, {})


def test_every_key_arrives() -> None:
    found = loaded(EVERYTHING, HUNYUAN="k1", SILICON="k2", EXTRA="Bearer k3", DEEPSEEK_API_KEY="k4")
    assert {key: getattr(found.server, key) for key in ServerSettings.__struct_fields__} == {
        "database": "postgresql://user:hidden-word@db/gateway",
        "redis": "redis://localhost:6379/0",
        "access_log": f"file:{Path('access.log').absolute()}",
        "metrics_port": 9100,
        "credits": False,
        "passthrough_key": True,
        "tls": None,
        "durability": "power",
        "missing_usage": "free",
        "store_responses": 24,
        "fetch_media": True,
        "cors": ("https://app.example", "http://localhost:3000"),
        "max_connections": 10,
        "idle_timeout": 0.5,
        "connect_timeout": 0.25,
        "head_timeout": 5,
        "drain_seconds": 0,
        "drain_on_disconnect": 120,
        "max_body": 1 << 20,
        "public_url": "https://gateway.example/base",
        "assets": "s3://bucket/prefix",
        "assets_expire": 30 * 86400,
        "poll_interval": 0.05,
        "answer_timeout": 3600,
        "private_hosts": ("10.0.0.0/8", "::1", "localhost", "127.0.0.1"),
    }
    assert "openai" not in found.providers
    assert found.providers["tencent"].hosts == (), "an entry replaces the shipped one as a whole"
    assert "anthropic" in found.providers
    assert [(t.provider, t.weight, t.priority) for t in found.models["deepseek-chat"].targets] == [
        ("deepseek", 3, 1),
        ("siliconflow", 1, 2),
    ]
    assert found.warnings == (
        "mine.yaml:56: the provider bytedance speaks no dialect, so this target is never used; add `speaks:`",
    )


def test_defaults_are_the_promised_ones() -> None:
    """The `server:` block of the promise, as it is written there."""
    written_out = """server: {database: sqlite, redis: null, access_log: stdout, metrics_port: null, credits: true,
        passthrough_key: false, durability: process, missing_usage: estimate, store_responses: 0, fetch_media: false,
        cors: [], max_connections: 20000, idle_timeout: 600, connect_timeout: 10, head_timeout: 30, drain_seconds: 600,
        drain_on_disconnect: 30, max_body: 64MiB, public_url: null, assets: null, assets_expire: 7d, poll_interval: 3,
        answer_timeout: 600, private_hosts: [], tls: null}"""
    assert all(f"{key}:" in written_out for key in ServerSettings.__struct_fields__)
    assert loaded("").server == loaded(written_out).server
    assert loaded("").server.max_body == 67108864
    assert loaded("").server.assets_expire == 604800


@pytest.mark.parametrize("value", ["off", '"off"', "'off'", "Off", "false"])
def test_log_may_be_off_with_or_without_quotes(value: str) -> None:
    assert loaded(f"server: {{access_log: {value}}}").server.access_log == "off"


def test_cors_for_all() -> None:
    assert loaded('server: {cors: "*"}').server.cors == ("*",)
    assert loaded('server: {cors: ["*"]}').server.cors == ("*",)


def test_json_is_yaml() -> None:
    found = loaded('{"server": {"access_log": "off"}, "providers": {"echo": {"base_url": "http://127.0.0.1:9"}}}')
    assert found.providers["echo"].origin.port == 9


def test_anchors_and_aliases_work() -> None:
    found = loaded("providers:\n  a: {base_url: 'http://a', keys: &k [env:K]}\n  b: {base_url: 'http://b', keys: *k}\n")
    assert found.providers["a"].keys == found.providers["b"].keys


# --- which files


def test_default_is_providers_yaml_of_the_folder() -> None:
    written("providers: {echo: {base_url: 'http://127.0.0.1:9'}}", "providers.yaml")
    assert "echo" in settings.load(None, {}).providers


def test_shipped_file_is_not_laid_over_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for path in (None, "providers.yaml", str(settings.SHIPPED)):
        assert settings.load(path, {}).warnings == (), "as the user's own file it would miss its keys"


def test_root_file_is_the_packaged_one() -> None:
    assert (ROOT / "providers.yaml").samefile(settings.SHIPPED)
    assert settings.SHIPPED.parent == Path(settings.__file__).parent


def test_missing_file_is_one_clear_error() -> None:
    errors, warnings = settings.check("nowhere.yaml", {})
    assert errors == ["nowhere.yaml:1: cannot be read (No such file or directory); give the path of a readable file"]
    assert warnings == []


def test_load_raises_all_problems_in_order() -> None:
    text = "server: {credits: maybe}\nproviders:\n  v1: {base_url: 'http://a'}\n  b: {}\nmodles: {}\n"
    with pytest.raises(ConfigError) as caught:
        loaded(text)
    assert [problem.split(":")[:2] for problem in caught.value.problems] == [
        ["mine.yaml", "1"],
        ["mine.yaml", "3"],
        ["mine.yaml", "4"],
        ["mine.yaml", "5"],
    ]


def test_error_in_one_place_hides_none_in_another() -> None:
    text = EVERYTHING.replace("credits: false", "credit: false").replace("weight: 3", "weight: x")
    text = text.replace("provider: bytedance", "provider: bytedanse").replace("logit_bias]", "no]")
    assert [int(line.split(":")[1]) for line in problems(text)] == [6, 34, 49, 56]


# --- one wrong value each: where, and what the message must say

SERVER_ERRORS = {
    "idle_timout: 3": "did you mean idle_timeout?",
    "database: mysql://u:hidden-word@h/d": "postgresql://",
    "database: [sqlite]": "is a list",
    "database: env:UNSET": "missing",
    "redis: http://h": "redis://",
    "access_log: stderr": "write stdout, off or file:PATH",
    "access_log: 'file:'": "write stdout, off or file:PATH",
    "metrics_port: 0": "from 1 to 65535",
    "metrics_port: 70000": "from 1 to 65535",
    "metrics_port: '9100'": "whole number",
    "metrics_port: 9.5": "whole number",
    "credits: maybe": "true or false",
    "credits: 'true'": "true or false",
    "credits: 1": "true or false",
    "tls: {cert: file:nowhere.pem, key: file:nowhere.key}": "cannot be read",
    "tls: {cert: file:nowhere.pem}": "key is missing",
    "tls: {cert: hidden-word, key: hidden-word}": "write file:PATH",
    "tls: on": "not a map",
    "durability: disk": "power, process",
    "missing_usage: estimated": "did you mean estimate?",
    "store_responses: -1": "out of range",
    "store_responses: .inf": "not a number",
    "fetch_media: null": "is empty",
    "cors: https://a.example": "not a list",
    "cors: [https://a.example/path]": "write https://a.example",
    "cors: [https://a.example/]": "write https://a.example",
    "cors: [a.example]": "not a URL",
    "max_connections: -5": "out of range",
    "max_connections: 99999999999999999999": "whole number",
    "idle_timeout: 0": "out of range",
    "idle_timeout: ten": "not a time",
    "idle_timeout: 1e3": "not a time",
    "drain_seconds: -1": "not a time",
    "assets_expire: 7 weeks": "not a time",
    "max_body: 64Mib": "MiB",
    "max_body: 0": "not a size",
    "public_url: gateway.example": "not a URL",
    "public_url: https://gateway.example/?x": "query or fragment",
    "assets: /var/lib/assets": "file:///path",
    "assets: s3://": "s3://bucket",
    "private_hosts: 10.0.0.0/8": "not a list",
    "private_hosts: [10.0.0.1/8]": "did you mean 10.0.0.0/8?",
    "private_hosts: [10.0.0.0/40]": "neither a host nor a CIDR block",
    "private_hosts: [300.1.1.1]": "neither a host nor a CIDR block",
    "private_hosts: ['a b']": "neither a host nor a CIDR block",
}


@pytest.mark.parametrize(("entry", "said"), SERVER_ERRORS.items())
def test_server_errors(entry: str, said: str) -> None:
    found = problems(f"# a comment\nserver:\n  {entry}\n")
    assert any(text.startswith("mine.yaml:3: ") and said in text for text in found), found
    assert all(LINE.fullmatch(text) for text in found), found
    assert not any("hidden-word" in text for text in found)


@pytest.mark.parametrize("name", ["no", "No", "off", "yes", "on", "ON", "true", "null", "~"])
def test_bare_truth_values_are_no_names(name: str) -> None:
    entry = "{targets: [{provider: openai, model: x}]}"
    found = problems(f"models:\n  {name}: {entry}\n")
    assert len(found) == 1, found
    assert found[0].startswith("mine.yaml:2: ")
    assert "quote it" in found[0]
    assert problems(f'models:\n  "{name}": {entry}\n') == []


@pytest.mark.parametrize("name", ["4", "4.10", "2024-01-01", "0x10", "1_0", "1:30", "a b", "模型", "=", "<<", "n", "y"])
def test_other_names_stay_as_written(name: str) -> None:
    found = loaded(f"models:\n  {name}: {{targets: [{{provider: openai, model: {name}}}]}}\n")
    assert found.models[name].targets[0].model == name


# --- secrets


def test_secrets_are_references_and_never_shown() -> None:
    Path("key.txt").write_text("word-two\n")
    keys = "keys: [env:ONE, file:key.txt], proxy: env:PROXY, headers: {x-a: env:ONE}"
    found = loaded(
        f"providers: {{a: {{base_url: 'http://a', {keys}}}}}", ONE="word-one", PROXY="http://user:word-three@proxy:3128"
    )
    provider = found.providers["a"]
    assert [key.get() for key in provider.keys] == ["word-one", "word-two"]
    assert provider.proxy is not None
    assert provider.proxy.get() == "http://user:word-three@proxy:3128"
    assert provider.headers["x-a"].get() == "word-one"
    for shown in (repr(found), str(found), repr(provider.keys), str(provider.keys[0])):
        assert "word-" not in shown
    assert repr(provider.keys[1]) == "Secret(file:key.txt)"


def test_database_password_is_never_shown() -> None:
    found = loaded("server: {database: env:DB}", DB="postgresql://u:word-one@h/d")
    assert found.server.database == "postgresql://u:word-one@h/d"
    assert "word-one" not in repr(found)


def test_missing_secrets_are_warnings() -> None:
    Path("odd.txt").write_text("two\nlines\n")
    text = "providers:\n  a:\n    base_url: http://a\n    ca: file:none.pem\n    keys:\n"
    text += "      - env:UNSET\n      - file:nowhere\n      - file:odd.txt\n"
    errors, warnings = settings.check(written(text), {})
    assert errors == []
    assert [line.split(": ")[0] for line in warnings] == [f"mine.yaml:{n}" for n in (4, 6, 7, 8)]
    assert [key.get() for key in settings.load("mine.yaml", {}).providers["a"].keys] == [None, None, None]


def test_shipped_keys_are_missed_only_where_a_model_needs_them() -> None:
    text = "models: {m: {targets: [{provider: moonshot, model: kimi}]}}"
    _, warnings = settings.check(written(text), {})
    assert len(warnings) == 1
    assert "moonshot needs env:MOONSHOT_API_KEY" in warnings[0]
    assert settings.check("mine.yaml", {"MOONSHOT_API_KEY": "k"}) == ([], [])


@pytest.mark.parametrize(
    "keys",
    ["[sk-hidden-word]", "sk-hidden-word", "[env:sk-hidden-word]", "['env:']", "[$X]", "[{a: hidden-word}]"],
)
def test_literal_secrets_are_refused_and_not_repeated(keys: str) -> None:
    found = problems(f"providers:\n  a:\n    base_url: http://a\n    keys: {keys}\n")
    assert len(found) == 1
    assert found[0].startswith("mine.yaml:4: keys: ")
    assert "hidden-word" not in found[0]


def test_relative_files_start_at_the_configuration() -> None:
    Path("folder").mkdir()
    Path("folder/key").write_text("word")
    Path("folder/mine.yaml").write_text("providers: {a: {base_url: 'http://a', keys: [file:key]}}")
    assert settings.load("folder/mine.yaml", {}).providers["a"].keys[0].get() == "word"


def test_tls_files() -> None:
    for name in ("cert.pem", "key.pem"):
        Path(name).write_text("x")
    tls = loaded("server: {tls: {cert: file:cert.pem, key: file:key.pem}}").server.tls
    assert tls is not None
    assert (tls.cert, tls.key) == (os.path.abspath("cert.pem"), os.path.abspath("key.pem"))


# --- whatever the file holds, it is loaded or refused with lines

WORDS = st.sampled_from(
    sorted(
        set(re.findall(r"[^\s{}\[\],:#'\"]+", EVERYTHING))
        | {"", "null", "no", "on", "~", "-1", "1e9", "http://[::1", "file:", "env:", "\u2028", "*", "&a", "{model}"}
    )
)
TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


def _only_lines(data: bytes) -> None:
    Path("mine.yaml").write_bytes(data)
    errors, warnings = settings.check("mine.yaml", {})
    assert all(LINE.fullmatch(line) for line in errors + warnings)
    if errors:
        with pytest.raises(ConfigError):
            settings.load("mine.yaml", {})
    else:
        assert isinstance(settings.load("mine.yaml", {}), Settings)


QUICK = hypothesis_settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@QUICK
@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    _only_lines(data)


@QUICK
@given(TREES, st.sampled_from(["server", "providers", "models"]), WORDS)
def test_any_tree(tree: object, section: str, word: str) -> None:
    dumped: str = yaml.safe_dump({section: {word: tree}}, allow_unicode=True)
    _only_lines(dumped.encode("utf-8", "replace"))


@QUICK
@given(st.data())
def test_any_change_of_a_good_file(data: st.DataObject) -> None:
    lines = EVERYTHING.splitlines()
    at = data.draw(st.integers(0, len(lines) - 1))
    words = re.split(r"([\s{}\[\],:#'\"]+)", lines[at])
    words[data.draw(st.integers(0, len(words) - 1))] = data.draw(WORDS | st.text(max_size=4))
    lines[at] = "".join(words)
    _only_lines("\n".join(lines).encode("utf-8", "replace"))


# --- the page that explains the file


def test_every_key_and_dialect_is_explained() -> None:
    page = (ROOT / "docs" / "providers.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z_]+)`", page)) | set(re.findall(r"[a-z]+\.[a-z]+", page))
    structs = (ServerSettings, settings.Provider, settings.Model)
    keys = {key for struct in structs for key in struct.__struct_fields__} - {"id", "origin", "base_path", "name"}
    assert keys | DIALECTS <= named
