"""Markdown as HTML for a page that asks nothing of the network: no markup of the author's, no link, no picture."""

import re

from markdown_it import MarkdownIt
from markupsafe import Markup


def to_html(text: str, *, heading: int) -> Markup:
    """`text` (CommonMark with tables) as HTML whose first level of headings is h`heading`; blanks are marked."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    parser.disable(["link", "image", "autolink", "reference", "html_block", "html_inline"])
    tokens = parser.parse(text)
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1]) + heading - 1)}"
    page = parser.renderer.render(tokens, parser.options, {})
    page = re.sub(r"\[to fill in: [^\]<]*\]", r"<mark>\g<0></mark>", page)
    page = re.sub(r"(<td>[^<\[]+)(\[[^<\]]*\])", r"\1<small>\2</small>", page)  # an interval stands smaller
    page = re.sub(r"(?<=[\s>\[(])-(?=\.?\d)", "−", page)
    page = page.replace("<table>", '<div class="scroll"><table class="numbers">').replace("</table>", "</table></div>")
    return Markup(page)
