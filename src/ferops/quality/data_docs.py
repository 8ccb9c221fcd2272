"""Make Data Docs readable without network.

Great Expectations' pages take their stylesheets, icons and scripts from content delivery networks: offline the index is
empty and passed looks like failed. Here they are cut to plain HTML with a small stylesheet of their own, and
the index is replaced by a table of all checks that links to the pages.
"""

import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from great_expectations.data_context.data_context.ephemeral_data_context import EphemeralDataContext
from jinja2 import Environment, PackageLoader

from ferops.machine.files import replacing
from ferops.quality.expectations import CheckResult

_FETCHED = re.compile(
    r"<script\b.*?</script>|<link\b[^>]*>|<img\b[^>]*\bsrc=[\"']https?:[^>]*>|<style>.*?</style>"
    r"|<footer\b.*?</footer>",
    re.DOTALL,
)


def write(
    context: EphemeralDataContext, gate: str, results: Sequence[CheckResult], shares: Sequence[pd.DataFrame],
    folder: Path,
) -> None:  # fmt: skip
    """Build the pages of what was validated, make them self-contained, and write their index.

    Args:
        context: of Great Expectations, with the results of the gate.
        gate: the title.
        results: a `CheckResult` for each check, in order.
        shares: of the classes, a chart each; see `frames.shares`.
        folder: of the pages, replaced whole.
    """
    # not beside the folder: on a full disk Great Expectations would log tracebacks, and go on
    with tempfile.TemporaryDirectory() as scratch, replacing(folder) as new:
        site = Path(scratch, "docs")
        store = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(site)}
        index = {"class_name": "DefaultSiteIndexBuilder"}
        builder = {"class_name": "SiteBuilder", "store_backend": store, "site_index_builder": index}
        context.add_data_docs_site(site_name=gate, site_config=builder)
        # Without a name the context's own site would be built too and left behind in a temporary folder.
        context.build_data_docs(site_names=[gate])
        shutil.rmtree(site / "static", ignore_errors=True)
        style = Path(__file__).with_name("data_docs.css").read_text(encoding="utf-8")
        for page in site.rglob("*.html"):
            html = _FETCHED.sub("", page.read_text(encoding="utf-8"))
            page.write_text(html.replace("</head>", f"<style>\n{style}</style></head>", 1), encoding="utf-8")
        failed = sum(not result.passed for result in results)
        environment = Environment(loader=PackageLoader(__package__, ""), autoescape=True, trim_blocks=True)
        html = environment.get_template("data_docs.html.jinja").render(
            gate=gate,
            verdict=f"{failed} of {len(results)} checks failed" if failed else f"all {len(results)} checks passed",
            failed=failed,
            results=results,
            shares=shares,
            widest=max((table.to_numpy().max() for table in shares), default=0) or 1,  # one scale for all bars
            pages=[page.relative_to(site).as_posix() for page in sorted(site.glob("validations/**/*.html"))],
            style=style,
        )
        (site / "index.html").write_text(html, encoding="utf-8")
        shutil.copytree(site, new)
