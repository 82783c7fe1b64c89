"""The registry of generators: who writes a stream's text and who may read or stop it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from django.conf import settings
from django.utils.module_loading import import_string

from .exceptions import UnknownGenerator, log_failure
from .models import EndReason, Stream
from .rendering import PlainText, Renderer

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class End:
    """Yielded as the last item by a generator that has more to say about its end than a return."""

    reason: str = EndReason.COMPLETE
    # Stored as `Stream.result` with the end.
    result: Mapping[str, Any] | None = None


OnEnd: TypeAlias = Callable[[Stream, str], Mapping[str, int] | None]
Generate: TypeAlias = Callable[[Stream, dict[str, Any], str], AsyncIterator[str | End]]


def nobody(user: Any, stream: Stream) -> bool:
    """Refuse everyone: what a generator that names no access hook gets."""
    return False


def owner_only(user: Any, stream: Stream) -> bool:
    """Allow the stream's owner alone."""
    return bool(user.is_authenticated) and user.pk == stream.owner_id


@dataclass(frozen=True)
class Generator:
    """A registered generator and its hooks."""

    name: str
    generate: Generate
    # (user, stream) -> bool, plain sync functions that may query; asked by HTTP, SSE, sockets, tag.
    may_read: Callable[[Any, Stream], bool]
    may_stop: Callable[[Any, Stream], bool]
    # (stream, text), in the end's transaction, inside a savepoint; must be idempotent. It may
    # return topics with the version that a page has of them once it shows the stream's end.
    on_end: OnEnd | None
    # (stream) -> the text that `on_end` has put elsewhere, None where there is none: what
    # `verifystreams` compares. May query.
    kept_text: Callable[[Stream], str | None] | None
    renderer_path: str | Renderer
    # Whether a generator of this stream can go on after committed text of an earlier one.
    carries_on: Callable[[Stream], bool]
    # Template of what stands under the text (state in words, forms); gets `stream`.
    foot_template: str
    # (stream) -> context of the foot template; must not need a request.
    foot_context: Callable[[Stream], dict[str, Any]] | None
    # (stream) -> code of the language of what is said about it without a request; may query.
    language: Callable[[Stream], str] | None

    def may_run(self, stream: Stream) -> bool:
        """Whether it may write now: nothing was written yet since `create` or `resume`, or it can
        go on after a writer that was cut.
        """
        return stream.first_text_at is None or self.carries_on(stream)

    def language_of(self, stream: Stream) -> str:
        """The language in which its pages are told about the stream; the site's if it cannot say.

        May query.
        """
        try:
            said = self.language(stream) if self.language else ""
        except Exception as error:
            # Words in another language are better than none.
            log_failure(logger, error, "The language of stream %s is not known", stream.pk)
            said = ""
        return said or settings.LANGUAGE_CODE

    @property
    def renderer(self) -> Renderer:
        if isinstance(self.renderer_path, str):
            return import_string(self.renderer_path)
        return self.renderer_path


_registry: dict[str, Generator] = {}


def generator(
    name: str,
    *,
    may_read: Callable[[Any, Stream], bool] = nobody,
    may_stop: Callable[[Any, Stream], bool] = nobody,
    on_end: OnEnd | None = None,
    kept_text: Callable[[Stream], str | None] | None = None,
    renderer: str | Renderer = PlainText(),  # noqa: B008 - stateless
    carries_on: bool | Callable[[Stream], bool] = False,
    foot_template: str = "streaming/_foot.html",
    foot_context: Callable[[Stream], dict[str, Any]] | None = None,
    language: Callable[[Stream], str] | None = None,
) -> Callable[[Generate], Generate]:
    """Register an async generator function under `name`.

    The function is given the stream, its JSON parameters and the text already committed (empty,
    unless it `carries_on` or the stream was resumed), and yields text, an empty one to say that it
    is still at work; it may yield one `End` last, or raise `StreamFailed`. Returning is the
    explicit end `done`. `renderer` may be a dotted path to a `Renderer` instance.
    """

    def register(function: Generate) -> Generate:
        _registry[name] = Generator(
            name=name,
            generate=function,
            may_read=may_read,
            may_stop=may_stop,
            on_end=on_end,
            kept_text=kept_text,
            renderer_path=renderer,
            carries_on=carries_on if callable(carries_on) else lambda stream: bool(carries_on),
            foot_template=foot_template,
            foot_context=foot_context,
            language=language,
        )
        return function

    return register


def get_generator(name: str) -> Generator:
    """The generator registered under `name`. Raises UnknownGenerator."""
    try:
        return _registry[name]
    except KeyError:
        raise UnknownGenerator(f"No generator {name!r}; known: {sorted(_registry)}") from None


def registered_names() -> list[str]:
    """The names of all registered generators, sorted."""
    return sorted(_registry)
