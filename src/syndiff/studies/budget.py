"""How long the rest of a study takes, and which part of it fits into a time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from syndiff.errors import SyndiffError, listed
from syndiff.studies.grid import Cell, Grid


@dataclass(frozen=True)
class Estimate:
    """Seconds of this machine for each cell that is still to be done, by folder and tag; None: not known yet.

    how: what they were measured on, in words.
    """

    seconds: Mapping[tuple[str, str], float] | None
    how: str

    def of(self, cell: Cell) -> float:
        """Seconds of a cell; 0 for a finished one."""
        assert self.seconds is not None
        return self.seconds.get((cell.folder, cell.tag), 0.0)


def estimate(grid: Grid, study: Path, finished: Sequence[Cell]) -> Estimate:
    """From finished cells of the same kind, else from a short calibration, else from the mean of other kinds."""
    done = {(cell.folder, cell.tag) for cell in finished}
    todo = [cell for cell in grid.cells if (cell.folder, cell.tag) not in done]
    if not todo:
        return Estimate({}, "nothing is left to do")
    taken: dict[str, list[float]] = {}
    for cell in finished:
        if (seconds := cell.seconds(study)) is not None:
            taken.setdefault(cell.kind, []).append(seconds)
    rates = {kind: sum(values) / len(values) for kind, values in taken.items()}
    measured = sum(map(len, taken.values()))
    unknown = {cell.kind for cell in todo} - rates.keys()
    how = [f"measured on {measured} finished cell{'s' if measured > 1 else ''}"] if rates.keys() - unknown else []
    if unknown and grid.rate:
        found = grid.rate()
        rates.update({kind: found[kind] for kind in unknown & found.keys()})
        how += ["by a short calibration on this machine"] if unknown & found.keys() else []
    known = [rates[cell.kind] for cell in todo if cell.kind in rates] or list(rates.values())
    if not known:
        return Estimate(None, "not known before the first cell is finished")
    usual = sum(known) / len(known)
    times = {(cell.folder, cell.tag): rates.get(cell.kind, usual) for cell in todo}
    return Estimate(times, listed(how))


def pick(grid: Grid, expected: Estimate, minutes: float) -> tuple[Grid, str]:
    """The part of the grid that fits into `minutes`, and what was left out, in words; nothing where all of it fits.

    A level joins with every repeat or not at all, in the order of the levels: what is left is balanced. Only where not
    even two levels fit so, fewer repeats are taken.

    Raises SyndiffError where two levels do not fit with a single repeat either.
    """
    levels, repeats = grid.levels, grid.repeats
    fewest = min(2, len(levels))
    for count in range(len(repeats), 0, -1):
        kept: list[str] = []
        total = 0.0
        for level in levels:
            total += sum(expected.of(cell) for cell in _part(grid, [level], repeats[:count]))
            if total > 60 * minutes:
                break
            kept.append(level)
        if len(kept) >= fewest:
            cells = tuple(_part(grid, kept, repeats[:count]))
            left = [name for name in levels if name not in kept]
            words = [f"the level{_s(left)} {listed(left)}"] if left else []
            gone = repeats[count:]
            words += [f"the repeat{_s(gone)} {listed(gone)}"] if gone else []
            told = f"Left out for want of time (--minutes {minutes:g}): {' and '.join(words)}." if words else ""
            return Grid(cells, grid.config, grid.grows, grid.splits, grid.shared, grid.rate), told
    least = sum(expected.of(cell) for cell in _part(grid, levels[:fewest], repeats[:1])) / 60
    raise SyndiffError(
        f"--minutes {minutes:g}: {listed(levels[:fewest])}, once, take about {least:.1f} minutes ({expected.how}), and "
        f"nothing can be compared without them; give at least {least * 1.1 + 0.1:.1f}."
    )


def told(grid: Grid, expected: Estimate, finished: Sequence[Cell], workers: int) -> str:
    """The plan of a study in words: its cells, which are finished, and the time that the rest takes."""
    done = {(cell.folder, cell.tag) for cell in finished}
    lines = []
    for level in grid.levels:
        cells = _part(grid, [level], grid.repeats)
        left = [cell for cell in cells if (cell.folder, cell.tag) not in done]
        time = f", {in_words(sum(expected.of(cell) for cell in left))}" if left and expected.seconds is not None else ""
        state = f"{len(left)} to do{time}" if left else "finished"
        lines.append(f"  {level}: {len(cells)} cell{_s(cells)}{_named(cells)}; {state}")
    total = f"{len(grid.cells)} cells, {len(finished)} of them finished"
    if expected.seconds is None:
        time = f"expected time: {expected.how}"
    else:
        beside = f", {workers} cells at a time" if workers > 1 else ""
        time = f"expected time of the rest: {in_words(sum(expected.seconds.values()))}{beside} ({expected.how})"
    lines = [total, *lines, time]
    if grid.shared and len(finished) < len(grid.cells):
        lines.append(f"made once, by the first cell that needs it, on top of that time: {listed(grid.shared)}")
    return "\n".join(lines)


def in_words(seconds: float) -> str:
    """A time for people."""
    if seconds < 100:
        return f"about {max(1, round(seconds))} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"


def _part(grid: Grid, levels: Sequence[str], repeats: Sequence[str]) -> list[Cell]:
    return [cell for cell in grid.cells if cell.level in levels and cell.repeat in repeats]


def _named(cells: Sequence[Cell]) -> str:
    """The repeats of some cells, where there are several."""
    names = dict.fromkeys(cell.repeat for cell in cells)
    return f" ({', '.join(names)})" if len(names) > 1 else ""


def _s(several: Sequence[object]) -> str:
    return "s" if len(several) > 1 else ""
