"""How static files are named and compressed where `collectstatic` gathers them."""

from __future__ import annotations

from servestatic.storage import CompressedManifestStaticFilesStorage

# `support_js_module_import_aggregation` reads any script's comments as well, and fails at those
# that packages bring.
IMPORTS = ((r'(?P<matched>from "(?P<url>\./[^"]+)")', 'from "%(url)s"'),)


class StaticStorage(CompressedManifestStaticFilesStorage):
    """Names with a hash of the content, also where one of our own modules asks for another."""

    patterns = (
        *CompressedManifestStaticFilesStorage.patterns,
        ("chat.js", IMPORTS),
        ("chat/*.js", IMPORTS),
    )
