"""The forms that move through a chat's tree of messages."""

from __future__ import annotations

from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_POST

from . import branches
from .forms import SpokenForm
from .models import Message
from .views import HtmxRequest, _acted, _chat_page, _refusal, _submit, private


def message_of(request: HtmxRequest, pk: int) -> Message:
    """A message of the person who asks; anybody else's is 404."""
    messages = Message.objects.filter(
        conversation__owner=request.user.pk, conversation__deleted_at__isnull=True
    )
    return get_object_or_404(
        messages.select_related("conversation__owner", "stream", "parent"), pk=pk
    )


@private
@require_POST
def message_show(request: HtmxRequest, pk: int) -> HttpResponse:
    """Let all pages of the chat show the branch of this message."""
    message = message_of(request, pk)
    form = SpokenForm(request.POST)

    def show() -> bool:
        branches.show_branch(message)
        return True

    shown, status = _submit(form, show)
    if shown is None:
        return _refusal(request, form, status, _chat_page, message.conversation)
    return _acted(request, message.conversation, at=message)
