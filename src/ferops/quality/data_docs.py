"""Make Data Docs readable without network.

Great Expectations' pages take their stylesheets, icons and scripts from content delivery networks: offline the index is
empty and passed looks like failed. Here they are cut to plain HTML with a small stylesheet of their own, and
the index is replaced by a table of all checks that links to the pages.
"""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from ferops.quality.validation import CheckResult

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
.pass tbody td:first-child::before, .fa-check-circle::before, .fa-check::before { content: "\\2713 "; }
.fail tbody td:first-child::before, .fa-times::before { content: "\\2717 "; }
h1.pass, .pass td:first-child, .text-success { color: var(--pass); }
h1.fail, .fail td:first-child, .text-danger { color: var(--fail); }
.fa-exclamation-triangle::before { content: "!"; }
.fas { font-style: normal; font-weight: bold; }
.collapse, a[data-toggle=collapse], .modal, .sticky > .card:first-of-type, #ge-cta-footer { display: none; }
"""

_FETCHED = re.compile(
    r"<script\b.*?</script>|<link\b[^>]*>|<img\b[^>]*\bsrc=[\"']https?:[^>]*>|<style>.*?</style>"
    r"|<footer\b.*?</footer>",
    re.DOTALL,
)


def finish(folder: Path, gate: str, suites: Sequence[str], results: "Sequence[CheckResult]") -> None:
    """Make the pages in a folder self-contained and write their index.

    Args:
        folder: the site that Great Expectations built.
        gate: the title.
        suites: names of the suites, in order.
        results: a `CheckResult` for each check, in order.
    """
    shutil.rmtree(folder / "static", ignore_errors=True)
    for page in folder.rglob("*.html"):
        html = _FETCHED.sub("", page.read_text(encoding="utf-8"))
        page.write_text(html.replace("</head>", f"<style>{_STYLE}</style></head>", 1), encoding="utf-8")
    pages = {suite: sorted((folder / "validations" / suite).rglob("*.html")) for suite in suites}
    links = "".join(
        f'<li><a href="{path.relative_to(folder).as_posix()}">{suite}</a></li>'
        for suite, paths in pages.items()
        for path in paths
    )
    (folder / "index.html").write_text(_index(gate, links, pd.DataFrame(results)), encoding="utf-8")


def _index(gate: str, links: str, results: pd.DataFrame) -> str:
    failed = int((~results["passed"]).sum())
    verdict = f"{failed} of {len(results)} checks failed" if failed else f"all {len(results)} checks passed"
    tables = ""
    with pd.option_context("display.max_colwidth", None):
        for passed, rows in results.fillna({"split": ""}).groupby("passed"):  # failed checks first
            columns = ["name", "split", "expected", "observed"]
            tables += rows.to_html(columns=columns, index=False, border=0, classes="pass" if passed else "fail")
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{gate}: {verdict}</title>'
        f'<style>{_STYLE}</style></head>\n<body><h1 class="{"fail" if failed else "pass"}">{gate}: {verdict}</h1>\n'
        f"{tables}\n<p>Great Expectations' pages, suite by suite:</p><ul>{links}</ul></body></html>\n"
    )
