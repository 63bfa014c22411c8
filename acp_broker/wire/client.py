"""What a frontend declared in `initialize` that it can do (ACP v1, initialization, "Client Capabilities")."""

import msgspec
from msgspec import Raw, Struct


class _Fs(Struct):
    read: bool | None = msgspec.field(name="readTextFile", default=None)
    write: bool | None = msgspec.field(name="writeTextFile", default=None)


class _Elicitation(Struct):
    form: dict[str, Raw] | None = None
    url: dict[str, Raw] | None = None


class _Auth(Struct):
    terminal: bool | None = None


class _Options(Struct):
    boolean: dict[str, Raw] | None = None


class _Session(Struct):
    options: _Options | None = msgspec.field(name="configOptions", default=None)


class _Ours(Struct):
    seq: bool | None = None


class _Meta(Struct):
    ours: _Ours | None = msgspec.field(name="acp-broker", default=None)


class _Capabilities(Struct):
    fs: _Fs | None = None
    terminal: bool | None = None
    elicitation: _Elicitation | None = None
    auth: _Auth | None = None
    session: _Session | None = None
    meta: _Meta | None = msgspec.field(name="_meta", default=None)


class Can(Struct, frozen=True):
    """Omitted means unsupported: nothing is assumed of a client that declared nothing."""

    read: bool = False
    write: bool = False
    terminal: bool = False
    form: bool = False
    url: bool = False
    terminal_login: bool = False
    boolean_options: bool = False
    # It wants what it is shown numbered.
    numbers: bool = False

    def method(self, method: str) -> bool:
        """Whether an agent may call this client method; elicitation is looked at by mode."""
        match method:
            case "session/request_permission":
                return True
            case "fs/read_text_file":
                return self.read
            case "fs/write_text_file":
                return self.write
            case _:
                return self.terminal and method in _TERMINAL


_TERMINAL = frozenset(
    {"terminal/create", "terminal/output", "terminal/wait_for_exit", "terminal/kill", "terminal/release"}
)


def declared(capabilities: Raw) -> Can:
    """Read `clientCapabilities`. Raises msgspec.ValidationError for one of another shape."""
    said = msgspec.json.decode(capabilities, type=_Capabilities)
    fs, elicitation = said.fs or _Fs(), said.elicitation or _Elicitation()
    options = (said.session or _Session()).options or _Options()
    return Can(
        read=bool(fs.read),
        write=bool(fs.write),
        terminal=bool(said.terminal),
        form=elicitation.form is not None,
        url=elicitation.url is not None,
        terminal_login=bool(said.auth is not None and said.auth.terminal),
        boolean_options=options.boolean is not None,
        numbers=bool(((said.meta or _Meta()).ours or _Ours()).seq),
    )


def for_agents(capabilities: Raw) -> Raw:
    """The capabilities without what is between the client and us; as they were written where there is nothing of it.

    `via` stays: by it a chain of brokers sees that it leads back to one of them (backends/acp/hops.py).
    """
    if b'"acp-broker"' not in bytes(capabilities):
        return capabilities
    members = msgspec.json.decode(capabilities, type=dict[str, Raw])
    meta = msgspec.json.decode(members.pop("_meta", Raw(b"{}")), type=dict[str, Raw] | None) or {}
    via = msgspec.json.decode(meta.pop("acp-broker", Raw(b"{}")), type=dict[str, Raw] | None) or {}
    if "via" in via:
        meta["acp-broker"] = Raw(msgspec.json.encode({"via": via["via"]}))
    return Raw(msgspec.json.encode({**members, "_meta": meta} if meta else members))
