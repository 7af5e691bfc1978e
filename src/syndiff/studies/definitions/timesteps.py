"""`syndiff study timesteps`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from syndiff.errors import SyndiffError
from syndiff.studies.grid import Cell, Conclusion, Findings, Grid
from syndiff.studies.study import Scored


@dataclass(kw_only=True)
class Timesteps(Scored):
    """From which timestep the one step should start: the same weights judged at every one of a list."""

    name = "timesteps"

    runs: tuple[Path, ...]
    """Run folders of `syndiff train`, or arms of `syndiff run`, of one split."""
    timesteps: tuple[int, ...] = (1, 10, 25, 50, 100, 200, 500, 900, 999)
    """Timesteps to start from."""

    @property
    def stem(self) -> str:
        return self.name

    def grid(self) -> Grid:
        from syndiff.data.inspection import open_checked
        from syndiff.studies.scoring import Scoring, diffusion_settings, runs_of, same_split, scoring_rate

        dataset = open_checked(self.data)
        runs = runs_of(self.runs)
        split = same_split(self.runs, dataset)
        if not self.timesteps:
            raise SyndiffError("--timesteps is empty; give one or more.")
        for run in runs:
            diffusion_settings(run.folder, run.checkpoint)
            for timestep in self.timesteps:
                run.check_inference(timestep=timestep, steps=1)
        start = runs[0].first_timestep  # first: what the others are compared with
        cells = [
            Cell(
                str(timestep),
                run.short,
                f"cells/{run.short}/from-{timestep}",
                Scoring(run, self.data, split, self.side, self.seed, timestep=timestep, steps=1),
                tag=self.side,
            )
            for timestep in sorted(dict.fromkeys(self.timesteps), key=lambda each: each != start)
            for run in runs
        ]
        return Grid(tuple(cells), rate=lambda: scoring_rate([("", _work(cells[0]))]))

    def conclude(self, found: Findings) -> Conclusion:
        from syndiff.evaluation.statistics import paired_difference, score_interval
        from syndiff.studies.figures import draw_lines
        from syndiff.studies.scoring import diffusion_settings
        from syndiff.studies.words import adjust, interval_text, sample_text, verdicts

        dice: dict[str, dict[str, Any]] = {}
        weights, words = {}, []
        for short in found.repeats():
            rows = {cell.level: outcome.rows() for cell, outcome in found if cell.repeat == short}
            run = next(_work(cell).run for cell, _ in found if cell.repeat == short)
            weights[short] = run.weights
            settings = diffusion_settings(run.folder, run.checkpoint)
            name = f"{short} ({settings['objective']})"
            levels = [str(timestep) for timestep in self.timesteps if str(timestep) in rows]
            groups = [row.group for row in rows[levels[0]]]
            scores = {t: [row.metrics.dice for row in rows[t]] for t in levels}
            dice[name] = {t: vars(score_interval(values, groups)) for t, values in scores.items()}
            own = str(run.first_timestep) if str(run.first_timestep) in rows else max(levels, key=int)
            against = {
                f"t = {t}": vars(paired_difference(values, scores[own], groups))
                for t, values in scores.items()
                if t != own
            }
            adjust([*against.values()])
            words.append(f"{name}, Dice. {verdicts(against, f't = {own}')}")
        words.append(sample_text(next(iter(next(iter(dice.values())).values())), self.side))
        lines = [f"| t | {' | '.join(dice)} |", "|---|" + "---|" * len(dice)]
        for t in next(iter(dice.values())):
            lines.append(f"| {t} | {' | '.join(interval_text(of[t]) for of in dice.values())} |")
        series = {name: ([int(t) for t in of], [*of.values()]) for name, of in dice.items()}
        figure = draw_lines(series, xlabel="timestep that the single step starts from")
        figure.axes[0].set_xscale("symlog", linthresh=1)
        figure.axes[0].set_ylim(0, 1)
        content = {"side": self.side, "seed": self.seed, "weights": weights, "dice": dice}
        return Conclusion("\n".join(lines) + "\n", " ".join(words), content, figure)


def _work(cell: Cell) -> Any:
    return cell.work
