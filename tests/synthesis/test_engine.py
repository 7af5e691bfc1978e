"""The synthetic dataset folder: what it promises downstream, and that no crash changes a byte of it."""

import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from grey import settings_of
from PIL import Image
from scipy import ndimage

from syndiff.data.dataset import Dataset
from syndiff.data.readers import to_unit
from syndiff.data.seen import Seen
from syndiff.documents import read_objects
from syndiff.errors import SyndiffError
from syndiff.synthesis.engine import synthesize_cases
from syndiff.synthesis.finish import SynthesisSummary
from syndiff.synthesis.inpainters.base import InpaintRequest
from syndiff.synthesis.inpainters.capabilities import Capabilities
from syndiff.synthesis.inpainters.copy_paste import CopyPaste
from syndiff.synthesis.manifest import Sample, read_manifest
from syndiff.synthesis.prompts.grammar import Grammar

Maker = Callable[..., Dataset]


def make(dataset: Dataset, out: Path, count: int, **changes: Any) -> SynthesisSummary:
    arguments: dict[str, Any] = {"case_ids": [case.id for case in dataset.cases], "inpainter": CopyPaste()}
    arguments |= {"seed": 3, "progress": False} | changes
    settings = settings_of(arguments)
    return synthesize_cases(
        dataset, arguments.pop("case_ids"), arguments.pop("inpainter"), out, settings, count=count, **arguments
    )


def content(folder: Path) -> dict[str, bytes]:
    """Every file below the folder, hidden ones too."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def samples(out: Path) -> list[Sample]:
    return list(read_manifest(out / "manifest.jsonl"))


class Faulty:
    """Paints grey, but fails in a way that the request's seed chooses."""

    name, seen, capabilities = "faulty", Seen(), Capabilities(batch_size=2, libraries=("scipy",))

    def __init__(self, *faults: str) -> None:
        self.faults = faults

    def check_prompt(self, text: str) -> None:
        pass

    def describe(self) -> dict[str, Any]:
        return {"name": "faulty", "model": None, "revision": None, "hash": None, "learned_from": [], "settings": {}}

    def inpaint(self, requests: Sequence[InpaintRequest]) -> list[np.ndarray]:
        return [self.paint(request, self.faults[request.seed % len(self.faults)]) for request in requests]

    def paint(self, request: InpaintRequest, fault: str) -> np.ndarray:
        picture = to_unit(request.image)
        value = {"none": 0.6, "nan": np.nan, "black": 0.0, "unchanged": picture[request.mask]}.get(fault, 0.6)
        picture[request.mask] = value
        return picture[:-1] if fault == "size" else picture


def measured(image: np.ndarray, lesion: np.ndarray, every: np.ndarray) -> str:
    """The caption of a lesion in the words of the pack polyp."""
    return replace(Grammar.load("polyp"), modality="endoscopy").caption(image, lesion, every).text


def test_the_result_is_a_dataset_whose_manifest_tells_all(make_dataset: Maker, tmp_path: Path) -> None:
    dataset, out = make_dataset(), tmp_path / "out"
    summary = make(dataset, out, 6)
    made, lines = Dataset.open(out), samples(out)
    assert summary.accepted == 6 and len(made.cases) == 6
    assert made.has_groups and made.classes == {1: "polyp"} and "synthetic" in made.name
    for case, line in zip(made.cases, (line for line in lines if line.accepted), strict=True):
        assert line.id == case.id and line.source_case and line.mask_source
        background = dataset[line.source_case]
        image, label = made.load(case)
        source, own = dataset.load(background)
        new = label & ~own
        assert (label >= own).all() and new.any()
        reach = ndimage.distance_transform_edt(~new)
        changed = (image != source).any(axis=2)
        assert changed[new].mean() > 0.5
        assert not changed[reach > 2 + CopyPaste.capabilities.margin * 2 * np.sqrt(new.sum() / np.pi)].any()
        assert case.group == line.group == background.group != line.mask_group
        assert case.caption == line.caption == measured(image, new, label) and "polyp" in str(line.prompt)
        assert line.negative_prompt
        assert line.words and all(word in str(line.prompt) for word in line.words.values())
        assert line.settings["prompts"]["pack"] == "polyp" and len(line.settings["prompts"]["hash"]) == 64
        assert line.backend["name"] == "copy_paste" and line.backend["hash"] is None
        assert line.backend["learned_from"] == []
        assert line.settings["seed"] == 3 and line.settings["inpainter"]["margin"] == CopyPaste.capabilities.margin
        assert line.versions["scipy"] and line.gates["change"] and line.reason is None


def test_every_frame_serves_before_one_serves_again(make_dataset: Maker, tmp_path: Path) -> None:
    dataset = make_dataset()
    make(dataset, tmp_path / "out", 8)
    assert len({line.source_case for line in samples(tmp_path / "out")}) >= 7  # one may have had no room


