"""HTML that cannot forget to escape: every text is escaped unless it is `Markup` already."""

from html import escape
from urllib.parse import quote

VOID = frozenset({"meta", "br", "img", "hr"})


class Markup(str):
    """Text that is HTML already; made by `tag`, `join` and trusted sources alone."""

    __slots__ = ()


def text(content: str) -> Markup:
    """Content as HTML; `Markup` is passed through, everything else escaped."""
    return content if isinstance(content, Markup) else Markup(escape(content, quote=True))


def join(*parts: str) -> Markup:
    """Parts one after the other, each escaped unless it is `Markup`."""
    return Markup("".join(text(part) for part in parts))


def tag(name: str, /, *children: str, **attributes: str) -> Markup:
    """An element.

    Args:
        name: Its tag.
        children: Contents; escaped unless `Markup`.
        attributes: A trailing underscore is dropped (``class_``), inner ones become hyphens; escaped.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value, quote=True)}"'
        for key, value in attributes.items()
    )
    if name in VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{join(*children)}</{name}>")


def file_link(path: str, label: str) -> Markup:
    """A link to a file beside the page; the path can only be a relative one, whatever it holds.

    Args:
        path: Path relative to the page, with forward slashes.
        label: What is shown.
    """
    return tag("a", label, href="./" + quote(path.lstrip("/"), safe="/", encoding="utf-8", errors="replace"))
