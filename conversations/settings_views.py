"""The settings page, whose sections are saved as they change, and a chat's own settings."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django_htmx.http import HttpResponseClientRefresh

from . import actions, personas, preferences, providers
from .exceptions import UnknownModel
from .forms import SpokenForm
from .models import Defaults, Persona
from .pages import model_context, render_page
from .requests import HtmxRequest, conversation_of, private, refused, submit
from .settings_forms import AppearanceForm, OptionsForm, PersonaForm


@private
@login_required
@require_safe
def settings_page(request: HtmxRequest) -> HttpResponse:
    """All sections; `?saved=<section>` says so beside that one, where no script does."""
    return _page(request)


@private
@login_required
@require_POST
def answers(request: HtmxRequest) -> HttpResponse:
    """What the answers of all chats are asked with, unless a chat says otherwise."""
    form = OptionsForm(request.POST)

    def save() -> bool:
        data = form.cleaned_data
        _check_model(data["model"], preferences.defaults_of(request.user.pk).model)
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
@login_required
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
    if saved and request.htmx:
        return HttpResponseClientRefresh()
    return _answered(request, "appearance", form, saved is not None, status)


@private
@login_required
@require_POST
def persona_create(request: HtmxRequest) -> HttpResponse:
    """Keep a prompt under a name; what has that name already is replaced."""
    form = PersonaForm(request.POST)
    saved, status = submit(form, lambda: personas.save_persona(request.user, **form.cleaned_data))
    if saved is None:
        return _answered(request, "prompts", form, False, status)
    return redirect(_address("prompts"))


@private
@login_required
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
        return redirect(_address("prompts"))
    response = render_page(request, "persona", {"persona": persona, "form": form})
    return refused(response, status)


@private
@login_required
@require_POST
def persona_delete(request: HtmxRequest, pk: int) -> HttpResponse:
    """Chats that began with it keep its text."""
    get_object_or_404(Persona, owner=request.user.pk, pk=pk).delete()
    return redirect(_address("prompts"))


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
        actions.set_options(conversation, data["model"], data["system_prompt"], parameters)
        name = request.POST.get("persona_name", "").strip()
        if name and data["system_prompt"]:
            kept = PersonaForm({"name": name, "prompt": data["system_prompt"]})
            if kept.is_valid():
                personas.save_persona(request.user, **kept.cleaned_data)
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


def _page(request: HtmxRequest, **bound: SpokenForm) -> HttpResponse:
    defaults = preferences.defaults_of(request.user.pk)
    looks = {"theme": request.user.theme, "language": request.user.language}
    context = {
        "answers": bound.get("answers") or OptionsForm.showing(defaults),
        "appearance": bound.get("appearance") or AppearanceForm(initial=looks),
        "prompts": bound.get("prompts") or PersonaForm(),
        "personas": Persona.objects.filter(owner=request.user.pk),
        "models": providers.models(),
        "default_model": providers.choice(providers.default_model_id()),
        "saved": request.GET.get("saved", ""),
    }
    return render_page(request, "settings", context)


def _answered(
    request: HtmxRequest, section: str, form: SpokenForm, is_saved: bool, status: int
) -> HttpResponse:
    """'Saved' or the reason beside the fields; without htmx the page."""
    if request.htmx:
        return _said(request, form, is_saved, status)
    if is_saved:
        return redirect(_address(section))
    return refused(_page(request, **{section: form}), status)


def _said(request: HtmxRequest, form: SpokenForm, is_saved: bool, status: int) -> HttpResponse:
    context = {"is_saved": is_saved, "form": form}
    return refused(render(request, "conversations/_said.html", context), status)


def _address(section: str) -> str:
    return f"{reverse('conversations:settings')}?saved={section}#{section}"


def _check_model(model: str, stored: str) -> None:
    """A model that is gone may stay, but not come. Raises UnknownModel."""
    if model and model != stored and providers.choice(model) is None:
        raise UnknownModel.of(model)
