"""The chain of one broker: asks `core.plan` whom a turn may be tried on, and keeps what `core.health` learns."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec import Raw

from acp_broker.broker.order import Order
from acp_broker.broker.policy import Policy
from acp_broker.broker.runtime import Runtime
from acp_broker.broker.slash import slash_command
from acp_broker.broker.story import Passed
from acp_broker.clock import Clock
from acp_broker.core import health
from acp_broker.core.failures import NO_CONNECTION
from acp_broker.core.health import Health
from acp_broker.core.names import BackendId, Candidate
from acp_broker.core.plan import Can, Needs, Plan, make_plan, one_of
from acp_broker.core.turnrules import Miss, Rules
from acp_broker.wire import agent, jsonrpc

if TYPE_CHECKING:
    from acp_broker.broker.session import Session

Known = Callable[[BackendId], agent.Initialized | None]

_NOTHING = Needs()


class Chain:
    """One health for all sessions: a backend that failed for one rests for all."""

    def __init__(self, policy: Policy, clock: Clock, known: Health, learnt: Callable[[Health, Health], None]) -> None:
        self._clock = clock
        self._health = known
        self._learnt = learnt
        self._decided(policy)

    def adopt(self, policy: Policy) -> None:
        """Plan by this policy from now on. What is known of a backend's health stays, unless the backend has changed:
        what it rests for may be just what was repaired."""
        before = self._policy.runtimes
        self._decided(policy)
        for name, runtime in policy.runtimes.items():
            if name in before and before[name].fingerprint != runtime.fingerprint:
                self.renewed(runtime)

    def _decided(self, policy: Policy) -> None:
        self._policy = policy
        self._order = tuple(one for name in policy.order for one in policy.runtimes[name].candidates)
        self._twins = _twins(policy)
        self._hosts = _hosts(policy)
        self._usual: Rules | None = None

    @property
    def usual(self) -> Rules:
        """Of a prompt that asks nothing special, while everybody is well: planned once."""
        if self._usual is None:
            policy = self._policy
            plan = make_plan(self._order, Health(), 0.0, 0.0, twins=self._twins)
            self._usual_passed = _passed(plan)
            windows = {name: runtime.window for name, runtime in policy.runtimes.items() if runtime.window is not None}
            own = {
                name: limits
                for name, runtime in policy.runtimes.items()
                if (limits := runtime.known_limits() if runtime.known_limits else runtime.limits) != policy.limits
            }
            self._usual = Rules(
                plan.candidates,
                policy.commit_point,
                policy.limits,
                own_limits=own,
                windows=windows,
                hosts=self._hosts,
            )
            self._usual_record = jsonrpc.encode(self._usual)
        return self._usual

    def plan(self, session: "Session", order: Order, known: Known) -> tuple[Rules, tuple[Passed, ...]]:
        """The rules of a turn, and who was passed over for it and why."""
        needs = _needs(session, order.kinds)
        command = slash_command(order.prompt)
        pin = session.settings.backend if command in session.settings.commands else None
        if needs == _NOTHING and pin is None and not self._health.records:
            return self.usual, self._usual_passed
        can = self._can(session, known) if needs != _NOTHING else {}
        now, wall = self._clock.now(), self._clock.wall()
        plan = make_plan(self._order, self._health, now, wall, needs, can, pin, self._twins)
        rules = Rules(
            plan.candidates,
            self._policy.commit_point,
            self._policy.limits,
            # A slash command may have nothing to say: an empty end is its success.
            empty_is_success=pin is not None,
            own_limits=self.usual.own_limits,
            windows=self.usual.windows,
            hosts=self._hosts,
        )
        return rules, (*_passed(plan), *self._put_off(plan))

    def record(self, rules: Rules) -> Raw:
        """The rules of a turn, as its session's log keeps them."""
        return self._usual_record if rules is self._usual else jsonrpc.encode(rules)

    def condition(self, runtime: Runtime) -> health.Condition:
        """How a backend is by now, with the credential that serves it best."""
        return self._condition(self.preferred(runtime))

    def preferred(self, runtime: Runtime) -> Candidate:
        """The backend with the credential that a turn would try first."""
        return min(runtime.candidates, key=lambda one: _wait(self._condition(one)))

    def _condition(self, candidate: Candidate) -> health.Condition:
        return health.condition(self._health, self._key(candidate), self._clock.now(), self._clock.wall())

    def _key(self, candidate: Candidate) -> health.Key:
        return health.key_of(one_of(candidate, self._twins))

    def _put_off(self, plan: Plan) -> Iterator[Passed]:
        """Whom a turn tries later than config says, and why: a failover that is not an attempt is said as well."""
        if plan.is_all_resting:
            return
        for candidate in plan.candidates:
            match self._condition(candidate):
                case health.Resting(left_s, why):
                    text = f"rests for {left_s:.0f} s more after {why.value}"
                case health.Probing():
                    text = "another turn is finding out whether it is back"
                case health.Ready():
                    continue
            yield Passed(candidate.backend, f"{self._which(candidate)}{text}")

    def _which(self, candidate: Candidate) -> str:
        has_several = self._policy.runtimes[candidate.backend].credentials > 1
        return f"credential {candidate.credential + 1} of {candidate.profile}: " if has_several else ""

    def started(self, candidate: Candidate) -> None:
        """A turn tries it. Where it comes back from a rest, others leave it alone until it is known how it went."""
        if not self._health.records:
            return
        key, now, wall = self._key(candidate), self._clock.now(), self._clock.wall()
        if health.condition(self._health, key, now, wall) == health.Ready(is_probe=True):
            self._learn(health.probe_started(self._health, key, now, wall))

    def missed(self, miss: Miss) -> None:
        """Where an address takes no connection, all who ask it rest: one of them was tried for all."""
        now, wall, learnt = self._clock.now(), self._clock.wall(), self._health
        for key in dict.fromkeys(map(self._key, self._alike(miss))):
            learnt = health.after_failure(learnt, key, miss.failure, now, wall)
        self._learn(learnt)

    def _alike(self, miss: Miss) -> Sequence[Candidate]:
        host = self._hosts.get(miss.candidate.backend) if miss.failure.code == NO_CONNECTION else None
        if host is None:
            return (miss.candidate,)
        return [one for one in self._order if self._hosts.get(one.backend) == host]

    def served(self, candidate: Candidate) -> None:
        if self._health.records:
            self._learn(health.after_success(self._health, self._key(candidate)))

    def released(self, candidate: Candidate) -> None:
        """Its turn was cancelled: nothing is known of it."""
        if self._health.records:
            self._learn(health.probe_ended(self._health, self._key(candidate)))

    def exhausted(self, misses: tuple[Miss, ...]) -> None:
        """The whole chain failed in one turn."""
        pairs = [(self._key(miss.candidate), miss.failure) for miss in misses]
        self._learn(health.after_exhausted(self._health, pairs, self._clock.now(), self._clock.wall()))

    def renewed(self, runtime: Runtime) -> None:
        """It was repaired, or the user has just authenticated with it: whatever it rested for is settled."""
        for candidate in runtime.candidates:
            self.served(candidate)

    def _learn(self, health: Health) -> None:
        before, self._health = self._health, health
        if health != before:
            self._learnt(before, health)

    def _can(self, session: "Session", known: Known) -> Mapping[BackendId, Can]:
        # A backend draws its own modes; another's only those that config maps.
        settings = session.settings
        own = frozenset(filter(None, [settings.chosen_mode]))
        return {
            name: _able(known(name), own if name == settings.drawn_by else frozenset(runtime.modes))
            for name, runtime in self._policy.runtimes.items()
        }


