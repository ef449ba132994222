"""What is remembered of vendors between calls: how their targets are, which keys rest. The time is an argument.

A failure is sorted by what it says about whom (`classify`): a key that is refused or limited rests, which says nothing
about the target; a target that is unavailable moves its breaker; a client's fault is a sign of health.
"""

from __future__ import annotations

import hashlib
from math import inf

import msgspec

from gateway.providers import Provider
from gateway.routing.breaker import Breaker

# What an attempt that did not succeed says about whom.
KEY_REFUSED = "key_refused"  # the key rests
LIMITED = "limited"  # the key rests
UNAVAILABLE = "unavailable"  # counts against the target
BUSY = "busy"  # says nothing; another target may be free
CLIENT_FAULT = "client_fault"  # the target is well, the request is not: no other target is tried

REFUSED_REST = 60.0
FIRST_REST = 1.0
LONGEST_REST = 60.0
# Vendors do say "come back tomorrow"; more than that is a mistake that would take the key away for good.
LONGEST_RETRY_AFTER = 86_400.0

STALE = 60.0  # seconds; a slower target is measured again, else one bad minute would rule it out for ever
RECENT = 0.2  # what the latest measurement counts in the average


class Failure(msgspec.Struct, frozen=True):
    """Why an attempt failed. `retry_after`: seconds, as a vendor that limits us says."""

    kind: str
    retry_after: float | None = None

    @property
    def failover(self) -> bool:
        """Whether another key or target may be tried."""
        return self.kind != CLIENT_FAULT

    @property
    def of_key(self) -> bool:
        """Whether another key may do better at the same target."""
        return self.kind in (KEY_REFUSED, LIMITED)


_KINDS = {
    401: KEY_REFUSED,
    402: KEY_REFUSED,
    403: UNAVAILABLE,
    408: UNAVAILABLE,
    409: BUSY,
    429: LIMITED,
}


def classify(status: int, retry_after: float | None = None) -> Failure:
    """What a vendor's status means for its health; 0 for no answer at all. An error inside a 2xx counts as 5xx does."""
    kind = _KINDS.get(status) or (CLIENT_FAULT if 400 <= status < 500 else UNAVAILABLE)
    return Failure(kind, retry_after if kind == LIMITED else None)


class Health:
    """What is known of one target: provider and the vendor's model."""

    __slots__ = ("_measured", "breaker", "latency", "open")

    def __init__(self) -> None:
        self.breaker = Breaker()
        self.open = 0  # attempts under way
        self.latency = 0.0  # seconds to the first byte, averaged
        self._measured = -inf

    def measured(self, seconds: float, now: float) -> None:
        """Averages over what is fresh."""
        self.latency = self.latency + RECENT * (seconds - self.latency) if self.known(now) else seconds
        self._measured = now

    def known(self, now: float) -> bool:
        """Whether there is a latency fresh enough to go by."""
        return now - self._measured < STALE


class Key:
    """One key of a provider. `text` None: the provider is called without credentials, which can be limited as well."""

    __slots__ = ("_rest", "account", "text", "until")

    def __init__(self, text: str | None, provider: str = "") -> None:
        self.text = text
        self.account = f"{provider}|{_fingerprint(text)}"  # whose it is, without saying the key
        self.until = 0.0  # rests until then
        self._rest = 0.0  # the last rest that we chose ourselves; doubles until a success

    def refused(self, now: float, _retry_after: float | None) -> None:
        """The vendor does not take it, or its account is empty."""
        self._rests(now, REFUSED_REST)

    def limited(self, now: float, retry_after: float | None) -> None:
        """The vendor asks for a pause: as long as it says, else as long as we think."""
        if retry_after is not None and retry_after >= 0:  # not a number is neither
            self._rests(now, min(retry_after, LONGEST_RETRY_AFTER))
        elif now >= self.until:
            # Calls that were under way together are refused together: that is one reason to wait, not many.
            self._rest = min(self._rest * 2, LONGEST_REST) or FIRST_REST
            self._rests(now, self._rest)

    def succeeded(self, now: float) -> None:
        """A call from before the rest began may still succeed; that ends nothing."""
        if now >= self.until:
            self._rest = 0.0

    def _rests(self, now: float, seconds: float) -> None:
        self.until = max(self.until, now + seconds)


# What each kind of failure teaches: about the key, and about the target.
LESSONS = {
    KEY_REFUSED: (Key.refused, Breaker.released),
    LIMITED: (Key.limited, Breaker.released),
    UNAVAILABLE: (None, Breaker.failed),
    BUSY: (None, Breaker.released),
    CLIENT_FAULT: (None, Breaker.succeeded),
}


def _fingerprint(text: str | None) -> str:
    return hashlib.blake2b((text or "").encode(), digest_size=8).hexdigest()


class KeyRing:
    """A provider's keys in turn, without those that rest."""

    __slots__ = ("_next", "keys")

    def __init__(self, keys: list[Key]) -> None:
        self.keys = keys
        self._next = 0

    def wakes(self, now: float) -> float:
        """Seconds until there is one; infinite if there is none at all."""
        return max(min((key.until for key in self.keys), default=inf) - now, 0.0)

    def take(self, now: float, tried: list[Key]) -> Key | None:
        """The next key in turn, other than those already tried."""
        keys = self.keys
        for step in range(self._next, self._next + len(keys)):
            key = keys[step % len(keys)]
            if key.until <= now and key not in tried:
                self._next = (step + 1) % len(keys)
                return key
        return None


class Upstream:
    """A provider with its keys and the health of those of its models that are targets.

    What is known outlives a reload as long as the provider's entry says the same; its keys may come and go.
    """

    __slots__ = ("healths", "provider", "ring")

    def __init__(self, provider: Provider, models: set[str], before: Upstream | None) -> None:
        if before is not None and _without_keys(before.provider) != _without_keys(provider):
            before = None
        known = before.healths if before else {}
        rests = {key.text: key for key in before.ring.keys} if before else {}
        texts: dict[str | None, None] = dict.fromkeys(text for key in provider.keys if (text := key.get()) is not None)
        if not provider.keys:
            texts = {None: None}  # self-hosted: no credentials, which is not the same as missing ones
        self.provider: Provider = provider
        self.healths: dict[str, Health] = {model: known.get(model) or Health() for model in models}
        self.ring: KeyRing = KeyRing([rests.get(text) or Key(text, provider.id) for text in texts])

    def state(self, now: float) -> int:
        """The worst state of its breakers."""
        return max(health.breaker.state(now) for health in self.healths.values())


def _without_keys(provider: Provider) -> Provider:
    return msgspec.structs.replace(provider, keys=())
