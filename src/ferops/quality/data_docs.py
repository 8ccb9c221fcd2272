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

from jinja2 import Environment, PackageLoader

if TYPE_CHECKING:
    from ferops.quality.validation import CheckResult

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
    style = Path(__file__).with_name("data_docs.css").read_text(encoding="utf-8")
    shutil.rmtree(folder / "static", ignore_errors=True)
    for page in folder.rglob("*.html"):
        html = _FETCHED.sub("", page.read_text(encoding="utf-8"))
        page.write_text(html.replace("</head>", f"<style>\n{style}</style></head>", 1), encoding="utf-8")
    failed = sum(not result.passed for result in results)
    environment = Environment(loader=PackageLoader(__package__, ""), autoescape=True, trim_blocks=True)
    index = environment.get_template("data_docs.html.jinja").render(
        gate=gate,
        verdict=f"{failed} of {len(results)} checks failed" if failed else f"all {len(results)} checks passed",
        failed=failed,
        results=results,  # grouped there, failed checks first
        pages=[
            (suite, page.relative_to(folder).as_posix())
            for suite in suites
            for page in sorted((folder / "validations" / suite).rglob("*.html"))
        ],
        style=style,
    )
    (folder / "index.html").write_text(index, encoding="utf-8")