def _twins(policy: Policy) -> Mapping[BackendId, BackendId]:
    """Who asks the same as somebody before it in the chain, and who that is."""
    first: dict[bytes, BackendId] = {}
    found = {}
    for name in policy.order:
        asks = policy.runtimes[name].asks
        if asks is not None and first.setdefault(asks, name) != name:
            found[name] = first[asks]
    return found


def _hosts(policy: Policy) -> dict[BackendId, str]:
    """The addresses that more than one backend of the chain asks."""
    hosts = {name: host for name in policy.order if (host := policy.runtimes[name].host) is not None}
    asked = list(hosts.values())
    return {name: host for name, host in hosts.items() if asked.count(host) > 1}


def _passed(plan: Plan) -> tuple[Passed, ...]:
    """Whom a plan leaves out, each once."""
    return tuple(dict.fromkeys(Passed(one.candidate.backend, one.why.text) for one in plan.skipped))


def _wait(condition: health.Condition) -> float:
    match condition:
        case health.Ready():
            return -1.0
        case health.Probing():
            return 0.0
        case health.Resting(left_s):
            return left_s


def _needs(session: "Session", kinds: frozenset[str]) -> Needs:
    image, audio = "image" in kinds, "audio" in kinds
    mode, directories = session.settings.chosen_mode, bool(session.setup.additional_directories)
    if not image and not audio and mode is None and not directories:
        return _NOTHING
    return Needs(image, audio, directories, mode)


def _able(said: agent.Initialized | None, modes: frozenset[str]) -> Can:
    if said is None:
        return Can(modes=modes)
    can = said.can
    return Can(can.prompt.image, can.prompt.audio, can.session.additional_directories is not None, modes)
