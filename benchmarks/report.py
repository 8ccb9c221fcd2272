"""Write the table of docs/performance.md and its plot from benchmarks/results.json: the second half of `make bench`."""

import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from ferops.model.plots import BLUE, ORANGE, OWN_STYLE
from ferops.orchestration.markdown import table

ROOT = Path(__file__).parent.parent
RESULTS, PAGE, PLOT = (
    ROOT / "benchmarks/results.json",
    ROOT / "docs/performance.md",
    ROOT / "docs/images/performance.png",
)
BEGIN, END = "<!-- make bench writes from here -->\n", "<!-- to here -->\n"
COLUMNS = ("work", "usual way", "", "ours", "", "ratio", "best seen", "of it", "floor")
SHARE = 0.8
"""Of the best ratio that was seen anywhere: what ours has to reach."""


def main() -> None:
    """Write the table between the two marks of the page, and the plot."""
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    write(BEGIN, rendered(results))
    plot(results["lines"])
    print(rendered(results))


def write(begin: str, table: str, page: Path | None = None) -> None:
    """Write a table into a page, docs/performance.md by default, from a mark that begins it to the next `END`."""
    page = page or PAGE
    above, rest = page.read_text(encoding="utf-8").split(begin)
    page.write_text(f"{above}{begin}{table}{END}{rest.partition(END)[2]}", encoding="utf-8")


def shown(begin: str, page: Path | None = None) -> str:
    """Return what stands in a page between a mark and the next `END`."""
    return (page or PAGE).read_text(encoding="utf-8").split(begin)[1].split(END)[0]


def processor(machine: dict[str, Any]) -> str:
    """Return what the figures of a machine depend on most, for people."""
    return f"{machine['processor']}, {machine['cores']} cores ({', '.join(machine['flags'])})"


def rendered(results: dict[str, Any]) -> str:
    """Return the table in Markdown, below a paragraph on the machine."""
    machine, floors = results["machine"], results["floors"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    about = (
        f"{processor(machine)}; load {machine['load']:.1f} before and {machine['load_after']:.1f} after; "
        f"{results['minutes']:.0f} minutes. Images: {results['images']}. "
        f"Commit {machine['commit']}; Python {machine['python']}, {versions}.\n\nFloors measured in the same run: "
        f"{floors['bytes copied a second'] / 1e9:.1f} GB/s copied in memory, "
        f"{floors['operations a second'] / 1e9:.0f} GFLOP/s in the fastest of VGG16's convolutions.\n"
    )
    return f"{about}\n{table(COLUMNS, *(cells(line, machine['flags']) for line in results['lines']))}\n"


def cells(line: dict[str, Any], flags: list[str]) -> list[str]:
    """Return a row of the table, on a processor with these flags."""
    unit, lead, floor = line["unit"], line["lead"], line["floor"]
    slow = ratio = reached = ""
    if line["slow"]:
        slow = f"{number(line['slow'][1])} {unit}"
        lower, median, upper = line["ratio"]
        ratio = f"**{number(median)}** ({number(lower)}-{number(upper)})"
        if lead:
            lacks = line["needs"] not in ("", *flags)
            reached = f"{median / lead:.0%}" + (f", without {line['needs']}" if lacks else "")
    fast = f"{number(line['fast'][1])} {unit}"
    best, least = f"{lead or ''}", f"{number(floor)} {unit}" if floor else ""
    return [line["work"], line["usual"], slow, line["ours"], fast, ratio, best, reached, least]


def number(value: float) -> str:
    """Return a figure with two digits that count, or as a whole number."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"


@OWN_STYLE
def plot(lines: list[dict[str, Any]]) -> None:
    """Plot the ratios as bars on a log axis, with their quartiles, the best ratio that was seen, and its 80%."""
    lines = [line for line in lines if line["slow"]][::-1]
    chart = Figure(figsize=(10, 0.5 * len(lines) + 1.2), layout="constrained")
    axes = chart.subplots()
    for place, line in enumerate(lines):
        lower, median, upper = line["ratio"]
        axes.barh(place, median - 1, left=1, color=BLUE, height=0.6)
        axes.errorbar(median, place, xerr=[[median - lower], [upper - median]], color="black", capsize=3, linewidth=1)
        if line["lead"]:
            axes.plot(line["lead"], place, marker="D", color=ORANGE, linestyle="none")
            axes.plot([SHARE * line["lead"]] * 2, [place - 0.4, place + 0.4], color=ORANGE, linewidth=1.5)
    axes.plot([], [], marker="D", color=ORANGE, linestyle="none", label="best seen")
    axes.plot([], [], color=ORANGE, label="80% of it")
    names = [f"{line['work']}\n{line['usual']} / {line['ours']}".replace("`", "") for line in lines]
    axes.set_yticks(range(len(lines)), names, fontsize=8)
    axes.set_xscale("log")
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xlabel("usual way / ours: medians and quartiles")
    axes.set_xticks(ticks := [1, 2, 5, 10, 20, 50, 100], map(str, ticks))
    axes.grid(axis="x", alpha=0.3)
    chart.legend(loc="outside upper right", ncols=2)
    chart.savefig(PLOT, dpi=110)


if __name__ == "__main__":
    main()
