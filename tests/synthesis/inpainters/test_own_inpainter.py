"""An inpainter that a user brings: what it lacks, or gives wrong, is told at once, and its captions are true."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from grey import Grey

import syndiff as sd
from syndiff.data.dataset import Dataset
from syndiff.errors import SyndiffError
from syndiff.synthesis.dry_run import dry_run
from syndiff.synthesis.engine import synthesize_cases
from syndiff.synthesis.inpainters.capabilities import Capabilities
from syndiff.synthesis.inpainters.checks import check_paintings, check_parts, described, versions_of
from syndiff.synthesis.manifest import read_manifest
from syndiff.synthesis.settings import SynthesisSettings

Maker = Callable[..., Dataset]
OFF = {"gates.mode": "off"}


class Deaf(Grey):
    """Grey whatever the prompt says."""

    def __init__(self) -> None:
        super().__init__()
        self.capabilities = replace(self.capabilities, paints_from_text=False)


def changed(**parts: Any) -> Grey:
    """Grey with other parts."""
    inpainter = Grey()
    for name, value in parts.items():
        setattr(inpainter, name, value)
    return inpainter


def refuses(inpainter: Any, dataset: Dataset, tmp_path: Path) -> str:
    """What a synthesis says of it, before it writes anything."""
    with pytest.raises(SyndiffError) as refused:
        cases = [case.id for case in dataset.cases]
        synthesize_cases(dataset, cases, inpainter, tmp_path / "out", SynthesisSettings(), count=1, progress=False)
    return str(refused.value)


def test_missing_parts_are_named_all_at_once(make_dataset: Maker, tmp_path: Path) -> None:
    class Half:
        name, inpaint = "half", Grey.inpaint

    dataset = make_dataset(4)
    assert "the inpainter Half lacks capabilities, seen, check_prompt and describe; add them" in refuses(
        Half(), dataset, tmp_path
    )
    assert "inpainter is the class Grey; give one of its objects: inpainter=Grey()" in refuses(Grey, dataset, tmp_path)
    assert "the inpainter function lacks name" in refuses(lambda requests: [], dataset, tmp_path)
    for parts, told in (
        ({"seen": {}}, "seen is {}, expected an object of the class Seen"),
        ({"capabilities": {"margin": 0.2}}, "expected an object of the class Capabilities"),
        ({"name": 3}, "name is 3, expected text"),
        ({"inpaint": "red"}, "inpaint is 'red', expected a method"),
        ({"describe": lambda: None}, "describe() gives None, expected a dict with name, model, "),
        ({"describe": lambda: {"name": "grey"}}, "without model, revision, hash, learned_from and settings; add them"),
        ({"capabilities": Capabilities(batch_size=0)}, "batch_size is 0, expected a whole number, 1 or more"),
        ({"capabilities": Capabilities(margin=-1)}, "margin is -1, expected a number from 0 to 100"),
        (
            {"capabilities": Capabilities(libraries=("cv2-of-mine",))},
            "'cv2-of-mine' (capabilities.libraries), which is",
        ),
    ):
        assert told in refuses(changed(**parts), dataset, tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_description_that_no_json_can_hold_is_told() -> None:
    whole = Grey().describe()
    for settings, told in (
        ({"scale": np.float32(1)}, "no JSON"),
        ({"scale": np.nan}, "no JSON"),
        (None, "as settings"),
    ):
        with pytest.raises(SyndiffError, match=told):
            described(changed(describe=lambda settings=settings: {**whole, "settings": settings}))
    assert described(Grey()) == whole
    check_parts(Grey())
    assert "scipy" in versions_of(Grey(), ["numpy"])


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (
            lambda picture: 255 * picture,
            r"float32 values from [\d.]+ to [\d.]+; expected floating-point values from 0 to",
        ),
        (lambda picture: picture - 1, r"values from -[\d.]+ to -[\d.]+; expected .* from 0 to 1"),
        (lambda picture: (255 * picture).astype(np.uint8), "a picture of uint8 values from"),
        (lambda picture: picture[:-1], r"a picture of shape \(71, 96, 3\) for a frame of \(72, 96, 3\)"),
        (lambda picture: picture[..., 0], r"a picture of shape \(72, 96\)"),
        (lambda picture: picture.tolist(), "a picture of type list"),
    ],
)
def test_pictures_that_are_none_stop_the_synthesis_at_once(
    make: Callable[[np.ndarray], Any], told: str, make_dataset: Maker, tmp_path: Path
) -> None:
    class Wrong(Grey):
        def _paint(self, request: Any) -> Any:
            return make(super()._paint(request))

    dataset = make_dataset(4)
    cases = [case.id for case in dataset.cases]
    with pytest.raises(SyndiffError, match=rf"the inpainter grey returned .*{told}"):
        synthesize_cases(dataset, cases, Wrong(), tmp_path / "out", SynthesisSettings(), count=1, progress=False)
    assert not (tmp_path / "out" / "dataset.json").exists()


def test_no_pictures_or_too_few_are_told_and_a_stack_is_taken() -> None:
    request: Any = type("Request", (), {"image": np.zeros((4, 4, 3), np.uint8), "mask": np.ones((4, 4), bool)})
    for paintings, told in (
        (None, "returned None for 2 requests"),
        ([np.zeros((4, 4, 3))], "returned 1 for 2 requests"),
    ):
        with pytest.raises(SyndiffError, match=told):
            check_paintings(Grey(), [request, request], paintings)
    check_paintings(Grey(), [request, request], np.full((2, 4, 4, 3), 1.005, np.float32))
    check_paintings(Grey(), [request], [np.full((4, 4, 3), np.nan, np.float32)])  # a gate records it


def test_captions_of_an_inpainter_that_reads_no_prompt_are_measured(make_dataset: Maker, tmp_path: Path) -> None:
    dataset = make_dataset(4)
    cases = [case.id for case in dataset.cases]
    for inpainter in (Deaf(), Grey()):
        out = tmp_path / type(inpainter).__name__
        synthesize_cases(dataset, cases, inpainter, out, SynthesisSettings(), count=3, progress=False)
        made = Dataset.open(out)
        lines = [line for line in read_manifest(out / "manifest.jsonl") if line.accepted]
        told = [line.caption if isinstance(inpainter, Deaf) else line.prompt for line in lines]
        assert [case.caption for case in made.cases] == told and all(told)
        if isinstance(inpainter, Deaf):  # a grey lesion on a grey frame, much lighter than it
            assert all("as red as the surrounding mucosa and much brighter" in str(line.caption) for line in lines)
            assert '"caption"' in (out / "manifest.jsonl").read_text()
            shown = dry_run(dataset, cases, inpainter, SynthesisSettings(), count=1)
            assert "prompt, which grey does not read: " in shown
        else:
            assert all(line.caption is None for line in lines)
            assert '"caption"' not in (out / "manifest.jsonl").read_text()


def test_settings_of_another_inpainter_and_what_it_cannot_do_are_refused(phantom: Path, tmp_path: Path) -> None:
    def refusal(inpainter: Any, **values: Any) -> str:
        settings = sd.load_settings(values={name.replace("__", "."): value for name, value in values.items()} | OFF)
        with pytest.raises(SyndiffError) as refused:
            sd.synthesize(phantom, tmp_path / "out", count=1, settings=settings, inpainter=inpainter, progress=False)
        return str(refused.value)

    assert refusal(Grey(), synthesis__inpainter="copy_paste") == (
        "setting synthesis.inpainter has no effect on `syndiff synthesize with an inpainter of your own`; leave it out."
    )
    assert "settings compact.steps and synthesis.model have no effect" in refusal(
        Grey(), compact__steps=5, synthesis__model="inpainter"
    )
    assert "grey paints nothing from text (capabilities.paints_from_text is False)" in refusal(
        Deaf(), synthesis__background_lesion="remove"
    )
    assert "is the class Grey" in refusal(Grey)
    assert not (tmp_path / "out").exists()
