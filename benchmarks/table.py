"""All rows as one table, which is also Markdown."""

import re
from collections.abc import Iterator, Sequence

from benchmarks.measure import Aim, Row, Spread, Unit

HEAD = ("what", "ours", "beside it", "theirs", "ratio or difference", "aim", "")


def lines(rows: Sequence[Row]) -> Iterator[str]:
    return grid([HEAD, *map(_cells, rows)])


def grid(cells: Sequence[Sequence[str]]) -> Iterator[str]:
    """Any table, its head first."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for number, row in enumerate(cells):
        yield _line(row, widths)
        if number == 0:
            yield _line(["-" * width for width in widths], widths)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.what,
        spread(row.ours, row.unit),
        row.rival,
        spread(row.theirs, row.unit),
        spread(row.ratio, row.ratio_unit),
        _aim(row.aim, row.ratio_unit),
        row.missing or _verdict(row),
    )


def spread(taken: Spread | None, unit: Unit) -> str:
    if taken is None:
        return ""
    if taken.least == taken.most:
        return unit(taken.median)
    return f"{unit(taken.median)} ({unit(taken.least)} to {unit(taken.most)})"


def _aim(aim: Aim | None, unit: Unit) -> str:
    if aim is None:
        return ""
    bound = re.sub(r"\.0+(?=\D)|(?<=\.\d)0(?=\D)", "", unit(aim.bound))
    return f"{'≥' if aim.at_least else '≤'} {bound}"


def _verdict(row: Row) -> str:
    figure = row.ratio or row.ours
    if row.aim is None or figure is None:
        return ""
    return "reached" if row.aim.reached(figure.median) else "MISSED"
