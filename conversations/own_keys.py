"""Keys of people's own to providers: stored encrypted, never shown, used by the generator alone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from streaming.models import Stream

from .encryption import CannotDecrypt, decrypt, encrypt
from .exceptions import Refused
from .models import Defaults, ProviderKey
from .providers import catalogue
from .providers.base import ModelChoice, Provider, ProviderError

PREFIX = "own-"
KINDS = {
    "openai": ("OpenAI", catalogue.OPENAI_URL),
    "anthropic": ("Anthropic", catalogue.ANTHROPIC_URL),
}
TRY_SECONDS = 5
MOST_MODELS = 300
REFUSED = gettext_lazy(
    "The provider refused your key. Check it in the settings, or choose another model."
)
# What came of trying a key.
SENTENCES: dict[str, str | Promise] = {
    "fine": gettext_lazy("The connection works."),
    "refused": gettext_lazy("The provider refused the key."),
    "late": gettext_lazy("The provider did not answer within 5 seconds."),
    "unreachable": gettext_lazy("The provider cannot be reached."),
    "unreadable": gettext_lazy("The provider answered, but its list of models cannot be read."),
    "forbidden": gettext_lazy("This site no longer allows this key's address."),
    "often": gettext_lazy("Too many key tests in a short time. Try this one again later."),
    "lost": gettext_lazy("The key can no longer be read. Add it again."),
}


@dataclass(frozen=True)
class Tried:
    """What came of trying a key, as a name in `SENTENCES`; and the models that it opens."""

    outcome: str
    models: int = 0

    @property
    def sentence(self) -> str | Promise:
        return SENTENCES[self.outcome]


# --- What is allowed


def kinds() -> list[tuple[str, str]]:
    """(provider, name) of those to which people may add keys; none where none can be encrypted."""
    if not settings.FIELD_ENCRYPTION_KEYS:
        return []
    return [(kind, KINDS[kind][0]) for kind in settings.OWN_KEYS if kind in KINDS]


def checked_address(provider: str, base_url: str) -> tuple[str, bool]:
    """The base URL of a key, and whether it may be connected to at public addresses alone.

    Raises Refused when this site does not allow it. Asks nobody: names are looked up by the
    connection, which checks what it finds (`providers/addresses.py`).
    """
    from .providers.addresses import is_public

    base_url = base_url.strip().rstrip("/")
    if base_url in ("", KINDS[provider][1]):
        return KINDS[provider][1], False
    refusal = Refused(_("This site does not allow keys for this address."))
    try:
        url = urlsplit(base_url)
        host, port = (url.hostname or "").lower(), url.port
    except ValueError:
        raise refusal from None
    has_more = "@" in url.netloc or url.query or url.fragment or "\\" in base_url
    is_plain = base_url.isascii() and base_url.isprintable() and " " not in base_url
    if not host or has_more or not is_plain or url.scheme not in ("http", "https"):
        raise Refused(_("An address looks like https://host/path, without a password or a query."))
    if {host, f"{host}:{port}"} & set(settings.OWN_BASE_URLS):
        # The operator named it, wherever it is.
        return base_url, False
    if "*" not in settings.OWN_BASE_URLS:
        raise refusal
    if url.scheme != "https":
        raise Refused(_("The address must begin with https://."))
    is_literal = ":" in host or host.replace(".", "").isdigit()
    if is_literal and not is_public(host):
        raise refusal
    return base_url, True


# --- Keeping them


def keys_of(user_id: Any) -> Iterable[ProviderKey]:
    return ProviderKey.objects.filter(user=user_id)


def add(user: Any, provider: str, secret: str, base_url: str) -> ProviderKey:
    """Keep the key `secret` in place of the person's one for `provider`. Raises Refused."""
    if base_url and not settings.OWN_BASE_URLS:
        raise Refused(_("This site does not allow keys for this address."))
    address, _is_public = checked_address(provider, base_url)
    sealed = encrypt(secret, bound_to=_binding(user.pk, provider, address))
    # Another row, so that answers which wait with the old one do not run with the new one.
    ProviderKey.objects.filter(user=user.pk, provider=provider).delete()
    return ProviderKey.objects.create(
        user=user, provider=provider, base_url=address, ciphertext=sealed, last4=secret[-4:]
    )


def _binding(user_id: Any, provider: str, base_url: str) -> str:
    """What a ciphertext is bound to: in another's row, or for another server, it is of no use."""
    url = urlsplit(base_url)
    return f"{user_id} {provider} {url.scheme}://{url.netloc}"


def secret_of(key: ProviderKey) -> str:
    """The key itself, for a request to its provider alone. Raises CannotDecrypt."""
    bound_to = _binding(key.user_id, key.provider, key.base_url)
    return decrypt(key.ciphertext, bound_to=bound_to)