def test_what_is_painted_gets_the_grain_of_its_surroundings(make_dataset: Maker, tmp_path: Path) -> None:
    dataset, flat = make_dataset(), Faulty("none")
    grainy, plain = (
        make(dataset, tmp_path / str(grain), 3, inpainter=flat, grain=grain).out for grain in (True, False)
    )
    for first, second in zip(samples(grainy), samples(plain), strict=True):
        (with_grain, label), (without, _) = (
            Dataset.open(out).load(Dataset.open(out)[first.id]) for out in (grainy, plain)
        )
        _, own = dataset.load(dataset[str(second.source_case)])
        middle = ndimage.binary_erosion(label & ~own, iterations=4)
        assert middle.any() and with_grain[middle].std() > without[middle].std()
        assert np.array_equal(with_grain[~label], without[~label])


def test_only_the_training_cases_are_read(make_dataset: Maker, tmp_path: Path) -> None:
    dataset = make_dataset()
    training = [case.id for case in dataset.cases[:5]]
    for case in dataset.cases[5:]:
        case.image.write_bytes(b"never read")
        case.mask.unlink()
    make(dataset, tmp_path / "out", 4, case_ids=training)
    for line in samples(tmp_path / "out"):
        assert line.source_case in training and line.mask_source in training


def test_bytes_do_not_depend_on_the_batch_the_order_or_the_count(make_dataset: Maker, tmp_path: Path) -> None:
    class Batched(CopyPaste):
        capabilities = replace(CopyPaste.capabilities, batch_size=3)

    dataset = make_dataset()
    make(dataset, tmp_path / "whole", 7)
    ids = [case.id for case in reversed(dataset.cases)]
    make(dataset, tmp_path / "batched", 7, inpainter=Batched(), case_ids=ids)
    make(dataset, tmp_path / "grown", 2, inpainter=Batched())
    make(dataset, tmp_path / "grown", 7)
    whole = content(tmp_path / "whole")
    assert content(tmp_path / "batched") == whole
    assert content(tmp_path / "grown") == whole
    make(dataset, tmp_path / "whole", 7)
    assert content(tmp_path / "whole") == whole
    make(dataset, tmp_path / "other", 7, seed=4)
    assert content(tmp_path / "other")["manifest.jsonl"] != whole["manifest.jsonl"]


class Slow(CopyPaste):
    """Leaves time to be killed in."""

    def inpaint(self, requests: Sequence[InpaintRequest]) -> list[np.ndarray]:
        time.sleep(0.02)
        return super().inpaint(requests)


def run_slowly(root: Path, out: Path) -> None:
    make(Dataset.open(root), out, 24, inpainter=Slow())


def test_a_killed_run_goes_on_to_the_same_bytes(forked: ModuleType, make_dataset: Maker, tmp_path: Path) -> None:
    dataset, out = make_dataset(), tmp_path / "out"
    moments = [
        lambda: any((out / "masks").glob("*")),  # the first picture is there or being written
        lambda: (out / "manifest.jsonl").exists() and b"000004" in (out / "manifest.jsonl").read_bytes(),
        lambda: any((out / "images").glob(".syndiff-*")),  # a picture half written
    ]
    for moment in moments:
        forked.kill_at(moment, run_slowly, dataset.root, out)
        assert not (out / "dataset.json").exists()
    make(dataset, out, 24)
    make(dataset, tmp_path / "whole", 24)
    assert content(out) == content(tmp_path / "whole")


def test_whatever_a_crash_leaves_is_mended(make_dataset: Maker, tmp_path: Path) -> None:
    dataset, whole = make_dataset(), tmp_path / "whole"
    make(dataset, whole, 4)
    manifest = (whole / "manifest.jsonl").read_bytes()
    ends = [i + 1 for i, byte in enumerate(manifest) if byte == ord("\n")]
    for i, cut in enumerate((0, 1, ends[0] - 1, ends[0], ends[1] + 700, ends[-1] - 1)):
        out = tmp_path / f"cut{i}"
        shutil.copytree(whole, out)
        (out / "manifest.jsonl").write_bytes(manifest[:cut])
        (out / "images/.synthetic-000002.png.abc").write_bytes(b"half a pic")
        (out / ".dataset.json.abc").write_bytes(b"{")
        (out / "groups.csv").unlink()
        make(dataset, out, 4)
        assert content(out) == content(whole), f"cut at byte {cut}"


def test_other_settings_are_refused_with_both_values(make_dataset: Maker, tmp_path: Path) -> None:
    dataset, out = make_dataset(), tmp_path / "out"
    make(dataset, out, 2)
    before = content(out)
    with pytest.raises(SyndiffError, match=r"seed was 3 and is now 4"):
        make(dataset, out, 3, seed=4)
    with pytest.raises(SyndiffError, match=r"backend\.name was copy_paste and is now faulty"):
        make(dataset, out, 3, inpainter=Faulty("none"))
    with pytest.raises(SyndiffError, match=r"sources was"):
        make(dataset, out, 3, case_ids=[case.id for case in dataset.cases[1:]])
    with pytest.raises(SyndiffError, match="already holds 2"):
        make(dataset, out, 1)
    assert content(out) == before


