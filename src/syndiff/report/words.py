"""What the numbers say, in words: the verdict, the main table in three dresses, and the limits."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from syndiff.evaluation.statistics import DISTANCE_GROUPS, ENOUGH_CASES, Interval, holm, p_text, p_words
from syndiff.report.arms import BOTH, CONTROL, LABELS, REAL
from syndiff.report.content import ArmResults, Comparison, Content, Gap, Synthesis, Timing
from syndiff.training.planning import shortfall

_ALPHA = 0.05
"""The p-value above which a difference is not called one."""


@dataclass(frozen=True)
class TableCell:
    """A value and what stands smaller beside it, such as its interval; both may be empty."""

    value: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.value} {self.detail}".strip()


@dataclass(frozen=True)
class Row:
    """A line of a table: its name and one cell for each arm."""

    name: str
    cells: tuple[TableCell, ...]


def main_table(content: Content) -> list[Row]:
    """The table of the report: a column for each arm of `content.arms`, in that order."""
    arms = list(content.arms.values())

    def row(name: str, cell: Callable[[ArmResults], TableCell]) -> Row:
        return Row(name, tuple(cell(arm) for arm in arms))

    def score(metric: str, digits: int = 3) -> Callable[[ArmResults], TableCell]:
        return lambda arm: TableCell(number(arm.scores[metric].mean, digits), bounds(arm.scores[metric], digits))

    return [
        row("Dice, mean over classes" if arms[0].classes else "Dice", score("dice")),
        *_class_rows(arms),
        row("IoU", score("iou")),
        row("Precision", score("precision")),
        row("Recall", score("recall")),
        row("HD95, pixels", score("hd95", 1)),
        row(f"NSD at {arms[0].tolerance:g} pixels", score("nsd")),
        row("Dice, pixels pooled", lambda arm: TableCell(number(arm.pooled["dice"]))),
        row("IoU, pixels pooled", lambda arm: TableCell(number(arm.pooled["iou"]))),
        row("Missed lesions", lambda arm: TableCell(str(arm.counts["missed_lesions"]), f"of {arm.counts['lesions']}")),
        row("False lesions", lambda arm: TableCell(str(arm.counts["false_lesions"]))),
        row(
            "Time per image, ms",
            lambda arm: TableCell(
                f"{arm.timing.total.median:.1f}", f"[{arm.timing.total.p10:.1f}, {arm.timing.total.p90:.1f}]"
            ),
        ),
        row("Test-time views", lambda arm: TableCell(arm.settings.get("model.inference_tta", "1"))),
        row("Training steps", lambda arm: TableCell(f"{arm.training.steps:,}")),
        row("Training images seen", lambda arm: TableCell(f"{arm.training.images:,}")),
        row("Training minutes", lambda arm: TableCell(f"{arm.training.seconds / 60:.1f}")),
    ]


def _class_rows(arms: Sequence[ArmResults]) -> Iterator[Row]:
    """Dice, distance and missed lesions of each of several classes."""

    def of(name: str, metric: str, digits: int) -> tuple[TableCell, ...]:
        found = [arm.classes[name].scores[metric] for arm in arms]
        return tuple(TableCell(number(each.mean, digits), bounds(each, digits)) for each in found)

    for name in arms[0].classes:
        yield Row(f"Dice of {name}", of(name, "dice", 3))
        yield Row(f"HD95 of {name}, pixels", of(name, "hd95", 1))
        counts = [arm.classes[name].counts for arm in arms]
        cells = (TableCell(str(each["missed_lesions"]), f"of {each['lesions']}") for each in counts)
        yield Row(f"Missed lesions of {name}", tuple(cells))


def difference_table(content: Content) -> list[Row]:
    """Paired differences: a row for each metric, a column for each of `content.comparisons`."""
    names = {"dice": ("Dice", 3), "iou": ("IoU", 3), "hd95": ("HD95, pixels", 1)}
    rows = [
        Row(
            name,
            tuple(
                TableCell(signed(c.differences[metric].mean, digits), bounds(c.differences[metric], digits, signed))
                for c in content.comparisons
            ),
        )
        for metric, (name, digits) in names.items()
    ]
    chances = tuple(TableCell(_p(c.differences["dice"].p_value)) for c in content.comparisons)
    rows.append(Row("p of the Dice difference", chances))
    if len(chances) > 1:
        adjusted = tuple(TableCell(_p(value)) for value in _adjusted(content).values())
        rows.append(Row(f"p, adjusted for {len(chances)} comparisons", adjusted))
    return rows


def table_text(content: Content) -> str:
    """The main table for a terminal: aligned columns of plain text, 95 % intervals in brackets."""
    table = [["", *(LABELS[name] for name in content.arms)]]
    table += [[row.name, *map(str, row.cells)] for row in main_table(content)]
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in table
    )


def table_markdown(content: Content) -> str:
    """The main table in Markdown, 95 % intervals in brackets."""
    lines = [["", *(LABELS[name] for name in content.arms)], ["---"] * (1 + len(content.arms))]
    lines += [[row.name, *map(str, row.cells)] for row in main_table(content)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def verdict(content: Content) -> list[tuple[str, str]]:
    """The answer in plain words: (what is asked, one or two sentences), the most important first."""
    answers = [("How well does it work?", _quality(content))]
    gain = content.comparison(BOTH, REAL)
    if gain is not None:
        answers.append(
            (
                "What did synthetic cases add?",
                f"{_added(content)} changed the mean Dice by {_change(gain.differences['dice'])} "
                + _chance(content, gain, "Synthetic cases helped", "Synthetic cases did harm"),
            )
        )
    elif content.synthesis is not None and not content.synthesis.samples:
        answers.append(("What did synthetic cases add?", _nothing_accepted(content.synthesis)))
    control = content.comparison(REAL, CONTROL)
    if control is not None:
        name = _segmenter(content.arms["real"])
        reached = (number(content.arms[name].scores["dice"].mean) for name in (REAL, CONTROL))
        answers.append(
            (
                "How does it stand against the control?",
                "The control is the same encoder as a plain U-Net, without any diffusion, trained for "
                f"{_long(content)}. On the same real cases "
                f"the {name} reached {{}} and the control {{}}, a difference of ".format(*reached)
                + f"{_change(control.differences['dice'])} "
                + _chance(content, control, f"The {name} is better", "The control is better"),
            )
        )
    answers.append(("How fast is it?", _speed(content)))
    return answers


def limits(content: Content) -> list[str]:
    """What the numbers do not say, for this run: one or two sentences each."""
    dice, units = content.main.scores["dice"], f"{content.unit}s"
    found = [
        f"The test set has {dice.cases} cases in {dice.groups} {units}. The brackets are 95 % t intervals "
        f"over {units}: they say how much the mean could move with other {units} of the same kind, and nothing about "
        "other hospitals, devices or diseases."
    ]
    notes = (dice.note, *(c.differences["dice"].note for c in content.comparisons))
    found += [f"{note[0].upper()}{note[1:]}." for note in dict.fromkeys(notes) if note]
    if 1 < dice.groups < 8:
        found.append(f"With {dice.groups} {units} no p-value can be below {2 / 2**dice.groups:.2g}.")
    if content.unit == "case":
        found.append(
            "No patients or videos are known for these images. If several show the same patient, they may lie on "
            "both sides of the split, and scores and intervals are too favourable. A groups.csv mends this."
        )
    found.append(
        "Each arm was trained once, from one seed. The intervals do not hold the luck of training: another seed "
        "would move every number, and with it small differences between arms."
    )
    if content.synthesis is not None and content.synthesis.samples:
        found.append(_about_synthesis(content))
    if content.gap is not None:
        found.append(about_the_gap(content.gap))
    found += _about_the_model(content.main)
    if content.main.classes:
        found.append(
            f"A case counts with the mean over its classes ({', '.join(content.main.classes)}), lesions are summed. "
            "Contours are those of all classes, each with its own line; they do not say which is whose."
        )
    if content.main.counts["empty_targets"]:
        found.append(
            f"{content.main.counts['empty_targets']} test cases have no annotated lesion. Their Dice is 1 when "
            "nothing is predicted, otherwise 0."
        )
    return [
        *found,
        "HD95 of a case with a lesion and no prediction (or the reverse) is the image diagonal, so that a missed "
        "lesion counts; a case with neither is left out, and counts 0 in a pair with one that marks something there. "
        "So a few missed lesions can make most of its mean, which has no interval; a difference of two has one from "
        f"{DISTANCE_GROUPS} {units} on. A lesion is missed when no predicted pixel touches it.",
        "Times are of one image at a time, after warm-up, without reading the file, on the machine named with them.",
        "This is research software, not a medical device. Do not use it for diagnosis or treatment.",
    ]


def warnings(content: Content) -> list[tuple[str, str]]:
    """What makes the scores untrustworthy: (name, sentence); empty for an honest run."""
    found = []
    if content.split.leaky:
        found.append(
            (
                "Leaky split.",
                f"The split {content.split.method} puts images of the same patient or video on both sides. The "
                "scores on this page are too high for new patients; use them only to compare with papers that "
                "split the same way.",
            )
        )
    found += [("Trained too briefly.", words) for words in _shortfalls(content)]
    if content.gap is not None and (words := warning_of_the_gap(content.gap)):
        found.append(("Domain gap.", words))
    leaked = _outside_training(content)
    if leaked:
        found.append(
            (
                "Synthetic cases leak.",
                f"{leaked} of them were made from cases outside the training side of the split. The scores of "
                f"{LABELS[BOTH]} are worth nothing; synthesize again from the training cases.",
            )
        )
    return found


def _shortfalls(content: Content) -> list[str]:
    """A sentence for every training of the run that had much less time than was asked for."""
    trainings = {f"The network of the arm {LABELS[name]}": (arm.training, "run") for name, arm in content.arms.items()}
    if content.inpainter is not None:
        trainings["The inpainter"] = (content.inpainter, "adapt")
    asked = {name: float(content.settings.get(f"{section}.minutes", 0)) for name, (_, section) in trainings.items()}
    found = {name: shortfall(training.seconds, asked[name]) for name, (training, _) in trainings.items()}
    return [f"{name} {words}" for name, words in found.items() if words]


def _outside_training(content: Content) -> int:
    samples = content.synthesis.samples if content.synthesis is not None else ()
    training = set(content.split.train)
    return sum(not {sample.source_case, sample.mask_source} <= training for sample in samples)


def number(value: float | None, digits: int = 3) -> str:
    """A number with fixed digits, or n/a."""
    return "n/a" if value is None else f"{value:.{digits}f}"


def _p(value: float | None) -> str:
    return p_text(value) or "n/a"


def signed(value: float | None, digits: int = 3) -> str:
    """A difference with its sign, a true minus, or n/a."""
    return "n/a" if value is None else f"{value:+.{digits}f}".replace("-", "−")


def bounds(interval: Interval, digits: int = 3, show: Callable[[float | None, int], str] = number) -> str:
    """The interval in brackets, empty where there is none."""
    if interval.low is None or interval.high is None:
        return ""
    return f"[{show(interval.low, digits)}, {show(interval.high, digits)}]"


def hardware(timing: Timing) -> str:
    """What computed, as far as a time depends on it: the GPU, or the CPU and its threads; the precision."""
    threads = "1 thread" if timing.threads == 1 else f"{timing.threads} threads"
    device = timing.machine["gpu"] or f"{timing.machine['processor']}, {threads}"
    return f"{device}, {timing.dtype}" if timing.dtype else device


def _quality(content: Content) -> str:
    arm, dice = content.main, content.main.scores["dice"]
    trained = {
        CONTROL: "The control, a plain U-Net,",
        "real": f"The {_segmenter(arm)}, trained on real cases,",
        BOTH: f"The {_segmenter(arm)}, trained on real and synthetic cases,",
    }
    of_groups = f" from {dice.groups} groups (patients or videos)" if content.unit == "group" else ""
    false = arm.counts["false_lesions"]
    places = "no place" if false == 0 else "1 place" if false == 1 else f"{false} places"
    return (
        f"{trained[arm.name]} reached a mean Dice of {number(dice.mean)}{_between(dice)} on {dice.cases} test "
        f"images{of_groups}. It missed {arm.counts['missed_lesions']} of {arm.counts['lesions']} annotated "
        f"lesions and marked {places} where none is annotated."
    )


def _speed(content: Content) -> str:
    timing = content.main.timing
    text = f"One {timing.width}×{timing.height} image takes {timing.total.median:.0f} ms on {hardware(timing)}."
    control = content.arms.get(CONTROL)
    if control is None or control is content.main:
        return text
    ratio = timing.total.median / control.timing.total.median
    compared = f"{ratio:.1f} times as long as" if ratio >= 1 else f"{1 / ratio:.1f} times as fast as"
    return f"{text} That is {compared} the control ({control.timing.total.median:.0f} ms)."


def _long(content: Content) -> str:
    """How long every arm was trained, beside the others."""
    return "the same time" if float(content.settings.get("run.minutes", 0)) else "the same number of steps"


def _nothing_accepted(synthesis: Synthesis) -> str:
    reasons = ", ".join(f"{reason} {count}" for reason, count in synthesis.rejected.items())
    return (
        f"This run cannot say: none of {sum(synthesis.rejected.values())} synthetic cases was accepted ({reasons}), so "
        f"there is no arm {LABELS[BOTH]}. With other settings of synthesis or gates the same command goes "
        "on there."
    )


def _added(content: Content) -> str:
    synthetic = len(content.synthesis.samples) if content.synthesis is not None else 0
    return f"Training on {synthetic} synthetic cases beside {len(content.split.train)} real ones"


def _about_synthesis(content: Content) -> str:
    kinds = {
        "copy_paste": "real lesions of training cases moved into other training frames, the control arm of "
        "augmentation: they say nothing about what synthetic lesions would add",
        "compact": "painted inside real masks by a model that learned from training cases alone: no specialist has "
        "judged here whether they look right",
        "sdxl": "painted by a general text-to-image model inside real masks: no specialist has judged here whether "
        "they look right",
    }
    samples = content.synthesis.samples if content.synthesis is not None else ()
    if any(sample.settings.get("inpainter", {}).get("detail") == "real" for sample in samples):
        kinds["compact"] += "; their edges, folds and highlights are those of real training lesions, moved or in place"
    backends = content.synthesis.backends if content.synthesis is not None else ()
    described = "; ".join(f"{kinds.get(name, 'painted inside real masks')} ({name})" for name in backends)
    origin = "" if _outside_training(content) else " All were made from the training side of the split."
    learned = ""
    if (taught := content.inpainter) is not None:
        learned = f" The inpainter learned in {taught.steps:,} steps ({taught.seconds / 60:.1f} minutes)."
    return f"The synthetic cases are {described}.{origin}{learned}"


def warning_of_the_gap(gap: Gap) -> str:
    """What to say where the interval of the difference lies below zero; else empty."""
    if gap.difference.high is None or gap.difference.high >= 0:
        return ""
    return (
        f"{about_the_gap(gap)} The synthetic cases do not stand in for real ones: beside them they may do harm. Look "
        "at synthesis.html for what gives them away."
    )


def about_the_gap(gap: Gap) -> str:
    """Both scores and their difference, in a sentence."""
    synthetic, real = (number(gap.dice[name].mean) for name in ("synthetic", "real"))
    return (
        f"In {gap.steps:,} steps on the {gap.cases['synthetic']:,} synthetic cases alone a segmenter reached a Dice of "
        f"{synthetic} on the validation cases, in as many on the {gap.cases['real']:,} real training cases {real}, a "
        f"difference of {_change(gap.difference)}"
    )


def _about_the_model(arm: ArmResults) -> list[str]:
    """What the arm's settings mean for its result; nothing about settings it does not have."""
    settings, found = arm.settings, []
    size, timestep = settings.get("model.image_size"), settings.get("model.inference_timestep")
    if size is not None:
        found.append(
            f"Images are segmented at {size}×{size} pixels and masks brought back to the image's own size, where they "
            "are scored. Detail finer than that is lost."
        )
    if timestep is not None and arm.name != CONTROL:
        start = f"T − 1 = {int(settings['model.timesteps']) - 1}" if timestep == "-1" else timestep
        passes = "one pass" if _steps(arm) == "1" else f"{_steps(arm)} passes"
        found.append(
            f"A mask takes {passes} of the denoiser from timestep {start}. Other timesteps and numbers of passes were "
            "not tried in this run; the result depends on them."
        )
    return found


