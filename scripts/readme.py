"""Writes the README's tables of figures and claims: `make readme`, after `make figures`."""

import re
import sys
from datetime import date
from pathlib import Path

import pandas as pd

from analysis.claims import CLAIMS, markdown_table
from analysis.drawing import figure_module, figure_names, title_and_caption
from analysis.profiles import PROFILES

README = Path("README.md")


def figures_table() -> str:
    """One row per figure: its name, what it shows, and the sweeps it is drawn from."""
    lines = ["| figure | | sweeps |", "|---|---|---|"]
    for name in figure_names():
        module = figure_module(name)
        sweeps = ", ".join(f"`{sweep}`" for sweep in module.SWEEPS)
        lines.append(f"| `{name}` | {title_and_caption(module)[0]} | {sweeps} |")
    return "\n".join(lines) + "\n"


def claims_section(claims: pd.DataFrame, day: date) -> str:
    """The verdicts of the default profile, with their date and the runs they rest on."""
    counts = claims["verdict"].value_counts()
    words = ", ".join(f"{count} {word}" for word, count in counts.items())
    head = f"Default profile, {day:%d %B %Y}: {words}."
    note = "Of a claim with several parts, the weakest\nis shown.\n\n"
    return f"{head} {note}{markdown_table(claims)}"


def replaced(text: str, name: str, content: str) -> str:
    """Puts content between `<!-- name -->` and the next `<!-- end -->`."""
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.S)
    if not pattern.search(text):
        sys.exit(f"{README} has no place for {name}: put <!-- {name} --> and <!-- end --> there.")
    return pattern.sub(lambda found: found[1] + content + found[2], text)


def main() -> None:
    """Rewrites README.md in place."""
    path = PROFILES["default"].out / CLAIMS
    if not path.exists():
        sys.exit(f"{path} is missing: run `make figures` first.")
    text = replaced(README.read_text(), "figures", figures_table())
    section = claims_section(pd.read_parquet(path), date.today())
    README.write_text(replaced(text, "claims", section))


if __name__ == "__main__":
    main()
