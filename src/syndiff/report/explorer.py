"""All test cases of a run in one HTML file, to sort, filter and look at: needs no network, no server, no other file.

The file holds the pictures as JPEG, small enough that many cases stay within some megabytes, and the masks as
contours. What a browser draws of them (annotation, prediction, where the two differ) is computed from the contours.
"""

import base64
import hashlib
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

from markupsafe import Markup

from syndiff import __version__
from syndiff.evaluation.evaluate import CaseRow
from syndiff.files import write_parts
from syndiff.report import figures
from syndiff.report.arms import LABELS
from syndiff.report.content import ArmResults, Content
from syndiff.report.page import environment

PAGE = "cases.html"
"""Its name, in the folder beside the report."""

_MAX_SIDE, _MIN_SIDE = 384, 96
_PICTURES = 10_000_000
_BYTES_A_PIXEL = 0.15  # of a JPEG of quality 80, as endoscopic frames have it
_QUALITY = 80


def write_explorer(path: Path, content: Content) -> None:
    """Write the page of all test cases of all arms; a case at a time is in memory.

    Raises SyndiffError, and writes nothing, when a predicted mask is missing.
    """
    script = resources.files("syndiff.report").joinpath("cases.js").read_text(encoding="utf-8")
    cases = content.main.rows
    page = (
        environment()
        .get_template("cases.html")
        .generate(
            version=__version__,
            name=content.dataset.name,
            leaky=content.split.leaky,
            groups=sorted({row.group for row in cases if row.group}),
            count=len(cases),
            arms=[LABELS[name] for name in content.arms],
            script=Markup(script),
            digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            cases=_cases(content, picture_side(len(cases))),
        )
    )
    write_parts(path, (part.encode() for part in page))


def picture_side(cases: int) -> int:
    """The longest side, in pixels, at which so many pictures have some 10 megabytes; from 96 to 384."""
    return int(min(_MAX_SIDE, max(_MIN_SIDE, (_PICTURES / cases / _BYTES_A_PIXEL) ** 0.5)))


def _cases(content: Content, side: int) -> Iterator[dict[str, Any]]:
    """Each test case as the page's script reads it."""
    rows = {arm.name: {row.case: row for row in arm.rows} for arm in content.arms.values()}
    for row in content.main.rows:
        image, target = content.dataset.load_classes(content.dataset[row.case])
        encoded, width, height = figures.jpeg(image, side, _QUALITY)
        yield {
            "id": row.case,
            "group": row.group,
            "size": row.metrics.annotated / target[0].size,
            "lesions": row.metrics.lesions,
            "width": width,
            "height": height,
            "image": base64.b64encode(encoded).decode(),
            "contour": figures.short_contour_path(target, side),
            "arms": [_arm(arm, rows[arm.name][row.case], side) for arm in content.arms.values()],
        }


def _arm(arm: ArmResults, row: CaseRow, side: int) -> dict[str, Any]:
    """What an arm predicted of a case, and how it scored."""
    return {
        "dice": row.metrics.dice,
        "hd95": row.metrics.hd95,
        "missed": row.metrics.missed_lesions,
        "false": row.metrics.false_lesions,
        "contour": figures.short_contour_path(arm.predicted(row.case), side),
    }
