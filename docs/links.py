"""Ends the build of the site with an error if a page links to a page or file that the site does not have."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from sphinx.errors import SphinxError


class Links(HTMLParser):
    """The paths that a page links to within the site."""

    def __init__(self) -> None:
        super().__init__()
        self.paths: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value:
                url = urlsplit(value)
                if url.path and not (url.scheme or url.netloc):
                    self.paths.append(unquote(url.path))


def dead_links(site: Path) -> list[str]:
    dead: list[str] = []
    for page in sorted(site.rglob("*.html")):
        if "_static" in page.parts:  # templates of the theme
            continue
        links = Links()
        links.feed(page.read_text("utf-8"))
        missing = [path for path in links.paths if not (page.parent / path).exists()]
        dead += [f"{page.relative_to(site)} links to {path}" for path in missing]
    return dead


def _without_builtins(app: Any, env: Any) -> None:
    """Names of `builtins` have no source, but viewcode's list of modules would link to it."""
    env._viewcode_modules.pop("builtins", None)


def _check(app: Any, exception: Exception | None) -> None:
    if exception is not None or app.builder.format != "html":
        return
    if dead := dead_links(Path(app.outdir)):
        raise SphinxError(f"links to pages that do not exist: {'; '.join(dead)}")


def setup(app: Any) -> dict[str, bool]:
    app.connect("env-updated", _without_builtins)
    app.connect("build-finished", _check)
    return {"parallel_read_safe": True}
