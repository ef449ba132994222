"""OpenAI realtime: `/v1/realtime?model=M`, and `?intent=transcription`. GA names, or beta names if asked for."""

from __future__ import annotations

import time

from aiohttp import web

from gateway.sandbox.ws_realtime import BUFFER, CONVERSATION, RealtimeSession
from gateway.sandbox.ws_realtime_form import BETA, BETA_TRANSCRIPTION, GA, GA_TRANSCRIPTION
from gateway.sandbox.ws_script import split_model
from gateway.sandbox.ws_session import Connection, Endpoint, Json, Refused, Session, bearer

IDS = ("openai",)
_KEY_PROTOCOL = "openai-insecure-api-key."
_BETA_PROTOCOL = "openai-beta.realtime-v1"
_LIFETIME = 3600
_ERRORS = {
    401: ("invalid_request_error", "invalid_api_key"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
}


def _offered(request: web.Request) -> list[str]:
    return [name.strip() for name in request.headers.get("Sec-WebSocket-Protocol", "").split(",")]


def _authorize(request: web.Request) -> None:
    protocols = _offered(request)
    key = next((name.removeprefix(_KEY_PROTOCOL) for name in protocols if name.startswith(_KEY_PROTOCOL)), "")
    if not (bearer(request) or key and "bad" not in key and "realtime" in protocols):
        raise Refused(401, "Incorrect API key provided.")
    model = split_model(request.query.get("model", ""))[0]
    intent = request.query.get("intent", "")
    if intent not in ("", "transcription", "conversation"):
        raise Refused(400, f"Invalid value for intent: {intent!r}.", "invalid_value")
    if not model and intent != "transcription":
        raise Refused(400, "You must provide a model parameter.", "missing_model")
    if "no-such" in model:
        raise Refused(404, f"The model `{model}` does not exist or you do not have access to it.")


def _refusal(refused: Refused) -> Json:
    server = ("server_error", "internal_error")
    kind, code = _ERRORS.get(refused.status, server if refused.status >= 500 else ("invalid_request_error", None))
    return {"error": {"message": refused.message, "type": kind, "param": None, "code": refused.code or code}}


class OpenaiSession(RealtimeSession):
    async def update(self, body: Json) -> None:
        session = body.get("session")
        if self.form is GA and isinstance(session, dict) and session.get("type") == "transcription":
            self._become_transcription()
        await super().update(body)

    def _become_transcription(self) -> None:
        """A session's kind may be chosen by its first update."""
        kept = {name: self.config[name] for name in ("id", "expires_at")}
        self.form, self.config = GA_TRANSCRIPTION, kept | GA_TRANSCRIPTION.defaults(self.model)


def _session(connection: Connection) -> Session:
    request = connection.request
    beta = request.headers.get("OpenAI-Beta") == "realtime=v1" or _BETA_PROTOCOL in _offered(request)
    pair = (BETA, BETA_TRANSCRIPTION) if beta else (GA, GA_TRANSCRIPTION)
    form = pair[request.query.get("intent") == "transcription"]
    model = split_model(request.query.get("model", ""))[0]
    session = OpenaiSession(connection, form, model, int(time.time()) + _LIFETIME)
    session.handlers = {form.update: OpenaiSession.update, **BUFFER, **CONVERSATION}
    return session


def routes(prefix: str) -> list[web.RouteDef]:
    return [web.get(f"{prefix}/v1/realtime", Endpoint(_session, _authorize, _refusal, ("realtime",)).handle)]
