"""The gateway's own errors: one class per remedy, each with the status and code that clients see."""

from __future__ import annotations

import enum
import traceback


class Source(enum.Enum):
    """Who is to blame; only an upstream's fault may count against its health."""

    CLIENT = "client"
    GATEWAY = "gateway"
    UPSTREAM = "upstream"


class GatewayError(Exception):
    """Base of all errors that a client is told about. `retry`: whether another route may be tried."""

    status = 500
    code = "internal"
    source = Source.GATEWAY
    retry = False

    def __init__(self, message: str, *, param: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param  # the request's field that is to blame
        self.retry_after = retry_after  # seconds


class Internal(GatewayError):
    """A mistake of the gateway's own."""


class BadRequest(GatewayError):
    status, code, source = 400, "bad_request", Source.CLIENT


class Unsupported(BadRequest):
    """What a target's dialect cannot carry; `param` names it."""

    code = "unsupported"


class Unauthorized(GatewayError):
    status, code, source = 401, "unauthorized", Source.CLIENT


class MissingKey(Unauthorized):
    code = "missing_api_key"


class InvalidKey(Unauthorized):
    code = "invalid_api_key"


class ExpiredKey(Unauthorized):
    code = "api_key_expired"


class DisabledKey(Unauthorized):
    code = "api_key_disabled"


class NoCredit(GatewayError):
    status, code, source = 402, "insufficient_credit", Source.CLIENT


class BudgetSpent(GatewayError):
    status, code, source = 402, "budget_exceeded", Source.CLIENT


class ModelNotAllowed(GatewayError):
    status, code, source = 403, "model_not_allowed", Source.CLIENT


class UnknownModel(GatewayError):
    status, code, source = 404, "model_not_found", Source.CLIENT


class UnknownPath(GatewayError):
    status, code, source = 404, "not_found", Source.CLIENT


class MethodNotAllowed(GatewayError):
    status, code, source = 405, "method_not_allowed", Source.CLIENT


class BodyTooLarge(GatewayError):
    status, code, source = 413, "body_too_large", Source.CLIENT


class RateLimited(GatewayError):
    """`kind`: which limit of the key it was (`requests`, `tokens` or `concurrency`)."""

    status, code, source = 429, "rate_limit_exceeded", Source.CLIENT

    def __init__(self, message: str, *, kind: str, retry_after: float) -> None:
        super().__init__(message, retry_after=retry_after)
        self.kind = kind


class UnknownProvider(GatewayError):
    status, code, source = 404, "unknown_provider", Source.CLIENT


class UnsupportedMethod(GatewayError):
    status, code, source = 501, "unsupported_method", Source.CLIENT


class RequestTimeout(GatewayError):
    status, code, source = 408, "request_timeout", Source.CLIENT


class HeadTooLarge(GatewayError):
    status, code, source = 431, "head_too_large", Source.CLIENT


class UpstreamUnreachable(GatewayError):
    status, code, source, retry = 502, "upstream_unreachable", Source.UPSTREAM, True


class UpstreamTLS(GatewayError):
    status, code, source, retry = 502, "upstream_tls", Source.UPSTREAM, True


class BadUpstreamReply(GatewayError):
    status, code, source, retry = 502, "bad_upstream_reply", Source.UPSTREAM, True


class UpstreamTimeout(GatewayError):
    status, code, source, retry = 504, "upstream_timeout", Source.UPSTREAM, True


class NoTarget(GatewayError):
    """Every target of the model rests: breakers open, keys cooling down or missing."""

    status, code, source = 503, "no_target_available", Source.UPSTREAM


class Overloaded(GatewayError):
    status, code = 503, "overloaded"


class Draining(GatewayError):
    status, code = 503, "draining"


def place_of(exc: BaseException | None) -> str:
    """Where an exception was raised: file and line, no values."""
    frames = traceback.extract_tb(exc.__traceback__) if exc is not None else []
    return f"at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""


class ConfigError(Exception):
    """A configuration that cannot be used. `problems` are complete lines: `FILE:LINE: what is wrong; remedy`."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
