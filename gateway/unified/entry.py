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
from gateway.dialects.chat.dialect import Aim
from gateway.dialects.request import Peek
from gateway.errors import MissingKey, ModelNotAllowed, UnknownModel, Unsupported
from gateway.features import features
from gateway.meter import Journal
from gateway.models import Cache, Model, Target
from gateway.providers import Provider
from gateway.routing.router import Route, Router
from gateway.routing.rules import Facts
from gateway.settings import Settings
from gateway.types import Caller
from gateway.unified import catalog
from gateway.unified.answers import field_value
from gateway.unified.embedder import Embedder
from gateway.unified.kept import Kept
from gateway.unified.pictures import Fetch
from gateway.unified.requests import Heads, Lines, forwardable
from gateway.unified.responses import StoredResponses
from gateway.unified.surfaces import SURFACES, Surface, find
from gateway.unified.walk import CallWalk
from gateway.wire.head import CHUNKED, Request
from gateway.wire.plan import CallPlan
from gateway.wire.server import Edge
from gateway.yaml_lines import shown


class CallHead(msgspec.Struct, frozen=True):
    """What the head of a unified request says."""

    surface: Surface
    model: str | None  # if the path names it
    digest: bytes | None  # of the key; None: there is none
    lines: Lines  # what goes along to vendors
    task: str | None
    fields: bytes  # header lines that every answer carries (CORS)
    array: bool = False  # Gemini: the stream is to be one JSON array


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
        kept: Kept,
        responses: StoredResponses,
        fetch: Fetch | None,
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
        self.kept = kept
        self.responses = responses
        self.fetch = fetch  # gets pictures that clients name; None: nothing is fetched
        self.journal = journal
        self.edge = edge
        self._providers = settings.providers
        self._epoch = epoch
        self._usable = {surface.read_as: Usable(surface) for surface in SURFACES}
        self._offers = {
            (surface, name)
            for surface in SURFACES
            for name, model in self.models.items()
            if self._served(surface, model)
        }
        # Bounded by the configuration, both.
        self._marks: dict[tuple[str, str], bytes] = {}
        self._aims: dict[tuple[str, str, str, str], Aim] = {}

    def route(self, request: Request) -> CallPlan | None:
        """The plan for a request; None if it is not for one of these surfaces."""
        place = find(request.path)
        if place is None or request.method != b"POST" or request.websocket:
            return None
        surface = place.surface
        key = key_of(request)
        task = request.get(b"x-gateway-task")
        head = CallHead(
            surface,
            place.model,
            digest(key) if key is not None else None,
            forwardable(request),
            task.decode("latin-1") if task is not None else None,
            b"".join(b"%b: %b\r\n" % field for field in cors_fields(self.server.cors, request.get(b"origin"))),
            surface.stream is True and b"alt=sse" not in request.target.partition(b"?")[2].split(b"&"),
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

    def owner(self, asking: Asking) -> Caller:
        """Whose request it is. Raises Unauthorized."""
        key = key_of(asking)
        return self.caller(digest(key) if key is not None else None)

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
        if (surface, model.name) not in self._offers:
            raise Unsupported(
                f"the model {shown(peek.model)} cannot be used at {surface.path}: it is of another kind, or none of "
                f"its vendors speaks {surface.dialect} or a dialect that this can be converted to",
                param="model",
            )
        return model

    def usable(self, surface: Surface) -> Callable[[Target, Provider], str | None]:
        return self._usable[surface.read_as]

    def marks(self, provider: str, model: str) -> bytes:
        """The header lines that say who answered, and under which name it knows the model."""
        lines = self._marks.get((provider, model))
        if lines is None:
            lines = b"x-gateway-provider: %b\r\nx-gateway-model: %b\r\n" % (field_value(provider), field_value(model))
            self._marks[provider, model] = lines
        return lines

    def aim(self, model: Model, route: Route) -> Aim:
        """What converters write for on a route."""
        place = model.name, route.provider.id, route.target.model, route.account
        aim = self._aims.get(place)
        if aim is None:
            name, own = route.target.model, model.features
            # What the hold was reckoned with is what a vendor that must have a maximum is told.
            known = msgspec.structs.replace(features(name, own), max_output=own.max_output)
            aim = self._aims[place] = Aim(name, known, route.account)
        return aim

    def secrets(self) -> Iterator[str]:
        """What must never stand in a message: keys, and where the vendors are."""
        for provider in self._providers.values():
            yield from (text for secret in provider.secrets if (text := secret.get()))
            yield provider.origin.host
            yield from (origin.host for _, origin, _ in provider.hosts)

    def surfaces(self, name: str) -> list[Surface]:
        """The surfaces at which a model can be used; a rule's model is where its rules lead."""
        ends = [self.models[end] for end in self._ends(name)]
        return [surface for surface in SURFACES if any((surface, end.name) in self._offers for end in ends)]

    def _ends(self, name: str) -> set[str]:
        model = self.models.get(name)
        if model is None:
            return set()
        return {name} if model.targets else set().union(*map(self._ends, model.leads_to))

    def _served(self, surface: Surface, model: Model) -> bool:
        if model.kind is not None and model.kind not in surface.kinds:
            return False
        if model.kind == "image":  # pictures are not converted to chats
            return any(self._speaks(target, surface.dialect) for target in model.targets)
        fits = self._usable[surface.read_as]
        known = self._providers
        return any(t.provider in known and fits(t, known[t.provider]) is not None for t in model.targets)

    def converts(self, surface: Surface, model: Model) -> bool:
        """Whether chats of the surface are converted for some target of a model."""
        if surface.dialect not in conversion.SURFACES:
            return False
        fits, known = self._usable[surface.read_as], self._providers
        dialects = {fits(t, known[t.provider]) for t in model.targets if t.provider in known}
        return not dialects <= {None, surface.dialect}

    def _speaks(self, target: Target, dialect: str) -> bool:
        provider = self._providers.get(target.provider)
        return provider is not None and dialect in provider.speaks and target.dialect in (None, dialect)

    def listing(self, form: str, name: str | None, asking: Asking, created: int) -> dict[str, Any]:
        """What a key may use, or one model of it. Raises Unauthorized or UnknownModel."""
        models = catalog.visible(self.models, self.owner(asking))
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


class Usable:
    """`usable` for one surface, with its answers remembered: there are as many as the configuration has targets."""

    def __init__(self, surface: Surface) -> None:
        self._surface = surface
        self._known: dict[tuple[str, str | None], str | None] = {}

    def __call__(self, target: Target, provider: Provider) -> str | None:
        key = provider.id, target.dialect
        if key not in self._known:
            self._known[key] = usable(self._surface, target, provider)
        return self._known[key]


def usable(surface: Surface, target: Target, provider: Provider) -> str | None:
    """The dialect in which a target serves a surface: the surface's own where it has it, else what converts best."""
    if target.dialect is not None:
        known = surface.dialect == target.dialect or conversion.known(surface.converted_as, target.dialect)
        return target.dialect if known and target.dialect in provider.speaks else None
    if surface.dialect in provider.speaks:
        return surface.dialect
    return conversion.best(surface.converted_as, provider.speaks)


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
