"""All WebSocket vendors, and the speech calls over HTTP that belong to them."""

from __future__ import annotations

from gateway.sandbox import (
    ws_dashscope_realtime,
    ws_dashscope_task,
    ws_echo,
    ws_minimax,
    ws_openai,
    ws_openspeech_asr,
    ws_openspeech_http,
    ws_openspeech_tts,
)

MODULES = (
    ws_openai,
    ws_openspeech_asr,
    ws_openspeech_tts,
    ws_openspeech_http,
    ws_dashscope_task,
    ws_dashscope_realtime,
    ws_minimax,
    ws_echo,
)
