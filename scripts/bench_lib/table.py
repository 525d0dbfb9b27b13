"""The table that is printed: a row a figure, as soon as it is known."""

import sys
from dataclasses import dataclass

COLUMNS = (("figure", 34), ("measured", 28), ("floor or peer", 45), ("ratio", 6), ("target", 13), ("", 7))


@dataclass
class Row:
    """A figure. `ok` is None where there is nothing to reach, or nothing could be measured."""

    figure: str
    measured: str
    beside: str = ""
    ratio: float | None = None
    target: str = ""
    ok: bool | None = None
    skipped: bool = False

    def verdict(self):
        """ok, short or skipped."""
        if self.skipped:
            return "skipped"
        return {True: "ok", False: "short", None: ""}[self.ok]


def skipped(figure, why):
    """A row for what cannot be measured here."""
    return Row(figure, "-", why, skipped=True)


def _line(cells):
    return "  ".join(f"{cell:<{width}}" for cell, (_, width) in zip(cells, COLUMNS, strict=True)).rstrip()


def print_head():
    """The names of the columns."""
    print(_line([name for name, _ in COLUMNS]))
    print(_line(["-" * width for _, width in COLUMNS]), flush=True)


def print_row(row):
    """One figure."""
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
    print(_line([row.figure, row.measured, row.beside, ratio, row.target, row.verdict()]), flush=True)


def say(text):
    """What happens now, for whoever watches; not part of the table."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


def spread(values, form):
    """The median and, of several values, the smallest and largest."""
    ordered = sorted(values)
    half = len(ordered) // 2
    middle = ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
    if len(ordered) == 1:
        return form(middle)
    return f"{form(middle)} ({form(ordered[0])}-{form(ordered[-1])})"
