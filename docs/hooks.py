"""Turn links that leave the folder of the documentation into links to the repository, for MkDocs."""

import posixpath
import re

_TARGET = re.compile(r"(?<=\]\()(\.\.?/[^)\s]+)(?=\))|(?<=\]: )(\.\.?/\S+)$", re.MULTILINE)
_OUTSIDE = "https://repository.invalid/"
_LINK = re.compile(rf'<a href="{re.escape(_OUTSIDE)}([^"]*)">(.*?)</a>', re.DOTALL)


def on_page_markdown(markdown, page, **_):
    """Return a page's text with marked links to files of the repository."""

    def marked(match):
        path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page.file.src_uri), match.group()))
        return match.group() if path.startswith("docs/") else _OUTSIDE + path

    return _TARGET.sub(marked, markdown)


def on_page_content(html, config, **_):
    """Return a page with links into the repository; where its address is not known, with their texts alone."""
    if not config.repo_url:
        return _LINK.sub(r"\2", html)
    return html.replace(_OUTSIDE, f"{config.repo_url.rstrip('/')}/blob/main/")