def _segmenter(arm: ArmResults) -> str:
    return "one-step segmenter" if _steps(arm) == "1" else f"{_steps(arm)}-step segmenter"


def _steps(arm: ArmResults) -> str:
    return arm.settings.get("model.inference_steps", "1")


def _change(interval: Interval) -> str:
    return f"{signed(interval.mean)}{_between(interval, signed)}."


def _between(interval: Interval, show: Callable[[float | None, int], str] = number) -> str:
    if interval.low is None or interval.high is None:
        return ""
    return f" (95 % interval {show(interval.low, 3)} to {show(interval.high, 3)})"


def _adjusted(content: Content) -> dict[tuple[str, str], float | None]:
    """The p-value of every comparison's Dice, adjusted for all of the report's comparisons: what the verdict goes by.

    By the names of both arms, in the order of `content.comparisons`.
    """
    found = holm([c.differences["dice"].p_value for c in content.comparisons])
    return {(c.first, c.second): value for c, value in zip(content.comparisons, found, strict=True)}


def _chance(content: Content, comparison: Comparison, above: str, below: str) -> str:
    """Whether the interval of a Dice difference excludes zero, whether chance could do the same, and what follows."""
    found, adjusted = comparison.differences["dice"], _adjusted(content)[comparison.first, comparison.second]
    if found.low is None or found.high is None:
        return "There is no interval, so it cannot be told from chance."
    if found.low <= 0 <= found.high:
        return "The interval includes zero, so this test cannot tell the difference from chance."
    if found.p_value is not None and found.p_value > _ALPHA:
        return (
            "The interval excludes zero, yet signs drawn by chance give as large a difference with "
            f"{p_words(found.p_value)}, so this test cannot tell it from chance."
        )
    if adjusted is not None and adjusted > _ALPHA:
        return (
            f"The interval excludes zero, yet among {len(content.comparisons)} comparisons chance finds one as large "
            f"with {p_words(adjusted)} (Holm), so this test cannot tell it from chance."
        )
    if found.cases < ENOUGH_CASES:
        return (
            f"The interval excludes zero, yet on {found.cases} cases a few lesions that one of the two happens to miss "
            f"can do that: a difference is called one from {ENOUGH_CASES} cases on."
        )
    return f"The interval excludes zero. {above if found.low > 0 else below} on this test set."
