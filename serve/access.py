"""Who may ask what over HTTP: a request's key, against what its route wants.

Keyring (the database's keys, read anew every few seconds) -> Gate.check(...) -> Refusal | None

A check is a SHA-256, a look-up and comparisons: microseconds, whether the key is right or wrong.
"""

from __future__ import annotations

import collections
import functools
import hashlib
import hmac
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, final

from cluster.settings import is_authenticated, service_database_url
from serve.meters import RaySink
from spt_core.access import ROLES, Key, Role
from spt_core.errors import InputError

REFRESH_S = 5.0
MAX_NOTED = 20  # refusals that become audit entries with each refresh; of more, their number does
WRONG_PER_S, WRONG_AT_ONCE = 1.0, 10.0  # of one address, before it is told to wait
MAX_ADDRESSES = 10_000
CHALLENGE = b'Bearer realm="spt"'
REVIEWS = "/v1/reviews"

# Whoever asks these shows no key; each for its reason, which the README repeats.
OPEN: Mapping[str, str] = {
    "/healthz": "monitors and load balancers ask it, and it names versions alone",
    "/-/healthz": "HAProxy and Kubernetes ask it of each replica, and it says yes or no",
}
# Any one of the roles will do. A path that neither stands here nor is a model's does not exist.
WANTED: Mapping[str, tuple[Role, ...]] = {
    "/v1/models": ROLES,
    "/openapi.json": ROLES,
    "/-/routes": ("operator", "admin"),
}
_OF_REVIEWS: tuple[Role, ...] = ("reviewer", "operator", "admin")
_log = logging.getLogger("ray.serve")


class Refusal(NamedTuple):
    """An answer in place of the route's: `why` is a word for metrics, `detail` a sentence."""

    status: int
    why: str
    detail: str
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Book(Protocol):
    """What a keyring asks of the ledger."""

    def api_keys(self) -> list[Key]:
        """Every key, with the roles that it has still."""
        ...

    def note_all(self, event: str, bodies: Sequence[Mapping[str, Any]], *, actor: str) -> None:
        """Audit entries."""
        ...


@final
class Keyring:
    """The keys as the database had them at `read_s` (None: never yet), and what was refused since.

    One thread refreshes; the event loop looks up and notes.
    """

    def __init__(self, open_book: Callable[[], Book]) -> None:
        self._open_book = open_book
        self._book: Book | None = None
        self._keys: Mapping[bytes, Key] = {}
        self._refused: collections.deque[Mapping[str, Any]] = collections.deque(maxlen=MAX_NOTED)
        self._num_more = 0
        self.read_s: float | None = None

    def find(self, shown: bytes) -> Key | None:
        """The key of this text, whatever its state. What differs in time says nothing: finding by
        a digest's prefix tells of the digest, from which nobody gets to a key.
        """
        digest = hashlib.sha256(shown).digest()
        key = self._keys.get(digest[:8])
        return key if key is not None and hmac.compare_digest(key.digest, digest) else None

    def note(self, body: Mapping[str, Any]) -> None:
        """Keep a refusal for the audit log, or count it where there are many till the refresh."""
        if len(self._refused) == MAX_NOTED:
            self.count()
        else:
            self._refused.append(body)

    def count(self) -> None:
        """Count a refusal of which the audit log needs to know no more."""
        self._num_more += 1

    def refresh(self) -> None:
        """Read the keys, and write what was refused; what cannot be written waits."""
        self._book = self._book or self._open_book()
        keys = {key.digest[:8]: key for key in self._book.api_keys()}
        self._keys, self.read_s = keys, time.time()
        bodies, num_more = list(self._refused), self._num_more
        if num_more:
            bodies.append({"by": "http", "why": "more of them", "num_more": num_more})
        if bodies:
            self._book.note_all("access.refused", bodies, actor="service")
            for _ in range(len(bodies) - bool(num_more)):
                self._refused.popleft()
            self._num_more -= num_more

    def watch(self, report_age: Callable[[float], None]) -> None:
        """Refresh for ever, in a thread of its own, and report how many seconds old the keys are.

        While the database is away the last keys hold, but for those that expire.
        """
        threading.Thread(
            target=self._watch, args=(report_age,), name="keyring", daemon=True
        ).start()

    def _watch(self, report_age: Callable[[float], None]) -> None:
        began_s = time.time()
        while True:
            try:
                self.refresh()
            except Exception as error:  # noqa: BLE001  # whatever a database raises: asked again
                age = "never" if self.read_s is None else f"{time.time() - self.read_s:.0f} s ago"
                _log.warning("keys were read %s, and cannot be now: %s", age, error)
            report_age(time.time() - (self.read_s or began_s))
            time.sleep(REFRESH_S)


class Buckets:
    """Token buckets by name, the oldest forgotten."""

    def __init__(self, max_names: int = MAX_ADDRESSES) -> None:
        self._levels: dict[str, tuple[float, float]] = {}
        self._max_names = max_names

    def wait_s(self, name: str, *, rate: float, burst: float, now_s: float) -> float:
        """0 where one more may pass now; else the seconds until it may."""
        level, before_s = self._levels.pop(name, (burst, now_s))
        level = min(burst, level + (now_s - before_s) * rate)
        wait_s = 0.0 if level >= 1.0 else (1.0 - level) / rate
        self._levels[name] = (level - 1.0 if not wait_s else level, now_s)
        if len(self._levels) > self._max_names:
            del self._levels[next(iter(self._levels))]
        return wait_s


