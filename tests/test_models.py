"""The `models:` section: targets, rules, features and caches arrive, and mistakes are refused where they stand."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway import settings
from gateway.models import Cache, Features, Model, Rule, Semantic, Target, When

BROKEN = "  broken: {base_url: 'nonsense'}\n"
GOOD = """\
providers:
  one: {base_url: 'http://one', aliases: [uno], speaks: {openai.chat: /chat, ark.videos: /videos}}
  mute: {base_url: 'http://mute'}
models:
  plain: {targets: [{provider: one, model: m}]}
"""


def loaded(tmp_path: Path, entries: str) -> dict[str, Model]:
    file = tmp_path / "mine.yaml"
    file.write_text(GOOD + entries)
    return settings.load(str(file), {}).models


def test_targets(tmp_path: Path) -> None:
    found = loaded(
        tmp_path,
        "  m:\n    strategy: lowest_latency\n    kind: video\n    targets:\n"
        "      - {provider: uno, model: vendor/m, weight: 0, priority: 2, dialect: ark.videos}\n"
        "      - {provider: openai, model: gpt}\n",
    )
    assert found["m"].targets == (Target("one", "vendor/m", 0, 2, "ark.videos"), Target("openai", "gpt", 1, 1, None))
    assert (found["m"].strategy, found["m"].kind) == ("lowest_latency", "video")
    assert found["plain"] == Model("plain", (Target("one", "m"),))


def test_rules(tmp_path: Path) -> None:
    found = loaded(
        tmp_path,
        "  auto:\n    use: plain\n    rules:\n"
        "      - {when: {task: coding, images: true, tools: false, key: k, model: auto}, use: plain}\n"
        "      - {when: {input_tokens: '<= 4000'}, use: other}\n"
        "  other: {use: plain}\n",
    )
    assert found["auto"].rules == (
        Rule(When(task="coding", images=True, tools=False, key="k", model="auto"), "plain"),
        Rule(When(input_tokens=("<=", 4000)), "other"),
    )
    assert found["auto"].use == "plain"


def test_features_and_cache(tmp_path: Path) -> None:
    found = loaded(
        tmp_path,
        "  m:\n    targets: [{provider: one, model: m}]\n"
        "    features: {thinking: budget, images: none, json_schema: false, max_output: 1, gemini_image_output: text,"
        " max_tokens_field: max_completion_tokens, reasoning_echo: true}\n"
        "    cache: {exact: false, ttl: 1d, shared: true, price: 0.5,"
        " semantic: {threshold: 1, embed: plain, shadow: yes}}\n"
        "  kept: {targets: [{provider: one, model: m}], cache: {}}\n",
    )
    assert found["m"].features == Features("budget", "none", False, 1, "text", "max_completion_tokens", True)
    assert found["m"].cache == Cache(False, 86400, True, 500_000_000, Semantic(1, "plain", True))
    assert found["kept"].cache == Cache(exact=True, ttl=3600, shared=False, price=0, semantic=None)
    assert found["plain"].cache is None


def test_target_that_cannot_be_called_is_a_warning(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(GOOD + "  m: {targets: [{provider: mute, model: m}]}\n")
    assert settings.check(str(file), {}) == (
        [],
        [f"{file}:6: the provider mute speaks no dialect, so this target is never used; add `speaks:`"],
    )


TARGET = "targets: [{provider: one, model: m}]"
ERRORS = {
    "{}": ["goes nowhere"],
    "{targets: []}": ["goes nowhere"],
    f"{{{TARGET}, use: plain}}": ["targets and use"],
    "{rules: [{when: {}, use: plain}]}": ["goes nowhere"],
    "{targets: {provider: one, model: m}}": ["not a list"],
    "{targets: [one]}": ["not a map"],
    "{targets: [{model: m}]}": ["provider is missing"],
    "{targets: [{provider: one}]}": ["model is missing"],
    "{targets: [{provider: unn, model: m}]}": ["did you mean uno?"],
    "{targets: [{provider: off, model: m}]}": ['quote it: "off"', "unknown provider 'off'"],
    "{targets: [{provider: unn, model: m, wieght: 1}]}": ["did you mean weight?", "did you mean uno?"],
    "{targets: [{provider: one, model: m, weight: -1}]}": ["out of range"],
    "{targets: [{provider: one, model: m, priority: first}]}": ["whole number"],
    "{targets: [{provider: one, model: m, dialect: ark.vidoes}]}": ["did you mean ark.videos?"],
    "{targets: [{provider: one, model: m, dialect: zhipu.videos}]}": ["does not speak zhipu.videos"],
    f"{{{TARGET}, kind: chats}}": ["did you mean chat?"],
    f"{{{TARGET}, strategy: random}}": ["known are: least_busy"],
    f"{{{TARGET}, features: {{thinking: hard}}}}": ["known are: adaptive"],
    f"{{{TARGET}, features: {{vision: true}}}}": ["unknown key 'vision'"],
    f"{{{TARGET}, features: {{max_output: 0}}}}": ["out of range"],
    f"{{{TARGET}, features: {{json_schema: 1}}}}": ["true or false"],
    f"{{{TARGET}, cache: true}}": ["not a map"],
    f"{{{TARGET}, cache: {{ttl: 0}}}}": ["out of range"],
    f"{{{TARGET}, cache: {{price: free}}}}": ["not a price"],
    f"{{{TARGET}, cache: {{semantic: {{threshold: 1.5}}}}}}": ["out of range"],
    f"{{{TARGET}, cache: {{semantic: {{embed: nothing}}}}}}": ["unknown model 'nothing'"],
    "{rules: [{use: plain}], use: plain}": ["when is missing"],
    "{rules: [{when: {task: x}}], use: plain}": ["use is missing"],
    "{rules: [{when: {task: on}, use: plain}], use: plain}": ['quote it: "on"'],
    "{rules: [{when: {taks: x}, use: plain}], use: plain}": ["did you mean task?"],
    "{rules: [{when: {tools: some}, use: plain}], use: plain}": ["true or false"],
    "{rules: [{when: {input_tokens: 32000}, use: plain}], use: plain}": ["not a comparison"],
    "{rules: [{when: {input_tokens: '>many'}, use: plain}], use: plain}": ["not a comparison"],
    "{rules: [{when: {}, use: plian}], use: plain}": ["did you mean plain?"],
    "{use: plian}": ["did you mean plain?"],
    "{use: m}": ["lead in a circle"],
    "{rules: [{when: {}, use: m}], use: plain}": ["lead in a circle"],
    "text": ["not a map"],
    "[]": ["not a map"],
}


@pytest.mark.parametrize(("entry", "said"), ERRORS.items())
def test_mistakes(tmp_path: Path, entry: str, said: list[str]) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(GOOD + f"  m: {entry}\n")
    errors, _ = settings.check(str(file), {})
    assert len(errors) == len(said), errors
    for line, part in zip(errors, said, strict=True):
        assert line.startswith(f"{file}:6: ")
        assert part in line


def test_circle_over_several_names_is_told_for_each_that_never_ends(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "models:\n  a: {use: b}\n  b: {use: c}\n  c: {use: b}\n"
        "  d: {use: e}\n  e: {targets: [{provider: openai, model: x}]}\n"
    )
    errors, _ = settings.check(str(file), {})
    assert [line.removeprefix(f"{file}:").split(": ")[0] for line in errors] == ["2", "3", "4"]


def test_target_of_a_broken_provider_is_not_blamed_again(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(GOOD.replace("models:", BROKEN + "models:") + "  m: {targets: [{provider: broken, model: m}]}\n")
    errors, _ = settings.check(str(file), {})
    assert len(errors) == 1
    assert errors[0].startswith(f"{file}:4: base_url: ")


def test_target_of_a_removed_provider_is_unknown(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("providers: {openai: null}\nmodels:\n  m: {targets: [{provider: openai, model: m}]}\n")
    errors, _ = settings.check(str(file), {})
    assert len(errors) == 1
    assert errors[0].startswith(f"{file}:3: unknown provider 'openai'")


def test_a_use_like_no_known_model_is_a_warning(tmp_path: Path) -> None:
    file = tmp_path / "providers.yaml"
    file.write_text("models:\n  auto: {rules: [{when: {task: coding}, use: gpt-5.3-codex}], use: plain}\n"
                    "  plain: {targets: [{provider: deepseek, model: m}]}\n")  # fmt: skip
    errors, warnings = settings.check(str(file), {"DEEPSEEK_API_KEY": "x"})
    assert not errors
    assert any(":2: unknown model 'gpt-5.3-codex'" in line for line in warnings)
