"""The unified surfaces: what is decided from a request's head, and what all calls of one configuration share.

`Unified.route` makes a plan out of a head; the plan starts a `walk.CallWalk` for each request that has this head.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import msgspec

from gateway.auth import Asking, Auth, digest, key_of
from gateway.books.books import Bookkeeping
from gateway.caching.cache import AnswerCache
from gateway.caching.semantic import LOCAL, Embed
from gateway.dialects import conversion
from gateway.dialects.request import Peek
from gateway.errors import MissingKey, ModelNotAllowed, UnknownModel, Unsupported
from gateway.meter import Journal
from gateway.models import Cache, Model, Target
from gateway.providers import Provider
from gateway.routing.router import Router
from gateway.routing.rules import Facts
from gateway.settings import Settings
from gateway.types import Caller
from gateway.unified import catalog
from gateway.unified.answers import field_value
from gateway.unified.embedder import Embedder
from gateway.unified.requests import Heads, Lines, forwardable
from gateway.unified.surfaces import BY_PATH, SURFACES, Surface
from gateway.unified.walk import CallWalk
from gateway.wire.head import CHUNKED, Request
from gateway.wire.plan import CallPlan
from gateway.wire.server import Edge
from gateway.yaml_lines import shown


class CallHead(msgspec.Struct, frozen=True):
    """What the head of a unified request says."""

    surface: Surface
    digest: bytes | None  # of the key; None: there is none
    lines: Lines  # what goes along to vendors
    task: str | None
    fields: bytes  # header lines that every answer carries (CORS)


class Unified:
    """Everything that unified calls need, for one configuration."""

    def __init__(
        self,
        settings: Settings,
        *,
        heads: Heads,
        router: Router,
        auth: Auth,
        books: Bookkeeping,
        cache: AnswerCache,
        journal: Journal,
        edge: Callable[[], Edge],
        epoch: int,
    ) -> None:
        self.server = settings.server
        self.models = settings.models
        self.heads = heads
        self.router = router
        self.auth = auth
        self.books = books
        self.cache = cache
        self.journal = journal
        self.edge = edge
        self._providers = settings.providers
        self._epoch = epoch
        self._usable = {surface.dialect: partial(usable, surface.dialect) for surface in SURFACES}
        self._offers = {
            (surface.name, name)
            for surface in SURFACES
            for name, model in self.models.items()
            if self._served(surface, model)
        }
        self._marks: dict[tuple[str, str], bytes] = {}

    def route(self, request: Request) -> CallPlan | None:
        """The plan for a request; None if it is not for one of these surfaces."""
        surface = BY_PATH.get(request.path)
        if surface is None or request.method != b"POST" or request.websocket:
            return None
        key = key_of(request)
        task = request.get(b"x-gateway-task")
        head = CallHead(
            surface,
            digest(key) if key is not None else None,
            forwardable(request),
            task.decode("latin-1") if task is not None else None,
            b"".join(b"%b: %b\r\n" % field for field in cors_fields(self.server.cors, request.get(b"origin"))),
        )
        plan = CallPlan(partial(CallWalk, self, head), self.server.max_body, self._epoch)
        plan.chunked = request.length == CHUNKED
        plan.keep_alive = request.keep_alive
        plan.old = request.minor == 0
        expect = request.get(b"expect")
        plan.expects = expect is not None and expect.lower() == b"100-continue" and not plan.old
        return plan

    def caller(self, digest: bytes | None) -> Caller:
        """Whose key it is. Raises Unauthorized."""
        if digest is None:
            raise MissingKey("there is no API key: send it as `Authorization: Bearer KEY`, x-api-key or x-goog-api-key")
        return self.auth.caller(digest)

    def model(self, caller: Caller, peek: Peek, head: CallHead) -> Model:
        """The model that serves the request. Raises UnknownModel, ModelNotAllowed or Unsupported."""
        surface = head.surface
        model = self.models.get(peek.model)
        if model is None or model.rules or not model.targets:
            tokens = partial(getattr, peek, "input_tokens")  # counted only if a rule asks
            facts = Facts(peek.model, caller.name, head.task, tokens, peek.images, peek.tools)
            model = self.router.resolve(peek.model, facts)
        if caller.models is not None and peek.model not in caller.models:
            raise ModelNotAllowed(
                f"this API key may not use the model {shown(peek.model)}; GET /v1/models lists yours", param="model"
            )
        if (surface.name, model.name) not in self._offers:
            raise Unsupported(
                f"the model {shown(peek.model)} cannot be used at {surface.path}: it is of another kind, or none of "
                f"its vendors speaks {surface.dialect} or a dialect that this can be converted to",
                param="model",
            )
        return model

    def usable(self, surface: Surface) -> Callable[[Target, Provider], str | None]:
        return self._usable[surface.dialect]

    def marks(self, provider: str, model: str) -> bytes:
        """The header lines that say who answered, and under which name it knows the model."""
        lines = self._marks.get((provider, model))
        if lines is None:
            lines = b"x-gateway-provider: %b\r\nx-gateway-model: %b\r\n" % (field_value(provider), field_value(model))
            self._marks[provider, model] = lines
        return lines

    def secrets(self) -> Iterator[str]:
        """What must never stand in a message: keys, and where the vendors are."""
        for provider in self._providers.values():
            yield from (text for secret in provider.secrets if (text := secret.get()))
            yield provider.origin.host
            yield from (origin.host for _, origin, _ in provider.hosts)

    def surfaces(self, name: str) -> list[str]:
        """The names of the surfaces at which a model can be used; a rule's model is where its rules lead."""
        ends = [self.models[end] for end in self._ends(name)]
        return [surface.name for surface in SURFACES if any((surface.name, end.name) in self._offers for end in ends)]

    def _ends(self, name: str) -> set[str]:
        model = self.models.get(name)
        if model is None:
            return set()
        return {name} if model.targets else set().union(*map(self._ends, model.leads_to))

    def _served(self, surface: Surface, model: Model) -> bool:
        if model.kind is not None and model.kind != surface.kind:
            return False
        fits = self._usable[surface.dialect]
        known = self._providers
        return any(t.provider in known and fits(t, known[t.provider]) is not None for t in model.targets)

    def listing(self, form: str, name: str | None, asking: Asking, created: int) -> dict[str, Any]:
        """What a key may use, or one model of it. Raises Unauthorized or UnknownModel."""
        key = key_of(asking)
        models = catalog.visible(self.models, self.caller(digest(key) if key is not None else None))
        whole, item = catalog.FORMS[form]
        if name is None:
            return whole(models, created, self.surfaces)
        found = next((model for model in models if model.name == name), None)
        if found is None:
            raise UnknownModel(f"the model {shown(name)} does not exist, or this key may not use it", param="model")
        return item(found, created, self.surfaces)

    def pricing(self) -> dict[str, Any]:
        return catalog.pricing(self.models, self.surfaces)

    def embedder(self, policy: Cache) -> Embed | None:
        """What makes a text's vector where the policy names a model for that."""
        semantic = policy.semantic
        return Embedder(self, semantic.embed) if semantic is not None and semantic.embed != LOCAL else None

    @staticmethod
    def now() -> float:
        """The time of day."""
        return time.time()


def usable(surface: str, target: Target, provider: Provider) -> str | None:
    """The dialect in which a target serves a surface: the surface's own where it has it, else what converts to it."""
    if target.dialect is not None:
        return target.dialect if _reaches(surface, target.dialect) and target.dialect in provider.speaks else None
    if surface in provider.speaks:
        return surface
    return next((dialect for dialect in provider.speaks if _reaches(surface, dialect)), None)


def _reaches(surface: str, dialect: str) -> bool:
    return surface == dialect or conversion.known(surface, dialect)


def cors_fields(allowed: tuple[str, ...], origin: bytes | None) -> tuple[tuple[bytes, bytes], ...]:
    """What a browser needs to see on an answer to one of the allowed origins."""
    if origin is None or not allowed or not ("*" in allowed or origin.decode("latin-1") in allowed):
        return ()
    shown_origin = b"*" if "*" in allowed else origin
    return (
        (b"Access-Control-Allow-Origin", shown_origin),
        (b"Access-Control-Expose-Headers", b"*"),
        (b"Vary", b"Origin"),
    )
