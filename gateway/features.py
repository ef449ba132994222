"""What converters may count on at models that are known by name: what the configuration leaves open, filled in.

The names are the vendors'. The first row that is found in a name wins, so narrow rows stand above wide ones. To add a
model, add a row with what its vendor's documentation says; a `guess` is marked. What no row says stays open, and the
dialect's own default holds.

`none` under thinking also stands for models that always think: they cannot be asked to, nor not to. `max_output` is
given only where a vendor wants a limit in every request.
"""

from __future__ import annotations

import re
from functools import lru_cache

import msgspec

from gateway.types import Features

_EFFORT = Features(thinking="effort")
_BUDGET = Features(thinking="budget")
_SWITCH = Features(thinking="switch")
_NONE = Features(thinking="none")
# The reasoning models of OpenAI refuse `max_tokens`; its other models take the new name too.
_OPENAI = Features(thinking="none", json_schema=True, max_tokens_field="max_completion_tokens")
_OPENAI_REASONS = Features(thinking="effort", json_schema=True, max_tokens_field="max_completion_tokens")
_DEEPSEEK = Features(thinking="switch", images="none", json_schema=False, reasoning_echo=True)


def _claude(thinking: str, max_output: int, json_schema: bool = True) -> Features:
    return Features(thinking=thinking, max_output=max_output, json_schema=json_schema)


_ROWS: tuple[tuple[str, Features], ...] = (
    # Anthropic's, also under the names of Bedrock, Vertex and resellers. Adaptive thinking came with 4.6; from 4.7 on
    # budgets are refused. JSON schemas came with Opus 4.1 and the family 4.5.
    (r"claude-3[.-]7", _claude("budget", 64_000, False)),
    (r"claude-3[.-]5", _claude("none", 8192, False)),
    (r"claude-(?:[123]|instant)", _claude("none", 4096, False)),
    (r"claude-(?:opus-4|4-opus)[.-]1(?!\d)", _claude("budget", 32_000)),
    (r"claude-(?:[a-z]+-4[.-]5|4[.-]5-[a-z]+)(?!\d)", _claude("budget", 64_000)),
    (r"claude-(?:[a-z]+-4[.-][1-9]|4[.-][1-9]-[a-z]+)(?!\d)", _claude("adaptive", 128_000)),
    (r"claude-(?:opus-4|4-opus)", _claude("budget", 32_000, False)),
    (r"claude-(?:[a-z]+-4|4-[a-z]+)", _claude("budget", 64_000, False)),
    (r"claude-haiku", _claude("adaptive", 64_000)),  # guess: Haiku 5 and later
    (r"claude-[a-z]+", _claude("adaptive", 128_000)),
    # OpenAI's.
    (r"gpt-oss", _EFFORT),
    (r"gpt-[5-9][\w.]*-chat", _OPENAI),
    (r"gpt-[5-9]|(?:^|/)o[1-9](?:-|\+|$)", _OPENAI_REASONS),
    (r"gpt-4(?:o|\.[1-9])", _OPENAI),
    (r"gpt-4|gpt-3\.5", Features(thinking="none", json_schema=False)),
    # Google's: levels since Gemini 3, budgets before, nothing before 2.5. Pictures by web address only where it is
    # switched on in the configuration: not all models fetch them.
    (r"gemini-2\.5", Features(thinking="budget", images="base64")),
    (r"gemini-[12]", Features(thinking="none", images="base64")),
    (r"gemini-", Features(thinking="effort", images="base64")),
    # DeepSeek's: its own doors and Ark have a switch; DashScope (a dot in the version) and SiliconFlow (an owner before
    # the name) have `enable_thinking`. R1 always thinks.
    (r"deepseek-r1", Features(thinking="none", reasoning_echo=True)),
    (r"deepseek-ai/|(?:^|/)deepseek-v\d\.\d", Features(thinking="budget", reasoning_echo=True)),
    (r"deepseek-(?:chat|reasoner|v[4-9])", _DEEPSEEK),
    (r"deepseek-v", Features(thinking="switch", reasoning_echo=True)),
    # Moonshot's: pictures as base64 only; since K2.5 one model that thinks unless told not to.
    (r"kimi-k2-thinking", Features(thinking="none", images="base64", reasoning_echo=True)),
    (r"kimi-k(?:2\.[5-9]|[3-9])", Features(thinking="switch", images="base64", reasoning_echo=True)),
    (r"kimi|moonshot-v", Features(thinking="none", images="base64")),
    # Zhipu's: objects only, no schemas.
    (r"glm-(?:4\.[5-9]|[5-9])", Features(thinking="switch", json_schema=False, reasoning_echo=True)),
    (r"glm-", Features(thinking="none", json_schema=False)),
    # Alibaba's: the names without a number are aliases of Qwen 3.
    (r"qwen[\w.]*-.*(?:instruct|coder)|qwen-?[12]|qwen-(?:max|vl|long)|qwq|qvq", _NONE),
    (r"qwen[3-9]|qwen-(?:plus|turbo|flash)", _BUDGET),
    # MiniMax M thinks always, and wants to see what it thought.
    (r"minimax-m", Features(thinking="none", reasoning_echo=True)),
    (r"doubao-seed|doubao-.*thinking|(?:^|/)seed-[12]", _SWITCH),
    (r"doubao-", _NONE),
    (r"hunyuan-a13b", _BUDGET),
    (r"hunyuan-", _NONE),  # guess: T1 and the -thinking models always think, the others never
    (r"ernie-(?:[5-9]|.*vl)", _BUDGET),  # guess: `enable_thinking`, documented second hand
    (r"ernie-", _NONE),
)  # fmt: skip
_COMPILED = tuple((re.compile(pattern), row) for pattern, row in _ROWS)


@lru_cache(maxsize=4096)
def features(model_name: str, own: Features = Features()) -> Features:  # noqa: B008
    """What the configuration says of a vendor's model, completed by the first row that knows the name."""
    name = model_name.lower()
    row = next((row for pattern, row in _COMPILED if pattern.search(name)), None)
    if row is None:
        return own
    said = {field: value for field, value in msgspec.structs.asdict(own).items() if value is not None}
    return msgspec.structs.replace(row, **said)
