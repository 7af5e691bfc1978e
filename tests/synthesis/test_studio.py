"""Planning and judging beside the painting: no batch waits, none is painted in vain, none is lost with an error."""

from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event, get_ident

import numpy as np
import pytest

from syndiff.data.dataset import DatasetFolder
from syndiff.synthesis.engine import synthesize
from syndiff.synthesis.grammar import Grammar
from syndiff.synthesis.inpainters.base import InpaintRequest
from syndiff.synthesis.inpainters.copy_paste import CopyPaste
from syndiff.synthesis.manifest import read_manifest
from syndiff.synthesis.placement import PlacementRules
from syndiff.synthesis.studio import Plan, Studio

Maker = Callable[..., DatasetFolder]


class Pairs(CopyPaste):
    """Paints two at a time and counts; fails at batch `fails`, and calls `during` in each batch."""

    batch_size = 2

    def __init__(self, fails: int = -1, during: Callable[[int], None] = lambda batch: None) -> None:
        super().__init__()
        self.fails, self.during, self.painted = fails, during, 0

    def inpaint(self, requests: Sequence[InpaintRequest]) -> list[np.ndarray]:
        batch = self.painted // 2
        if batch == self.fails:
            raise MemoryError
        self.painted += len(requests)
        self.during(batch)
        return super().inpaint(requests)


def test_the_next_batch_is_planned_and_the_last_one_judged_while_one_is_painted(make_dataset: Maker) -> None:
    planned, judged = ([Event() for _ in range(8)] for _ in range(2))
    threads = set()

    class Watched(Studio):
        def plan(self, index: int) -> Plan | None:
            threads.add(get_ident())
            plan = super().plan(index)
            planned[index].set()
            return plan

        def _judge(self, plan: Plan, *rest):
            result = super()._judge(plan, *rest)
            judged[plan.index].set()
            return result

    def during(batch: int) -> None:
        if batch < 3:
            assert planned[2 * batch + 3].wait(20), "the next batch is planned while this one is painted"
        if batch > 0:
            assert judged[2 * batch - 1].wait(20), "the last batch is judged while this one is painted"

    dataset = make_dataset()
    studio = Watched(
        dataset,
        [case.id for case in dataset.cases],
        Pairs(during=during),
        seed=3,
        feather=3.0,
        rules=PlacementRules(),
        grammar=Grammar.for_dataset(dataset),
    )
    made = list(studio.attempts(0, 8, enough=lambda more: False))
    assert [sample.id[-1] for sample, _ in made] == list("01234567")
    assert len(threads) == 1 and get_ident() not in threads


def test_nothing_is_painted_in_vain(make_dataset: Maker, tmp_path: Path) -> None:
    dataset, pairs = make_dataset(), Pairs()
    summary = synthesize(dataset, [c.id for c in dataset.cases], pairs, tmp_path, count=5, seed=3, progress=False)
    placed = sum(bool(sample.source_case) for sample in read_manifest(tmp_path / "manifest.jsonl"))
    assert summary.accepted == 5 and pairs.painted <= placed + 1  # the sixth is in the batch of the fifth


@pytest.mark.parametrize("batch", [1, 2])
def test_an_error_loses_nothing_that_was_painted_before(make_dataset: Maker, tmp_path: Path, batch: int) -> None:
    dataset = make_dataset()
    with pytest.raises(MemoryError):
        synthesize(
            dataset, [c.id for c in dataset.cases], Pairs(fails=batch), tmp_path, count=8, seed=3, progress=False
        )
    assert len(list(read_manifest(tmp_path / "manifest.jsonl"))) == 2 * batch
