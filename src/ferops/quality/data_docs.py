"""Data Docs that can be read without network.

Great Expectations' pages take their stylesheets, icons and scripts from content delivery networks: offline the index is
empty and passed cannot be told from failed. Here they are cut to plain HTML with a small stylesheet of their own, and
the index is a table of all checks that links to the pages.
"""

import re
import shutil
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --pass: #2a8a4a; --fail: #d0342c; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 1200px; padding: 1rem 2rem; }
h1, h2, h3, h4, h5, h6, .h5, .h6 { font-size: 1.05em; font-weight: bold; margin: 1rem 0 .3rem; }
h1 { font-size: 1.5em; }
table { border-collapse: collapse; margin: .3rem 0 1rem; }
th, td { border-bottom: 1px solid var(--line); padding: .25rem .8rem .25rem 0; text-align: left; vertical-align: top; }
a { color: #2f6fd0; }
ol.breadcrumb, ul.nav { list-style: none; padding: 0; margin: 0; }
ol.breadcrumb li, ul.nav li { display: inline-block; margin-right: 1rem; }
.pass, .text-success { color: var(--pass); } .fail, .text-danger { color: var(--fail); }
.fa-check-circle::before, .fa-check::before { content: "\\2713"; }
.fa-times::before { content: "\\2717"; }
.fa-exclamation-triangle::before { content: "!"; }
.fas { font-style: normal; font-weight: bold; }
.collapse, a[data-toggle=collapse], .modal, .sticky > .card:first-of-type, #ge-cta-footer { display: none; }
"""

_FETCHED = re.compile(
    r"<script\b.*?</script>|<link\b[^>]*>|<img\b[^>]*\bsrc=[\"']https?:[^>]*>|<style>.*?</style>"
    r"|<footer\b.*?</footer>",
    re.DOTALL,
)


def finish(folder: Path, gate: str, suites: Sequence[str], results: Sequence[Mapping[str, Any]]) -> None:
    """Make the pages in `folder` stand alone and write their index.

    Args:
        folder: what Great Expectations built.
        gate: the title.
        suites: names of the suites, in order.
        results: for each check its name, split, passed, expected and observed, in order.
    """
    shutil.rmtree(folder / "static", ignore_errors=True)
    for page in folder.rglob("*.html"):
        html = _FETCHED.sub("", page.read_text(encoding="utf-8"))
        page.write_text(html.replace("</head>", f"<style>{_STYLE}</style></head>", 1), encoding="utf-8")
    (folder / "index.html").write_text(_index(folder, gate, suites, results), encoding="utf-8")


def _index(folder: Path, gate: str, suites: Sequence[str], results: Sequence[Mapping[str, Any]]) -> str:
    failed = sum(not result["passed"] for result in results)
    verdict = f"{failed} of {len(results)} checks failed" if failed else f"all {len(results)} checks passed"
    links = "".join(
        f'<li><a href="{escape(page.relative_to(folder).as_posix())}">{escape(suite)}</a></li>'
        for suite in suites
        for page in sorted((folder / "validations" / suite).rglob("*.html"))
    )
    # Failed checks first: they are what one comes for.
    rows = "".join(_row(result) for result in sorted(results, key=lambda result: bool(result["passed"])))
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(gate)}: {verdict}</title>'
        f"<style>{_STYLE}</style></head>\n<body><h1>{escape(gate)}: "
        f'<span class="{"fail" if failed else "pass"}">{verdict}</span></h1>\n'
        f"<p>Judged by Great Expectations; its pages, suite by suite:</p><ul>{links}</ul>\n"
        f"<table><thead><tr><th></th><th>Check</th><th>Split</th><th>Expected</th><th>Observed</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></body></html>\n"
    )


def _row(result: Mapping[str, Any]) -> str:
    mark = '<b class="pass">&#10003;</b>' if result["passed"] else '<b class="fail">&#10007;</b>'
    cells = (result["name"], result["split"] or "", result["expected"], result["observed"])
    return f"<tr><td>{mark}</td>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>\n"
