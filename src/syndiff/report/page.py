"""The report of a run as one HTML file that shows all it says by itself: no network, no script, no other file.

Only its links to further files (every case, figures as SVG, numbers as CSV, drafts) need the folder beside it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jinja2
from markupsafe import Markup

from syndiff import __version__
from syndiff.evaluation.evaluate import CaseRow
from syndiff.report import charts, figures, words
from syndiff.report.arms import LABELS
from syndiff.report.content import Content
from syndiff.report.drafts import DRAFTS
from syndiff.report.markdown import to_html
from syndiff.report.studies import StudyResult

BESIDE, FIGURES = "report", "figures"
"""The folder beside the page, and the one in it with the charts."""

_CASES_SHOWN = 4
_PER_GROUP = 2
_SAMPLES_SHOWN = 8


@dataclass(frozen=True)
class Panel:
    """One contour over the image of its card: who drew it, its Dice, and the boundary as SVG path data."""

    label: str
    dice: float
    predicted: str


@dataclass(frozen=True)
class Card:
    """A case as the page shows it: the image (data URI), the annotated boundary, and a panel for each arm."""

    id: str
    group: str | None
    image: str
    width: int
    height: int
    annotated: str
    panels: tuple[Panel, ...] = ()
    prompt: str = ""


def environment() -> jinja2.Environment:
    """Where the templates of all pages come from; what they show is escaped."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("syndiff", "report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(
    content: Content, drawn: Mapping[str, str], drafts: Mapping[str, str], studies: Sequence[StudyResult] = ()
) -> str:
    """The page as text, with charts as `charts.draw` makes them and drafts. The same content gives the same bytes."""
    worst, best = _worst_and_best(content.main.rows)
    return (
        environment()
        .get_template("page.html")
        .render(
            version=__version__,
            content=content,
            labels=LABELS,
            main=LABELS[content.main.name],
            verdict=words.verdict(content),
            warnings=words.warnings(content),
            limits=words.limits(content),
            table=words.main_table(content),
            differences=words.difference_table(content),
            charts={name: Markup(svg) for name, svg in drawn.items()},
            files={name: f"{BESIDE}/{FIGURES}/{stem}" for name, stem in charts.FILES.items()},
            scores=f"{BESIDE}/{FIGURES}/{charts.SCORES}",
            beside=BESIDE,
            worst=[_card(content, row) for row in worst],
            best=[_card(content, row) for row in best],
            per_group=_PER_GROUP,
            many_groups=figures.MANY_GROUPS,
            hardware=words.hardware(content.main.timing),
            samples=_samples(content),
            studies=studies,
            drafts=[(name, DRAFTS[name], to_html(text, heading=3)) for name, text in drafts.items()],
            arm_settings=_arm_settings(content),
        )
    )


def _worst_and_best(rows: Sequence[CaseRow]) -> tuple[list[CaseRow], list[CaseRow]]:
    """The lowest and the highest Dice, no case in both and few of one group: frames of a video are alike."""
    ranked = sorted(rows, key=lambda row: (row.metrics.dice, row.case))
    worst = _few_per_group(ranked)[: min(_CASES_SHOWN, (len(ranked) + 1) // 2)]
    best = _few_per_group([row for row in reversed(ranked) if row not in worst])[:_CASES_SHOWN]
    return worst, best


def _few_per_group(rows: Sequence[CaseRow]) -> list[CaseRow]:
    taken: dict[str, int] = {}
    kept = []
    for row in rows:
        group = row.group or row.case
        taken[group] = taken.get(group, 0) + 1
        if taken[group] <= _PER_GROUP:
            kept.append(row)
    return kept


def _card(content: Content, row: CaseRow) -> Card:
    image, target = content.dataset.load_classes(content.dataset[row.case])
    panels = []
    for arm in content.arms.values():
        dice = next(other.metrics.dice for other in arm.rows if other.case == row.case)
        panels.append(Panel(LABELS[arm.name], dice, figures.contour_path(arm.predicted(row.case))))
    picture, width, height = figures.picture(image)
    return Card(row.case, row.group, picture, width, height, figures.contour_path(target), tuple(panels))


def _samples(content: Content) -> list[Card]:
    """Accepted synthetic cases at even distances through the manifest: a sample without a choice of taste."""
    if content.synthesis is None or content.synthesis.dataset is None:
        return []
    every, cards = content.synthesis.samples, []
    for index in range(min(_SAMPLES_SHOWN, len(every))):
        sample = every[index * len(every) // min(_SAMPLES_SHOWN, len(every))]
        image, mask = content.synthesis.dataset.load_classes(content.synthesis.dataset[sample.id])
        picture, width, height = figures.picture(image)
        cards.append(
            Card(sample.id, None, picture, width, height, figures.contour_path(mask), prompt=sample.told or "")
        )
    return cards


def _arm_settings(content: Content) -> list[tuple[str, list[str]]]:
    """The settings of each arm's config.yaml, in the order of the arms, that are not simply the run's."""
    keys = dict.fromkeys(key for arm in content.arms.values() for key in arm.settings)
    rows = [(key, [arm.settings.get(key, "not set") for arm in content.arms.values()]) for key in keys]
    return [(key, values) for key, values in rows if set(values) != {content.settings.get(key)}]
