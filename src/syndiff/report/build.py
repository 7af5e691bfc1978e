"""All that a report is: the page, and the folder beside it with every case, every figure and drafts for a paper."""

import logging
from pathlib import Path

from syndiff.data.dataset import Dataset
from syndiff.files import write_text
from syndiff.report.charts import draw, write_charts
from syndiff.report.content import read_content
from syndiff.report.drafts import make_drafts, write_drafts
from syndiff.report.explorer import PAGE, write_explorer
from syndiff.report.page import BESIDE, FIGURES, render
from syndiff.report.studies import read_studies

log = logging.getLogger("syndiff")


def build_report(run: Path, dataset: Dataset) -> Path:
    """Read the finished run folder `run` of `dataset` and write `report.html` into it; returns its path.

    In the folder report/ beside it lie cases.html (all test cases), figures/ (each chart as SVG, and its numbers as
    CSV) and the drafts methods.md, model-card.md and dataset-card.md. They are made again with every report, but for a
    draft that somebody has edited. The page is written last.

    Raises SyndiffError as `read_content` and `read_studies` do, and when a predicted mask is missing.
    """
    content, studies = read_content(run, dataset), read_studies(run)
    folder = run / BESIDE
    write_explorer(folder / PAGE, content)
    drawn, drafts = draw(content), make_drafts(content)
    page = render(content, drawn, drafts, studies)
    write_charts(folder / FIGURES, content, drawn)
    for name in write_drafts(folder, drafts):
        log.info(f"{folder / name} was edited and is kept; the draft of today stands in report.html")
    path = run / "report.html"
    write_text(path, page)
    return path
