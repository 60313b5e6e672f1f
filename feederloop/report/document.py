"""The frame of the report's pages: one HTML document, styled by hand, nothing loaded from elsewhere."""

from __future__ import annotations

from html import escape
from typing import Final

from feederloop.report.drawing import PALETTE

__all__ = ["document"]

_CSS: Final = """
*{box-sizing:border-box}
html{color-scheme:light dark;-webkit-text-size-adjust:100%}
body{margin:0 auto;max-width:60rem;padding:1.5rem 1rem 5rem;background:var(--paper);color:var(--ink);
  font:1rem/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;overflow-wrap:break-word}
h1{font-size:1.65rem;line-height:1.2;margin:.4rem 0 .3rem}
h2{font-size:1.2rem;margin:2.8rem 0 .6rem;padding-top:.9rem;border-top:1px solid var(--grid)}
h3{font-size:1rem;margin:1.6rem 0 .2rem}
a{color:var(--phase-a)}
.run,.note,.back{color:var(--muted-text);margin:.2rem 0;font-size:.92rem}
.headline{font-size:1.15rem;line-height:1.5;text-wrap:pretty;margin:1.1rem 0 1.6rem}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(14rem,1fr));gap:.7rem;margin:1.2rem 0;
  padding:0;list-style:none}
.cards li{border:1px solid var(--grid);border-radius:.5rem;padding:.65rem .85rem}
.cards span{display:block;font-size:.85rem;color:var(--muted-text)}
.cards b{display:block;font-size:1.4rem;line-height:1.3;font-variant-numeric:tabular-nums}
figure{margin:1.6rem 0 2.2rem}
figure h3{margin:0}
figcaption{margin:.1rem 0 .5rem;color:var(--muted-text);font-size:.95rem;text-wrap:pretty}
.keep{white-space:nowrap}
.wide{overflow-x:auto}
figure svg{display:block;width:100%;min-width:29rem;height:auto}
figure svg *{stroke-linejoin:round;stroke-linecap:butt}
figure svg text{font-family:inherit}
table{border-collapse:collapse;font-size:.92rem;font-variant-numeric:tabular-nums}
th,td{padding:.28rem .7rem .28rem 0;text-align:left;font-weight:400;vertical-align:top;
  border-bottom:1px solid var(--grid)}
thead th{font-weight:600;white-space:nowrap;vertical-align:bottom}
.n{text-align:right;white-space:nowrap;padding-left:.7rem;padding-right:0}
tr.section th{font-weight:600;padding-top:1.1rem}
tfoot th,tfoot td{font-weight:600;border-bottom:0}
table.figures{width:100%}
table.homes tbody th,table.homes tfoot th,table.homes thead th:first-child{position:sticky;left:0;
  background:var(--paper)}
.good{color:var(--good)}
.bad{color:var(--limit);font-weight:600}
dl{display:grid;grid-template-columns:minmax(8rem,max-content) 1fr;gap:.45rem 1.2rem;margin:1rem 0}
dt{font-weight:600}
dd{margin:0}
@media (max-width:34rem){dl{grid-template-columns:1fr;gap:.1rem}dd{margin-bottom:.7rem}
  .headline{font-size:1.05rem}table{font-size:.85rem}th,td{padding-right:.4rem}.n{padding-left:.4rem}
  table.figures .n{white-space:normal}}
details{margin:.25rem 0}
summary{cursor:pointer}
summary em{color:var(--muted-text);font-style:normal;font-size:.88rem}
summary span{color:var(--muted-text);font-size:.82rem;white-space:nowrap}
pre{overflow-x:auto;background:var(--raised);padding:.8rem;border-radius:.4rem;font-size:.8rem;line-height:1.45;
  margin:.4rem 0 .8rem;max-height:34rem}
.exchange{border-bottom:1px solid var(--grid);padding:.55rem 0}
.when{margin:0;font-size:.88rem}
.when time{font-weight:600;font-variant-numeric:tabular-nums;margin-right:.5rem}
.empty{margin:.25rem 0;color:var(--muted-text);font-size:.88rem}
@media print{body{max-width:none}figure{break-inside:avoid}}
"""
# Text needs more contrast than a line of a plot does; neither colour is used inside the plots.
_TEXT_COLOURS: Final = (
    ("--muted-text", "#59626c", "#a9b3bd"),
    ("--raised", "#f4f6f8", "#1d232a"),
    ("--good", "#00704f", "#3fd6a2"),
)


def document(title: str, body: str) -> str:
    """Return a complete page; ``title`` is text, ``body`` finished HTML."""
    colours = [(colour.variable, colour.light, colour.dark) for colour in PALETTE]
    colours.extend(_TEXT_COLOURS)
    light = ";".join(f"{variable}:{value}" for variable, value, _ in colours)
    dark = ";".join(f"{variable}:{value}" for variable, _, value in colours)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n:root{{{light}}}\n"
        f"@media (prefers-color-scheme:dark){{:root{{{dark}}}}}{_CSS}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )
