from __future__ import annotations

from django.apps import AppConfig
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _


class StreamingConfig(AppConfig):
    name = "streaming"
    verbose_name = _("Text streams")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django.utils.module_loading import autodiscover_modules

        from . import checks  # noqa: F401 - registers them
        from .conf import RUNNERS, conf

        if conf.RUNNER not in RUNNERS:
            raise ImproperlyConfigured(
                f"STREAMING_RUNNER={conf.RUNNER!r}: allowed are {', '.join(RUNNERS)}."
            )
        # Generators register themselves in each app's `generators.py`.
        autodiscover_modules("generators")