def seal_again(key: ProviderKey, user_id: Any = None) -> bool:
    """Encrypt with the first of FIELD_ENCRYPTION_KEYS, for `user_id` if it changes hands.

    False when the row changed in the meantime. Raises CannotDecrypt.
    """
    user_id = user_id or key.user_id
    sealed = encrypt(secret_of(key), bound_to=_binding(user_id, key.provider, key.base_url))
    rows = ProviderKey.objects.filter(pk=key.pk, ciphertext=key.ciphertext)
    return bool(rows.update(ciphertext=sealed, user=user_id))


def move_preferences(guest: Any, account: Any) -> None:
    """Give the account what a guest has set and it has not; within the caller's transaction."""
    if not Defaults.objects.filter(pk=account.pk).exists():
        Defaults.objects.filter(pk=guest.pk).update(user=account)
    has = set(keys_of(account.pk).values_list("provider", flat=True))  # type: ignore[attr-defined]
    for key in keys_of(guest.pk):
        if key.provider not in has:
            try:
                seal_again(key, account.pk)
            except CannotDecrypt:
                continue


# --- Using them


def is_own(model_id: str) -> bool:
    """Whether the model is one of a key of a person's own: own-<provider>:<name>."""
    return model_id.startswith(PREFIX)


def choices_of(user_id: Any) -> list[ModelChoice]:
    """The models that the person's keys open, as their providers last listed them; one query."""
    allowed = dict(kinds())
    if user_id is None or not allowed:
        return []
    return [
        _choice(key, one)
        for key in keys_of(user_id)
        if key.provider in allowed
        for one in key.listed
    ]


def _choice(key: ProviderKey, listed: dict[str, Any]) -> ModelChoice:
    choice = catalogue.choice_of(
        f"{PREFIX}{key.provider}",
        listed["name"],
        label=listed["label"],
        context=listed["context_tokens"],
    )
    return replace(choice, note=_("your own key"))


def params_of(user_id: Any, model_id: str) -> dict[str, int]:
    """Which key an answer of this model runs with: its row's pk, in the stream's params."""
    if not is_own(model_id):
        return {}
    provider = model_id.partition(":")[0].removeprefix(PREFIX)
    pk = ProviderKey.objects.filter(user=user_id, provider=provider).values_list("pk", flat=True)
    return {"own_key": pk[0]} if pk else {}


def provider_for(stream: Stream, model_id: str) -> tuple[Provider, str, ModelChoice]:
    """Who answers for a model of the key that the answer of `stream` began with; queries.

    Raises ProviderError.
    """
    name = model_id.partition(":")[2]
    rows = ProviderKey.objects.filter(pk=stream.params.get("own_key"), user=stream.owner_id)
    key = rows.first()
    if key is None:
        sentence = _(
            "Your key for this model was deleted. Add one in the settings, or choose another model."
        )
        raise ProviderError("no_model", sentence)
    if key.provider not in dict(kinds()):
        raise ProviderError("no_model", _("This site no longer lets you use your own keys."))
    try:
        address, public_only = checked_address(key.provider, key.base_url)
        secret = secret_of(key)
    except Refused:
        raise ProviderError("no_model", str(SENTENCES["forbidden"])) from None
    except CannotDecrypt:
        raise ProviderError("refused", str(SENTENCES["lost"])) from None
    listed = next((one for one in key.listed if one["name"] == name), None)
    if listed is None:
        raise ProviderError("no_model", _("Your key no longer gives access to this model."))
    choice = _choice(key, listed)
    if key.provider == "anthropic":
        from .providers.anthropic import Anthropic

        tokens = choice.answer_tokens
        adapter: Provider = Anthropic(
            address, secret, answer_tokens=tokens, public_only=public_only
        )
    else:
        from .providers.openai import OpenAI

        adapter = OpenAI(address, secret, name="own key", public_only=public_only)
    return adapter, name, choice


def try_key(key: ProviderKey) -> Tried:
    """Ask the provider which models the key opens, and keep them; at most five seconds.

    Outside of any transaction: it waits for another server.
    """
    try:
        address, public_only = checked_address(key.provider, key.base_url)
        secret = secret_of(key)
        listing = _list(key.provider, address, secret, public_only)
        found = asyncio.run(listing)[:MOST_MODELS]
    except Refused:
        return Tried("forbidden")
    except CannotDecrypt:
        return Tried("lost")
    except TimeoutError:
        return Tried("late")
    except ProviderError as error:
        if error.code == "refused":
            return Tried("refused")
        from .providers.transport import UNREACHABLE

        return Tried("unreachable" if error.detail == UNREACHABLE else "unreadable")
    key.listed = [
        {
            "name": choice.id.partition(":")[2][:150],
            "label": choice.label[:150],
            "context_tokens": choice.context_tokens,
        }
        for choice in found
    ]
    ProviderKey.objects.filter(pk=key.pk).update(listed=key.listed)
    return Tried("fine", len(found))


async def _list(provider: str, address: str, secret: str, public_only: bool) -> list[ModelChoice]:
    async with asyncio.timeout(TRY_SECONDS):
        return await catalogue.fetch_list(provider, address, secret, public_only=public_only)
