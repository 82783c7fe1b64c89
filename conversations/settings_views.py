"""The settings page, whose sections are saved as they change, and a chat's own settings."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.module_loading import import_string
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django_htmx.http import (
    HttpResponseClientRedirect,
    HttpResponseClientRefresh,
    reselect,
    reswap,
    retarget,
)

from . import actions, own_keys, personas, preferences, providers
from .exceptions import Refused, UnknownModel
from .forms import SpokenForm
from .models import Defaults, Persona, ProviderKey
from .pages import model_context, render_page
from .requests import HtmxRequest, conversation_of, private, refused, signed_in, submit
from .settings_forms import AppearanceForm, KeyOfOwnForm, OptionsForm, PersonaForm


@private
@signed_in
@require_safe
def settings_page(request: HtmxRequest) -> HttpResponse:
    """All sections; `?saved=<section>` says so beside that one, where no script does."""
    return _page(request, request.GET.get("saved", ""))


@private
@signed_in
@require_POST
def answers(request: HtmxRequest) -> HttpResponse:
    """What the answers of all chats are asked with, unless a chat says otherwise."""
    form = OptionsForm(request.POST)

    def save() -> bool:
        data = form.cleaned_data
        stored = preferences.defaults_of(request.user.pk).model
        if data["model"] not in ("", stored):
            _check_model(request, data["model"])
        Defaults.objects.update_or_create(
            pk=request.user.pk,
            defaults={
                "model": data["model"],
                "system_prompt": data["system_prompt"],
                "parameters": preferences.parameters_from(data),
            },
        )
        return True

    saved, status = submit(form, save)
    return _answered(request, "answers", form, saved is not None, status)


@private
@signed_in
@require_POST
def appearance(request: HtmxRequest) -> HttpResponse:
    """Theme and language, on all devices of the person; a page with a script is drawn anew."""
    form = AppearanceForm(request.POST)

    def save() -> bool:
        request.user.theme = form.cleaned_data["theme"]
        request.user.language = form.cleaned_data["language"]
        request.user.save(update_fields=["theme", "language"])
        return True

    saved, status = submit(form, save)
    response: HttpResponse
    if saved and request.htmx:
        response = HttpResponseClientRefresh()
    else:
        response = _answered(request, "appearance", form, saved is not None, status)
    if saved:
        # From now on a choice left empty is the system's, not that of an earlier visit.
        response.delete_cookie(settings.THEME_COOKIE_NAME)
        response.delete_cookie(settings.LANGUAGE_COOKIE_NAME)
    return response


@private
@signed_in
@require_POST
def persona_create(request: HtmxRequest) -> HttpResponse:
    """Keep a prompt under a name; what has that name already is replaced."""
    form = PersonaForm(request.POST)
    saved, status = submit(form, lambda: personas.save_persona(request.user, **form.cleaned_data))
    if saved is None:
        return _answered(request, "prompts", form, False, status)
    return _kept(request, "prompts")


@private
@signed_in
@require_http_methods(["GET", "HEAD", "POST"])
def persona_detail(request: HtmxRequest, pk: int) -> HttpResponse:
    """The page of one saved prompt, to edit it."""
    persona = get_object_or_404(Persona, owner=request.user.pk, pk=pk)
    initial = {"name": persona.name, "prompt": persona.prompt}
    form = PersonaForm(request.POST if request.method == "POST" else None, initial=initial)

    def save() -> bool:
        persona.name, persona.prompt = form.cleaned_data["name"], form.cleaned_data["prompt"]
        persona.save(update_fields=["name", "prompt"])
        return True

    saved, status = submit(form, save) if form.is_bound else (None, 200)
    if saved:
        return (HttpResponseClientRedirect if request.htmx else redirect)(_address("prompts"))
    if form.is_bound and request.htmx:
        return _said(request, form, False, status)
    response = render_page(request, "persona", {"persona": persona, "form": form})
    return refused(response, status)


@private
@signed_in
@require_POST
def persona_delete(request: HtmxRequest, pk: int) -> HttpResponse:
    """Chats that started with it keep its text."""
    get_object_or_404(Persona, owner=request.user.pk, pk=pk).delete()
    return redirect(_address("prompts"))


@private
@signed_in
@sensitive_post_parameters("secret")
@require_POST
def key_create(request: HtmxRequest) -> HttpResponse:
    """Keep a key in place of the one for the same provider, and try it: its models are known then.

    It is never drawn again, not even in the form that was refused.
    """
    form = KeyOfOwnForm(request.POST)
    key, status = submit(form, lambda: own_keys.add(request.user, **form.cleaned_data))
    if key is None:
        return _answered(request, "keys", form, False, status)
    tried = _tried(request, key)
    return _kept(request, f"key-{tried.outcome}")


@private
@signed_in
@require_POST
def key_test(request: HtmxRequest, pk: int) -> HttpResponse:
    """Ask the provider for its models with the key, and say what came of it."""
    key = get_object_or_404(ProviderKey, user=request.user.pk, pk=pk)
    tried = _tried(request, key)
    if not request.htmx:
        return redirect(_address(f"key-{tried.outcome}"))
    return render(request, "conversations/_key_tried.html", {"tried": tried})


@private
@signed_in
@require_POST
def key_delete(request: HtmxRequest, pk: int) -> HttpResponse:
    get_object_or_404(ProviderKey, user=request.user.pk, pk=pk).delete()
    return redirect(_address("keys"))


@private
@require_http_methods(["GET", "HEAD", "POST"])
def conversation_settings(request: HtmxRequest, pk: UUID) -> HttpResponse:
    """A chat's own model, prompt, temperature and length: a panel, or a page of its own."""
    conversation = conversation_of(request, pk)
    form = OptionsForm(request.POST) if request.method == "POST" else None

    def save() -> bool:
        assert form is not None
        data = form.cleaned_data
        parameters = preferences.parameters_from(data)
        # Both or neither: what is refused leaves nothing half done.
        with transaction.atomic():
            if name := request.POST.get("persona_name", "").strip():
                kept = PersonaForm({"name": name, "prompt": data["system_prompt"]})
                if not kept.is_valid():
                    raise Refused(kept.sentence)
                personas.save_persona(request.user, **kept.cleaned_data)
            actions.set_options(conversation, data["model"], data["system_prompt"], parameters)
        return True

    saved, status = submit(form, save) if form else (None, 200)
    if form and request.htmx:
        return _said(request, form, saved is not None, status)
    if saved:
        return redirect(conversation)
    shown = form or OptionsForm.showing(conversation)
    context = {"conversation": conversation, "form": shown, **_options_context(request)}
    if request.htmx:
        return render(request, "conversations/_chat_settings.html", context)
    return refused(render_page(request, "chat_settings", context), status)


