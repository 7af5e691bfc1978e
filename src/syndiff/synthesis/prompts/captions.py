"""Captions of real cases: the grammar's words, measured. What a text-conditioned inpainter learns its words from."""

import codecs
import logging
from collections import Counter
from pathlib import Path

from tqdm import tqdm

from syndiff.data.dataset import Case, Dataset
from syndiff.data.masks import largest_component
from syndiff.data.tables import write_table
from syndiff.errors import SyndiffError
from syndiff.files import check_output, keep_earlier
from syndiff.synthesis.prompts.grammar import Caption, Grammar

log = logging.getLogger("syndiff")


def caption_case(dataset: Dataset, case: Case, grammar: Grammar) -> Caption:
    """Word a case: its largest lesion, or the background when its mask is empty."""
    image, mask = dataset.load(case)
    if not mask.any():
        return grammar.background
    return grammar.caption(image, largest_component(mask), mask)


def write_captions(
    dataset: Dataset, grammar: Grammar, path: Path, *, replace: bool = False, progress: bool = False
) -> dict[str, dict[str, int]]:
    """Caption every case into the table `path` (`case,caption`), whole or not at all.

    Returns, for each slot, how often each of its words was used. Raises SyndiffError when `path` exists, unless
    `replace` and it is such a table, and for a case that cannot be read.
    """
    if path.is_file() and not replace:
        raise SyndiffError(f"{path} exists already; add --force to write it anew, or give another --out.")
    check_output(path, made_by_us=_is_captions, what="a table of captions (case,caption)")
    rows: list[tuple[str, str | None]] = []
    used: Counter[tuple[str, str]] = Counter()
    for case in tqdm(dataset.cases, desc="caption", unit="case", disable=not progress):
        caption = caption_case(dataset, case, grammar)
        rows.append((case.id, caption.text))
        used.update(caption.words.items())
    if kept := keep_earlier(path):  # its words may be somebody's own
        log.info(f"The earlier captions are kept as {kept}.")
    write_table(path, "caption", rows)
    slots = grammar.pack.slots
    return {
        name: {word.text: used[name, word.text] for word in slots[name].words} for name in grammar.pack.caption.names
    }


def _is_captions(start: bytes) -> bool:
    return start.removeprefix(codecs.BOM_UTF8).startswith(b"case,caption")
