"""One life: the turns of a client, what it was shown of them, and what it finds again."""

from collections.abc import Callable
from contextlib import suppress
from random import Random
from threading import RLock

from websockets.exceptions import ConnectionClosed

from tests.support.broker import BrokerProcess
from tests.support.chaos import handed, promises, story
from tests.support.chaos.cast import AGENTS, CALM
from tests.support.chaos.scene import Scene, until
from tests.support.chaos.story import Prompt
from tests.support.chaos.troubles import JUMPS_S, Troubles
from tests.support.session_logs import check_logs
from tests.support.talk import Talk

SESSIONS = 3
# How much more a broker may hold at its end than at its beginning.
MORE_FDS, MORE_KB = 6, 30_000


class Life:
    """`past` are the prompts of each session that began, `running` those without an answer."""

    def __init__(self, scene: Scene, dice: Random, *, kills: bool) -> None:
        self.scene = scene
        self.past: dict[str, list[Prompt]] = {}
        self.running: dict[str, Prompt] = {}
        self.count = 0
        self.talk = Talk(scene.folder)
        self.is_dead = self.is_cut = False
        self.troubles = Troubles(self, dice, kills=kills)
        self._dice = dice
        # Held by who connects, and by whatever a broker or a client could not begin with.
        self._line = RLock()

    def play(self, turns: int) -> None:
        """At least so many, then some in peace, and what is left at the end."""
        self._connect()
        before = self.scene.held()
        while self.count < turns:
            self._step()
        self._calm_down()
        self._end(before)

    def locked(self, deed: Callable[[], None]) -> None:
        with self._line:
            deed()

    def _step(self) -> None:
        """A prompt or two at once, in sessions of their own, and what goes wrong meanwhile."""
        if self._dice.random() < 0.3:
            self.scene.jump(self._dice.choice(JUMPS_S))
        sessions = self._dice.sample(sorted(self.past), self._dice.choice([1, 1, 2]))
        with self.troubles.drawn():
            prompts = self._turns(sessions)
        self._mend()
        for prompt in prompts:
            self._judge(prompt)

    def _calm_down(self) -> None:
        """All is well again: somebody answers at once, and the primary as soon as its rest is over."""
        self.scene.soothe()
        first, *_, last = sorted(self.past)
        at_once = self._calm(first)
        assert at_once.end == "end_turn", f"all is well, and nobody answers: {at_once.reply}"
        rest_s = self.scene.rest_s()
        self.scene.jump(rest_s + 1)
        again = self._calm(first)
        if "auth_rejected" in dict(again.attempts).values():
            # A rotated key is found out by a refusal; but by one for all sessions.
            self.scene.jump(self.scene.rest_s() + 1)
            again = self._calm(last)
        is_back = (again.end, again.told.get("backend")) == ("end_turn", self.scene.primary)
        assert is_back, f"{self.scene.primary} does not serve when its rest of {rest_s:g} s is over: {again.reply}"

    def _calm(self, session: str) -> Prompt:
        (prompt,) = self._turns([session], f" {CALM}")
        self._judge(prompt)
        return prompt

    def _end(self, before: tuple[int, int]) -> None:
        """Nothing is left but what is kept."""
        scene = self.scene
        for session in self.past:
            self.talk.call("session/close", sessionId=session)
        fds, memory_kb = before
        until(lambda: scene.held()[0] <= fds + MORE_FDS, lambda: f"{fds} descriptors have become {scene.held()[0]}")
        assert scene.held()[1] <= memory_kb + MORE_KB, f"{memory_kb} kB have become {scene.held()[1]}"
        if "far" not in scene.backends:  # that one keeps its session, and connections of its own
            until(lambda: not any(one.connections() for one in scene.places), lambda: "connections are left open")
        for broker in (scene.broker, scene.far):
            broker.leave() if isinstance(broker, BrokerProcess) else broker.stop()
        assert [] == scene.left()
        check_logs(scene.home)

    # --- turns

    def _turns(self, sessions: list[str], more: str = "") -> list[Prompt]:
        """A prompt in each, until all are answered or their broker has ended."""
        prompts = [self._ask(session, more) for session in sessions]
        while self.running and not self.is_dead:
            if not self._hear():
                with self._line:
                    if not self.is_dead:
                        self._come_back()
        for prompt in self.running.values():
            prompt.is_cut_off = True
        self._mend()
        self.running.clear()
        return prompts

    def _ask(self, session: str, more: str) -> Prompt:
        self.count += 1
        tag = f"p{self.scene.name}-{self.count}."
        prompt = self.running[session] = Prompt(session, tag, f"tell me {tag}{more} now")
        prompt.broker = self.scene.broker_pid() if self.scene.is_daemon else None
        self._send(prompt)
        return prompt

    def _send(self, prompt: Prompt) -> None:
        message = self.talk.prompting(prompt.session, prompt.text)
        message["params"]["_meta"] = {"acp-broker": {"idempotencyKey": prompt.tag}}
        prompt.request = message["id"]
        with suppress(OSError, ConnectionClosed, ValueError):
            self.talk.write(message)

    def _hear(self) -> bool:
        """One message; False at the end of the stream."""
        message = self.talk.read()
        if message is None:
            return False
        if "method" in message:
            self._note(message)
        else:
            for session, prompt in tuple(self.running.items()):
                if prompt.request == message["id"]:
                    prompt.reply = message
                    del self.running[session]
        return True

    def _note(self, message: dict) -> None:
        if message["method"] == "session/update" and message["params"]["sessionId"] in self.running:
            self.running[message["params"]["sessionId"]].updates.append(message["params"]["update"])

    def _judge(self, prompt: Prompt) -> None:
        """Hold it against all that others know of it."""
        scene, past = self.scene, self.past[prompt.session]
        kept = story.kept(scene.home / "sessions" / f"{prompt.session}.jsonl", prompt.tag)
        asked = [one for place in scene.places for one in place.asked()]
        # The log of a `serve` that was killed is gone with it.
        failed = scene.broker.log("attempt_failed") if prompt.broker in (None, scene.broker_pid()) else None
        wrong = promises.broken(prompt, kept, asked, past, failed)
        if not any(one.was_full for one in past):
            wrong += [
                f"{name} was told {one}" for name in AGENTS for one in handed.wrong(scene.folder, name, prompt, past)
            ]
        assert not wrong, f"{prompt.text!r}, which ended with {prompt.end}:\n" + "\n".join(wrong)
        if kept is not None:
            past.append(prompt)

    # --- connections

    def _connect(self) -> None:
        """Take up every session, and make those that are missing."""
        self.is_dead = self.is_cut = False
        broker = self.scene.broker
        self.talk.check_answers()
        self.talk = broker if isinstance(broker, BrokerProcess) else broker.websocket()
        self.talk.initialize()
        for session in self.past:
            self._load(session)
        while len(self.past) < SESSIONS:
            self.past[self.talk.new()] = []

    def _come_back(self) -> None:
        """The connection is lost, the broker is not: an editor starts another, a bridge asks again on the next one."""
        if isinstance(self.scene.broker, BrokerProcess):
            self.scene.broker.ended()
            self.is_dead = True
            return
        self._connect()
        for prompt in self.running.values():
            self._send(prompt)

    def _mend(self) -> None:
        with self._line:
            if self.is_cut and not self.is_dead:
                self._come_back()
            if self.is_dead:
                self.scene.begin()
                self._connect()

    def _load(self, session: str) -> None:
        """Hold what is shown of it now against what was."""
        request = self.talk.request("session/load", sessionId=session, cwd=str(self.talk.work), mcpServers=[])
        turn = self.talk.until_reply(request)
        assert "result" in turn.reply, f"session {session} is not there again: {turn.reply}"
        shown: dict[str, list[dict]] = {"": []}
        text = ""
        for message in turn.heard[:-1]:
            if message["params"].get("sessionId") != session:
                # Of one that is taken up already.
                self._note(message)
            elif message["method"] == "session/update":
                update = message["params"]["update"]
                if update["sessionUpdate"] == "user_message_chunk":
                    text = update["content"]["text"]
                shown.setdefault(text, []).append(update)
        running = [self.running[session]] if session in self.running else []
        for prompt in [*self.past[session], *running]:
            _compare(prompt, shown.get(prompt.text))


def _compare(prompt: Prompt, shown: list[dict] | None) -> None:
    if prompt.was_full:
        prompt.is_torn = True
        return
    assert shown or not prompt.updates, f"{prompt.text!r} is lost, and {prompt.words!r} of it was shown"
    again = Prompt(prompt.session, prompt.tag, prompt.text, updates=shown or [])
    for was, now in ((prompt.words, again.words), (prompt.thoughts, again.thoughts)):
        is_kept = now.startswith(was) if prompt.reply is None else now == was
        assert is_kept, f"{prompt.text!r}: shown was {was!r}, and now {now!r}"
    if prompt.reply is None:
        prompt.updates = again.updates