# --- Their parts


def _options_context(request: HtmxRequest) -> dict[str, Any]:
    """What the fields of answers are drawn with, and what an empty one stands for."""
    models = model_context(request, None)
    return {"models": models["models"], "default_model": models["default_model"]}


def _page(request: HtmxRequest, saved: str = "", /, **bound: SpokenForm) -> HttpResponse:
    defaults = preferences.defaults_of(request.user.pk)
    looks = {"theme": request.user.theme, "language": request.user.language}
    outcome = saved.partition("key-")[2]
    context = {
        "tried": own_keys.Tried(outcome) if outcome in own_keys.SENTENCES else None,
        "answers": bound.get("answers") or OptionsForm.showing(defaults),
        "appearance": bound.get("appearance") or AppearanceForm(initial=looks),
        "prompts": bound.get("prompts") or PersonaForm(),
        "personas": Persona.objects.filter(owner=request.user.pk),
        "models": preferences.models_of(request.user),
        "default_model": providers.choice(providers.default_model_id()),
        "key_form": bound.get("keys") or KeyOfOwnForm(),
        "keys": own_keys.keys_of(request.user.pk) if own_keys.kinds() else [],
        "may_add_keys": bool(own_keys.kinds()),
        "may_name_addresses": bool(settings.OWN_BASE_URLS),
        "saved": saved,
    }
    return render_page(request, "settings", context)


def _kept(request: HtmxRequest, saved: str) -> HttpResponse:
    """The section with what is new in it; without htmx the page."""
    if not request.htmx:
        return redirect(_address(saved))
    place = f"#{_place(saved)}"
    return reswap(reselect(retarget(_page(request, saved), place), place), "outerHTML")


def _answered(
    request: HtmxRequest, section: str, form: SpokenForm, is_saved: bool, status: int
) -> HttpResponse:
    """'Saved' or the reason beside the fields; without htmx the page."""
    if request.htmx:
        return _said(request, form, is_saved, status)
    if is_saved:
        return redirect(_address(section))
    return refused(_page(request, "", **{section: form}), status)


def _said(request: HtmxRequest, form: SpokenForm, is_saved: bool, status: int) -> HttpResponse:
    context = {"is_saved": is_saved, "form": form}
    return refused(render(request, "conversations/_said.html", context), status)


def _place(section: str) -> str:
    return "keys" if section.startswith("key-") else section


def _address(section: str) -> str:
    return f"{reverse('conversations:settings')}?saved={section}#{_place(section)}"


def _tried(request: HtmxRequest, key: ProviderKey) -> own_keys.Tried:
    """What came of trying the key; nobody may have this server ask others without end."""
    try:
        import_string(settings.THROTTLE)("key-test", request, str(request.user.pk)).attempt()
    except ValidationError:
        return own_keys.Tried("often")
    return own_keys.try_key(key)


def _check_model(request: HtmxRequest, model: str) -> None:
    """Raises UnknownModel."""
    if preferences.choice_of(request.user, model) is None:
        raise UnknownModel.of(model)