@final
class Gate:
    """Says of each request whether it may pass. Of one event loop."""

    def __init__(
        self,
        keyring: Keyring,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keyring, self._clock, self._monotonic = keyring, clock, monotonic
        self._wrong, self._asked = Buckets(), Buckets()

    def check(
        self, method: str, path: str, *, authorization: bytes, address: str, request_id: str
    ) -> Refusal | None:
        """None where the request may pass."""
        if path in OPEN:
            return None
        key: Key | None = None
        if self._keyring.read_s is None:
            retry = ((b"retry-after", b"1"),)
            return Refusal(503, "no_keys_yet", "no key could be read yet; try again", retry)
        scheme, _, shown = authorization.partition(b" ")
        if scheme.lower() == b"bearer" and shown:
            key = self._keyring.find(shown.strip())
        refusal = self._wrong_key(key, authorization, address)
        if refusal is None and key is not None:
            refusal = self._beyond(key, method, path) or self._too_many(key)
        if refusal is not None and refusal.status == 429:
            self._keyring.count()
        elif refusal is not None:
            self._keyring.note(
                {
                    "by": "http",
                    "who": key.principal if key is not None else "nobody",
                    "key_id": key.key_id if key is not None else None,
                    "address": address,
                    "method": method[:20],
                    "path": path[:200],
                    "status": refusal.status,
                    "why": refusal.why,
                    "request_id": request_id,
                }
            )
        return refusal

    def _wrong_key(self, key: Key | None, authorization: bytes, address: str) -> Refusal | None:
        state = "wrong" if key is None else key.state(self._clock())
        if state == "valid":
            return None
        wait_s = self._wrong.wait_s(
            address, rate=WRONG_PER_S, burst=WRONG_AT_ONCE, now_s=self._monotonic()
        )
        if wait_s:
            retry = ((b"retry-after", b"%d" % (int(wait_s) + 1)),)
            return Refusal(429, "too_many_wrong", "too many wrong keys came from here", retry)
        why = state if authorization else "missing"
        facts = {"missing": "there is none", "wrong": "it is none of ours"}
        fact = facts.get(why, f"it is {why}")
        detail = f"this needs Authorization: Bearer with a valid key, however: {fact}"
        return Refusal(401, why, detail, ((b"www-authenticate", CHALLENGE),))

    def _beyond(self, key: Key, method: str, path: str) -> Refusal | None:
        """What the key is not for."""
        model = model_of(path)
        allowed = wanted_of(method, path)
        if not allowed:
            return Refusal(404, "no_route", f"there is no route {path[:200]!r}")
        if not set(allowed) & set(key.roles):
            roles = ", ".join(key.roles) or "nothing any more"
            detail = (
                f"this needs a key for {' or '.join(allowed)}, however: this one is for {roles}"
            )
            return Refusal(403, "role", detail)
        if model is not None and not key.covers(model):
            detail = (
                f"this needs a key for {model}, however: this one is for {', '.join(key.tasks)}"
            )
            return Refusal(403, "task", detail)
        return None

    def _too_many(self, key: Key) -> Refusal | None:
        rate = key.requests_per_s
        if rate is None:
            return None
        wait_s = self._asked.wait_s(
            key.key_id, rate=rate, burst=max(rate, 1.0), now_s=self._monotonic()
        )
        if not wait_s:
            return None
        retry = ((b"retry-after", b"%d" % (int(wait_s) + 1)),)
        detail = f"this key may ask {rate:g} times a second, however: it asks more often"
        return Refusal(429, "rate", detail, retry)


def wanted_of(method: str, path: str) -> tuple[Role, ...]:
    """The roles of which a key must have one; none for a path that does not exist."""
    if path == REVIEWS or path.startswith(f"{REVIEWS}/"):
        return ("reviewer",) if method == "POST" else _OF_REVIEWS
    if model_of(path) is not None:
        return ("client",)
    return WANTED.get(path, ())


def model_of(path: str) -> str | None:
    """INDUSTRY/TASK[/MODEL_NAME...] of a model's path, None for another."""
    parts = path.strip("/").split("/")
    is_model = parts[0] == "v1" and len(parts) >= 3 and parts[1] != "reviews"
    return "/".join(parts[1:]) if is_model else None


@functools.cache
def gate() -> Gate | None:
    """This process' gate, None where authentication is off; its keys are read from now on."""
    if not is_authenticated():
        return None
    url = service_database_url()
    if url is None:
        raise InputError(
            "authentication needs SPT_DATABASE_URL in the environment of the service, however: "
            "it is not set"
        )

    def open_book() -> Book:
        from spt_core.continuous.ledger import Ledger  # in the thread: it takes a second

        return Ledger(url)

    keyring, sink = Keyring(open_book), RaySink()
    keyring.watch(lambda age_s: sink.level("spt_keys_age_seconds", age_s))
    return Gate(keyring)
