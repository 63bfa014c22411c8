"""The logins of a state folder: what their files hold, and who may ask a provider for newer tokens.

    claim    a short lock; a newer login is adopted, a claim of somebody else judged, or ours written
    (ask)    no lock: whoever has the claim asks the provider
    settle   a short lock; the answer is written if nobody wrote a newer one meanwhile

A claim keeps others from asking with tokens that are used up by it. It is no lock: a claim that was lost (its owner
slept for an hour) keeps nobody from saving what came of it.

    auth/NAME.json    the tokens           auth/NAME.json.new   those that are just being written
    auth/NAME.claim   who asks for newer   auth/NAME.lock       the short lock; never removed

All of this blocks: use a thread.
"""

import os
import secrets
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager
from hashlib import sha256
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from acp_broker.auth import here, private
from acp_broker.auth.tokens import Refused, Stored, TokenSet, stored
from acp_broker.clock import Clock
from acp_broker.core import ownership
from acp_broker.core.names import ProfileId
from acp_broker.core.ownership import TAKE_AFTER_S, Here, Kind, Odd, OddKind, Owner, Verdict
from acp_broker.errors import StoreError, Unresolved


class Held(Struct, frozen=True):
    """Our claim, the login that we may ask with, and what was said of the claim that was there before, if any."""

    owner: Owner
    stored: Stored
    taken_from: Verdict | None = None


