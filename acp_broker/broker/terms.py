"""What a frontend's way in means for it: said once, by whoever lets it in."""

from collections.abc import Mapping

from msgspec import Struct


class Terms(Struct, frozen=True):
    """`name` is what the log calls it. `environ` is the environment that agents are started in for it."""

    name: str
    environ: Mapping[str, str] = {}
    # A bridge loses its connection and comes back: its turns go on. An editor that closes its pipe is gone, and so
    # is whoever wanted the answer.
    turns_go_on: bool = False
    # Whether a person sits at the terminal that its program was started in: ACP's terminal logins need one.
    has_terminal: bool = True
    most_sessions: int | None = None
