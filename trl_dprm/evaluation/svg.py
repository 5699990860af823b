"""A figure as SVG that stands in an HTML page: no reference to anywhere, and colours that follow the page's theme."""

import io
import re
from typing import TYPE_CHECKING

from ..metrics.model_plots import GRID, MODEL_COLOURS, MUTED, OBSERVED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

THEME = {
    OBSERVED: "observed",
    **{colour: f"model-{number}" for number, colour in enumerate(MODEL_COLOURS, start=1)},
    MUTED: "muted",
    GRID: "grid",
    "#000000": "ink",
}
"""Colours of the figures, and the variables of the page that stand for them (`var(--ink)` …)."""

_POINTS_TO_PIXELS = 4 / 3
_LEAST_WIDTH = 540  # pixels; below it the texts of a figure could not be read, so that the page scrolls it


def inline_svg(figure: "Figure", name: str) -> str:
    """Draw a figure as an `<svg>` element.

    Texts stay texts, escaped by matplotlib, in the page's font. Ids carry the figure's name, so that several figures
    in one page do not meet.

    Args:
        figure (`matplotlib.figure.Figure`): what to draw.
        name (`str`): letters, digits and dashes, distinct within the page.

    Returns:
        `str`: one element.
    """
    import matplotlib

    out = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(out, format="svg", transparent=True, metadata=nothing)
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    width = float(re.search(r'viewBox="0 0 ([\d.]+) ', svg)[1]) * _POINTS_TO_PIXELS
    style = f"width:{width:.0f}px;min-width:min({_LEAST_WIDTH}px,{width:.0f}px)"
    svg = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', rf'<svg viewBox="\1" style="{style}">', svg, count=1)
    svg = re.sub(r"<style.*?</style>\s*|<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)  # of a page of its own
    return re.sub(r"<[^>]*>", lambda tag: _of_page(tag[0], name), svg)


def _of_page(tag: str, name: str) -> str:
    """A tag with the ids of its figure and the colours of the page; texts lie between tags and stay as they are."""
    tag = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", tag.replace("xlink:href", "href"))
    tag = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", tag)
    for colour, variable in THEME.items():
        tag = re.sub(colour, f"var(--{variable})", tag, flags=re.IGNORECASE)
    return tag