class Logins:
    """One per broker process."""

    def __init__(self, home: Path, clock: Clock, take_after_s: float = TAKE_AFTER_S) -> None:
        self._folder = home / "auth"
        self._clock = clock
        self._take_after_s = take_after_s
        # Our own claims, those that we failed to remove included.
        self._mine: set[str] = set()

    def read(self, profile: ProfileId) -> Stored | None:
        """The login; None where nobody has logged in. Raises Unresolved, which names the file and the fix."""
        path = self.path(profile)
        try:
            found = private.read(path)
        except StoreError as error:
            raise Unresolved(str(error)) from error
        if found is None:
            return None
        try:
            return stored(found[0], profile)
        except Unresolved as error:
            raise Unresolved(f"{path} {error}") from None

    def put(self, profile: ProfileId, tokens: TokenSet) -> Stored:
        """A person has logged in: these tokens hold, whatever was there. Raises StoreError."""
        if not tokens.obtained_at:
            tokens = replace(tokens, obtained_at=self._clock.wall())
        with self._locked(profile):
            try:
                old = self._recovered(profile)
            except Unresolved:
                old = None
            new = self._next(profile, tokens, old)
            return self._write(replace(new, since=new.generation))

    def remove(self, profile: ProfileId) -> bool:
        """A person has logged out; False where nobody was logged in. Raises StoreError."""
        path = self.path(profile)
        with self._locked(profile):
            there = os.path.lexists(path)
            private.remove(_beside(path))
            private.remove(path)
        return there

    def claim(
        self, profile: ProfileId, is_enough: Callable[[Stored], bool], doing: str
    ) -> Held | Stored | Verdict | None:
        """The claim; or a login that is enough, or is refused; or what is said of the claim that somebody else has;
        or None where nobody is logged in. Raises StoreError, Unresolved."""
        with self._locked(profile):
            login = self._recovered(profile)
            if login is None or login.refused is not None or is_enough(login):
                return login
            verdict = self.owner(profile)
            if verdict is not None and not verdict.is_free:
                return verdict
            owner = self._owner(login.generation, doing)
            self._mine.add(owner.claim)
            private.replace(
                self.claim_path(profile),
                ownership.written(owner),
                beside=self.claim_path(profile).with_suffix(".claim.new"),
                # A restart of the machine ends its owner too.
                is_durable=False,
            )
        return Held(owner, login, verdict)

    def settle(self, held: Held, tokens: TokenSet) -> Stored | None:
        """The login after an answer: the newest that anybody has; None where somebody has logged out.

        Raises StoreError: it could not be written, the claim is still ours.
        """
        profile = held.stored.profile
        with self._locked(profile):
            try:
                login = self._recovered(profile)
            except Unresolved:  # whatever became of that file, this is worth more
                login = held.stored
            if login is not None and self._is_newer(held, tokens, login):
                login = self._write(replace(self._next(profile, tokens, login), since=login.since))
            self._let_go(held)
        return login

    def refuse(self, held: Held, why: str) -> Stored | None:
        """The login after it was refused: marked so, or what somebody put in its place meanwhile. Raises StoreError."""
        return self._mark(held, refused=Refused(why, self._clock.wall()))

    def unanswered(self, held: Held, why: str) -> Stored | None:
        """The login after a request without an answer. Raises StoreError."""
        return self._mark(held, unanswered=why)

    def release(self, held: Held) -> None:
        """Nothing came of it. Raises StoreError."""
        with self._locked(held.stored.profile):
            self._let_go(held)

    def owner(self, profile: ProfileId) -> Verdict | None:
        """What is said of the claim that is there; None where there is none."""
        found = self._found(profile)
        return None if found is None else self._judged(found)

    def unlock(self, profile: ProfileId, *, is_forced: bool) -> Verdict | None:
        """Remove the claim, a living owner's only if forced; what is said of it, None where there is none.

        Raises StoreError.
        """
        with self._locked(profile):
            verdict = self.owner(profile)
            if is_forced or (verdict is not None and verdict.kind is not Kind.LIVE):
                private.remove(self.claim_path(profile))
        return verdict

    def path(self, profile: ProfileId) -> Path:
        """Where a profile's login is."""
        # Names that differ in case alone are one on some disks; a profile's own name keeps it readable.
        return self._folder / f"{profile}.{sha256(profile.encode()).hexdigest()[:8]}.json"

    def claim_path(self, profile: ProfileId) -> Path:
        """Where it says who asks for newer tokens."""
        return self.path(profile).with_suffix(".claim")

    def _locked(self, profile: ProfileId) -> AbstractContextManager[None]:
        return private.locked(self.path(profile).with_suffix(".lock"))

    def _recovered(self, profile: ProfileId) -> Stored | None:
        """As `read`, once what a dead writer had ready is in its place: the answer that it holds has no other copy."""
        path = self.path(profile)
        ready = _beside(path)
        if not os.path.lexists(ready):
            return self.read(profile)
        try:
            found = private.read(ready)
            new = stored(found[0], profile) if found is not None else None
        except StoreError as error:
            if isinstance(error.__cause__, OSError):  # a disk in trouble: what cannot be read now may be the newest
                raise
            new = None
        except Unresolved:
            new = None
        try:
            old = self.read(profile)
        except Unresolved:
            if new is None:
                raise
            old = None
        if new is None or (old is not None and old.generation >= new.generation):
            return old
        private.put(ready, path)
        return new

    def _next(self, profile: ProfileId, tokens: TokenSet, old: Stored | None) -> Stored:
        # The clock's part keeps the number from starting anew after a logout.
        last = 0 if old is None else old.generation
        return Stored(profile=profile, generation=max(last + 1, int(self._clock.wall() * 1000)), tokens=tokens)

    def _write(self, login: Stored) -> Stored:
        path = self.path(login.profile)
        private.replace(path, msgspec.json.encode(login) + b"\n", beside=_beside(path))
        return login

    def _mark(self, held: Held, *, refused: Refused | None = None, unanswered: str | None = None) -> Stored | None:
        with self._locked(held.stored.profile):
            try:
                login = self._recovered(held.stored.profile)
                if login is not None and login.generation == held.owner.generation:
                    login = self._write(replace(login, refused=refused, unanswered=unanswered or login.unanswered))
            finally:
                # Nobody asks any more: a claim that stays for want of a mark would wait for ever for the living.
                self._let_go(held)
        return login

    def _is_newer(self, held: Held, tokens: TokenSet, login: Stored) -> bool:
        """Whether an answer is newer than what is stored: nobody wrote meanwhile, or what they wrote is older.

        What a person has logged in to meanwhile is newer than any answer about the login before.
        """
        if login.since != held.stored.since:
            return False
        return login.generation == held.owner.generation or login.tokens.obtained_at < tokens.obtained_at

    def _let_go(self, held: Held) -> None:
        profile = held.stored.profile
        found = self._found(profile)
        if isinstance(found, Owner) and found.claim == held.owner.claim:
            private.remove(self.claim_path(profile))
        self._mine.discard(held.owner.claim)

    def _found(self, profile: ProfileId) -> Owner | Odd | None:
        path = self.claim_path(profile)
        try:
            status = path.lstat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"cannot look at {path}: {error.strerror}") from error
        if not stat.S_ISREG(status.st_mode):
            return Odd(OddKind.NO_FILE, status.st_mtime)
        try:
            found = private.read(path, is_secret=False)
        except StoreError:
            return Odd(OddKind.UNREADABLE, status.st_mtime)
        return None if found is None else ownership.read(*found)

    def _judged(self, found: Owner | Odd) -> Verdict:
        process = here.process(found.pid) if isinstance(found, Owner) else ownership.Gone()
        seen = Here(
            here.host(),
            here.boot(),
            here.namespace(),
            self._clock.now(),
            self._clock.wall(),
            process,
            frozenset(self._mine),
        )
        return ownership.judge(found, seen, self._take_after_s)

    def _owner(self, generation: int, doing: str) -> Owner:
        return Owner(
            claim=secrets.token_hex(8),
            pid=os.getpid(),
            start=here.start(),
            host=here.host(),
            boot=here.boot(),
            namespace=here.namespace(),
            since=self._clock.now(),
            since_wall=self._clock.wall(),
            doing=doing,
            generation=generation,
        )


def _beside(path: Path) -> Path:
    return path.with_suffix(".json.new")
