"""The gateway's own errors: one class per remedy, each with the status and code that clients see."""

from __future__ import annotations

import enum


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

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class BadRequest(GatewayError):
    status, code, source = 400, "bad_request", Source.CLIENT


class Unauthorized(GatewayError):
    status, code, source = 401, "unauthorized", Source.CLIENT


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


class Overloaded(GatewayError):
    status, code = 503, "overloaded"


class Draining(GatewayError):
    status, code = 503, "draining"


class ConfigError(Exception):
    """A configuration that cannot be used. `problems` are complete lines: `FILE:LINE: what is wrong; remedy`."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
