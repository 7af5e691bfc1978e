"""The studies that lie in a run's folder (`studies/<name>/`), as the report shows them."""

import base64
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from syndiff.documents import read_text
from syndiff.report.markdown import to_html

STUDIES = "studies"
"""The folder in that of the run."""

_MEND = "Give the study's command again; it writes this file anew."


@dataclass(frozen=True)
class StudyResult:
    """One study: its table and words as HTML (empty until it has any), its figures as data URIs by name.

    files: what it wrote, as paths relative to the run's folder.
    """

    name: str
    texts: tuple[Markup, ...]
    figures: dict[str, str]
    files: tuple[str, ...]


def read_studies(run: Path) -> list[StudyResult]:
    """Every folder in `studies/` of the folder `run`, by name; none where there is no such folder.

    A study writes its table and words as .md, its figures as .svg and its numbers as .json; what lies deeper (cells,
    trainings) is not read. Raises SyndiffError for a text that is not UTF-8.
    """
    root = run / STUDIES
    if not root.is_dir():
        return []
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    return [_read(run, folder) for folder in folders]


def _read(run: Path, folder: Path) -> StudyResult:
    found = {end: sorted(path for path in folder.glob(f"*.{end}") if path.is_file()) for end in ("md", "svg", "json")}
    return StudyResult(
        name=folder.name,
        texts=tuple(to_html(read_text(path, mend=_MEND), heading=4) for path in found["md"]),
        figures={path.stem: f"data:image/svg+xml;base64,{_encoded(path)}" for path in found["svg"]},
        files=tuple(
            path.relative_to(run).as_posix()
            for paths in found.values()
            for path in paths
            if not path.name.startswith(".")
        ),
    )


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
