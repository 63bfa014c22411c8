"""Providers that this machine has a key or a login for: told by the kinds' own offers, and asked for their models.

A key is in a variable, or was put into the keyring by `acp-broker auth set` under the offer's name. Each provider is
asked once, with that key, all of them side by side; nobody is, where the network is not to be used.
"""

from collections.abc import Iterator, Mapping, Sequence, Set
from functools import partial

import msgspec
from anyio import create_task_group, move_on_after
from msgspec import Struct
from msgspec.structs import replace

from acp_broker.app.kinds import kind
from acp_broker.app.setup.asking import models_of
from acp_broker.app.sources import keyring_of
from acp_broker.auth import google_file
from acp_broker.auth.aside import aside
from acp_broker.auth.secret_keyring import SecretKeyring
from acp_broker.backend_config import BackendConfig
from acp_broker.config import KeyringProvider
from acp_broker.core.failures import FailureKind
from acp_broker.core.redact import without
from acp_broker.errors import BackendFailure, BrokerError, StoreError, Unresolved
from backends import KINDS
from backends.offering import Offer, chosen

# For all of them together: those that have not answered by then are taken as they are known.
LIMIT_S = 5.0
# A keyring may ask a person.
KEYRING_S = 3.0
_REFUSED = (FailureKind.AUTH_REJECTED, FailureKind.AUTH_MISSING)
_Profile = tuple[str, Mapping[str, object]]


class Provider(Struct, frozen=True):
    """One that could be a backend. `entry` is that of config.json but for `auth`; None: there is nothing to write, and
    `says` why. `login` says what it lives on; `variable`: that is a variable. `profile` has its name before it.

    `address` is who answers in the end, as BackendConfig has it. `is_assumed`: its model is one that is known to be
    good, and not one that it has told. `is_asked`: it was called.
    """

    id: str
    title: str
    login: str
    says: str
    entry: Mapping[str, object] | None = None
    address: str | None = None
    profile: _Profile | None = None
    variable: str | None = None
    model: str | None = None
    is_assumed: bool = False
    is_asked: bool = False


class _Keyed(Struct, frozen=True):
    """An offer that there is a key or a login for."""

    offer: Offer
    login: str
    profile: _Profile | None = None
    secret: str | None = None

    def __repr__(self) -> str:
        return f"_Keyed({self.offer.id})"


async def providers(environ: Mapping[str, str], taken: Set[str], *, may_ask: bool) -> tuple[Provider, ...]:
    """In the order of their kinds. A variable that is `taken` is what an agent lives on."""
    found: dict[str, Provider] = {}

    async def look(one: _Keyed) -> None:
        asks = may_ask and one.secret is not None
        found[one.offer.id] = replace(await _provider(one, environ, may_ask=may_ask), is_asked=asks)

    keyed = tuple(await _all_keyed(environ, taken))
    async with create_task_group() as group:
        for one in keyed:
            group.start_soon(look, one)
    return tuple(found[one.offer.id] for one in keyed)


async def _all_keyed(environ: Mapping[str, str], taken: Set[str]) -> Iterator[_Keyed]:
    offers = [offer for offer in every_offer(environ) if not offer.like and offer.variable not in taken]
    keyless = [offer.id for offer in offers if not (offer.variable or offer.profile)]
    kept = await _kept(keyless, environ)
    google = await _google(environ)
    return (one for offer in offers if (one := _keyed(offer, environ, kept, google)) is not None)


def every_offer(environ: Mapping[str, str]) -> Iterator[Offer]:
    """Those of all kinds of ours."""
    for name in KINDS:
        offers = getattr(kind(name), "offers", None)
        yield from () if offers is None else offers(environ)


def _keyed(offer: Offer, environ: Mapping[str, str], kept: Mapping[str, str], google: str | None) -> _Keyed | None:
    if offer.variable is not None:
        name = offer.variable.lower().replace("_", "-")
        held: _Profile = (name, {"type": "api_key", "key": f"${{{offer.variable}}}"})
        return _Keyed(offer, f"${offer.variable}", held, environ[offer.variable])
    if offer.profile is not None:
        name = str(offer.profile["type"])
        return _Keyed(offer, google, (name, offer.profile)) if name == "google" and google is not None else None
    if offer.id in kept:
        profile: _Profile = (offer.id, {"type": "api_key", "key": {"source": "keyring", "id": offer.id}})
        return _Keyed(offer, f"keyring entry {offer.id}", profile, kept[offer.id])
    return None


async def _kept(names: Sequence[str], environ: Mapping[str, str]) -> Mapping[str, str]:
    """What `acp-broker auth set` has kept under these names."""
    keyring = keyring_of(KeyringProvider(), environ)
    with move_on_after(KEYRING_S):
        try:
            return await aside(partial(_looked_up, keyring, names), SecretKeyring)
        except BrokerError:
            return {}
    return {}


def _looked_up(keyring: SecretKeyring, names: Sequence[str]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for name in names:
        try:
            found[name] = keyring.get(name)
        except (Unresolved, StoreError):
            continue
    return found


async def _google(environ: Mapping[str, str]) -> str | None:
    """Application default credentials that are for a project, by the name of their file."""
    path, named_by = google_file.place(None, environ)
    with move_on_after(KEYRING_S):
        try:
            found = await aside(partial(google_file.read, path), path)
        except BrokerError:
            return None
        if found is None or google_file.projects(found, environ, is_named=False).main is None:
            return None
        return named_by or "gcloud's login"
    return None


async def _provider(one: _Keyed, environ: Mapping[str, str], *, may_ask: bool) -> Provider:
    offer, named = one.offer, Provider(one.offer.id, one.offer.title, one.login, "")
    try:
        settings = _settings(offer, offer.model or "unknown")
    except msgspec.ValidationError as error:
        return replace(named, says=f"cannot be written: {error}")
    model, why = offer.model, "nobody was asked"
    if may_ask and one.secret is not None:
        why = f"it did not answer within {LIMIT_S:g} s"
        with move_on_after(LIMIT_S):
            try:
                models = await models_of(settings, offer.id, one.secret, environ)
                model, many = chosen(models, offer.model, offer.likes), "" if len(models) == 1 else "s"
                why = f"{len(models)} model{many}"
                if model is not None:
                    return _written(one, settings, model, f"lists {why}, {model} is taken")
            except BackendFailure as error:
                # Providers quote what they refuse.
                why = without(one.secret, error.failure.text)
                if error.failure.kind in _REFUSED:
                    return replace(named, says=f"does not take the key: {why}")
    if model is None:
        return replace(named, says=f"has no model that is known by name: {why}")
    return replace(_written(one, settings, model, f"{model} is assumed: {why}"), is_assumed=True)


def _written(one: _Keyed, settings: BackendConfig, model: str, says: str) -> Provider:
    offer = one.offer
    entry = {**offer.entry, "model": model}
    return Provider(
        offer.id, offer.title, one.login, says, entry, settings.provider, one.profile, offer.variable, model
    )


def _settings(offer: Offer, model: str) -> BackendConfig:
    entry = {**offer.entry, "model": model}
    settings = msgspec.convert(entry, kind(str(entry["kind"])).config)
    assert isinstance(settings, BackendConfig)
    return settings