def test_failed_paintings_are_kept_apart_and_replaced(make_dataset: Maker, tmp_path: Path) -> None:
    dataset, out = make_dataset(), tmp_path / "out"
    summary = make(dataset, out, 5, inpainter=Faulty("none", "nan", "black", "unchanged"))
    lines = samples(out)
    rejected = {line.id: line.reason for line in lines if not line.accepted}
    assert summary.accepted == len(Dataset.open(out).cases) == 5
    assert summary.attempts == len(lines) == 5 + len(rejected)
    reasons = {"painted NaN or infinity", "painted black", "left the frame unchanged"}
    assert set(summary.reasons) == set(rejected.values()) == reasons
    assert {path.stem for path in (out / "rejected/images").iterdir()} == set(rejected)
    assert {path.stem for path in (out / "rejected/masks").iterdir()} == set(rejected)
    for line in lines:  # the label alone is painted when there is no margin
        folder = out if line.accepted else out / "rejected"
        image = np.asarray(Image.open(folder / f"images/{line.id}.png"))
        label = np.asarray(Image.open(folder / f"masks/{line.id}.png")) > 0
        source, _ = dataset.load(dataset[str(line.source_case)])
        assert np.array_equal(image[~label], source[~label])


def test_an_inpainter_that_never_succeeds_ends_with_an_account(make_dataset: Maker, tmp_path: Path) -> None:
    dataset = make_dataset()
    with pytest.raises(SyndiffError, match=r"Asked for 1 .* 0 of 25 attempts .* 25 x painted black"):
        make(dataset, tmp_path / "out", 1, inpainter=Faulty("black"))
    assert len(samples(tmp_path / "out")) == 25


def test_a_picture_of_the_wrong_size_is_the_inpainters_fault(make_dataset: Maker, tmp_path: Path) -> None:
    with pytest.raises(SyndiffError, match=r"faulty returned .*\(71, 96, 3\)"):
        make(make_dataset(), tmp_path / "out", 1, inpainter=Faulty("size"))


def test_sixteen_bits_stay_sixteen_bits(make_dataset: Maker, tmp_path: Path) -> None:
    dataset, out = make_dataset(deep=True), tmp_path / "out"
    make(dataset, out, 2)
    made = Dataset.open(out)
    for case, line in zip(made.cases, samples(out), strict=True):
        image, label = made.load(case)
        source, _ = dataset.load(dataset[str(line.source_case)])
        far = ndimage.distance_transform_edt(~label) > 12
        assert image.dtype == np.uint16 and np.array_equal(image[far], source[far])


def test_without_groups_none_are_invented(make_dataset: Maker, tmp_path: Path) -> None:
    make(make_dataset(groups=False), tmp_path / "out", 2)
    assert not Dataset.open(tmp_path / "out").has_groups


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"case_ids": ["c0"]}, "needs at least two; found 1"),
        ({"case_ids": ["c0", "nobody"]}, "nobody"),
        ({"count": 0}, "count is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"feather": float("nan")}, "feather is nan"),
    ],
)
def test_impossible_requests(make_dataset: Maker, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SyndiffError, match=message):
        make(make_dataset(), tmp_path / "out", **{"count": 2, **changes})
    assert not (tmp_path / "out").exists()


def test_a_folder_of_other_images_is_left_alone(make_dataset: Maker) -> None:
    dataset = make_dataset()
    before = content(dataset.root)
    with pytest.raises(SyndiffError, match="not a synthetic dataset but holds other files"):
        make(dataset, dataset.root, 2)
    assert content(dataset.root) == before


def test_a_damaged_manifest_is_named_with_its_line(make_dataset: Maker, tmp_path: Path) -> None:
    dataset, out = make_dataset(), tmp_path / "out"
    make(dataset, out, 2)
    lines = (out / "manifest.jsonl").read_text().splitlines()
    lines[1] = json.dumps({"id": "synthetic-000001"})
    (out / "manifest.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(SyndiffError, match=r"manifest\.jsonl, line 2"):
        make(dataset, out, 3)


@pytest.mark.real
def test_real_frames_take_lesions(cvc: Path, tmp_path: Path) -> None:
    dataset = Dataset.open(cvc)
    ids = [case.id for case in dataset.cases if case.group in {f"sequence-{i:02d}" for i in (1, 5, 9, 14)}]
    assert make(dataset, tmp_path / "out", 4, case_ids=ids).accepted == 4
    for line in samples(tmp_path / "out"):
        assert line.group != line.mask_group and line.gates["change"]


def test_a_set_of_the_earlier_placement_is_not_gone_on_with(make_dataset: Maker, tmp_path: Path) -> None:
    """Its lesions are smaller than real ones: the two must not be mixed."""
    dataset, out = make_dataset(), tmp_path / "out"
    make(dataset, out, 2)
    lines = list(read_objects(out / "manifest.jsonl", {}))
    for line in lines:
        del line["settings"]["placement"]["version"], line["lesions"]
    (out / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    before = content(out)
    with pytest.raises(SyndiffError, match=r"made with other settings: .*placement\.version"):
        make(dataset, out, 3)
    assert content(out) == before
