"""Each gate lets real lesions pass and catches the fault it is named after; bounds come from real lesions alone."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy import ndimage

from syndiff.data.dataset import Case, Dataset
from syndiff.documents import read_json
from syndiff.errors import SyndiffError
from syndiff.synthesis.compositing import composite
from syndiff.synthesis.engine import synthesize_cases
from syndiff.synthesis.gates.gate import Gate, Verdict
from syndiff.synthesis.gates.panel import Gates, InpaintedArea, Segmenter
from syndiff.synthesis.gates.region import GateInput
from syndiff.synthesis.gates.settings import PIXEL_GATES, GatesSettings
from syndiff.synthesis.inpainters.copy_paste import CopyPaste
from syndiff.synthesis.manifest import read_manifest
from syndiff.synthesis.settings import SynthesisSettings

HEIGHT, WIDTH, CASES, FRESH = 120, 144, 24, 6

PLAIN = SynthesisSettings()


def draw(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A frame with texture, grain and one soft-edged lesion that has a texture of its own; HxWx3 uint8 and HxW."""
    rng = np.random.default_rng((77, seed))
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    row, column = rng.uniform(45, HEIGHT - 45), rng.uniform(50, WIDTH - 50)
    radii, angle = rng.uniform(15, 22, 2), rng.uniform(0, np.pi)
    y, x = rows - row, columns - column
    along, across = np.cos(angle) * y + np.sin(angle) * x, np.cos(angle) * x - np.sin(angle) * y
    distance = np.hypot(along / radii[0], across / radii[1])
    texture = ndimage.gaussian_filter(rng.normal(size=(HEIGHT, WIDTH)), 2) * 60
    own = ndimage.gaussian_filter(rng.normal(size=(HEIGHT, WIDTH)), 1.5) * 70
    soft = 1 / (1 + np.exp((distance - 1) * 7))
    light = 120 + 15 * np.sin(rows / rng.uniform(20, 40)) + texture + soft * (own + rng.uniform(35, 60))
    picture = light[..., None] * (1, 0.8, 0.7) + rng.normal(0, 3, (HEIGHT, WIDTH, 3))
    return np.clip(picture, 0, 255).astype(np.uint8), distance < 1


class Drawn(Dataset):
    """Drawn cases as a dataset that needs no files."""

    def load(self, case: Case) -> tuple[np.ndarray, np.ndarray]:
        return draw(int(case.id[1:]))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """CASES training cases, two to a group, and FRESH ones for validation."""
    root = tmp_path_factory.mktemp("drawn")
    cases = []
    for i in range(CASES + FRESH):
        (root / f"c{i}").write_bytes(bytes([i]))
        cases.append(Case(f"c{i}", root / f"c{i}", root / f"c{i}", f"g{i // 2}"))
    return Drawn(root, "drawn", "endoscopy", {1: "polyp"}, None, "", tuple(cases))


TRAIN, VAL = [f"c{i}" for i in range(CASES)], [f"c{i}" for i in range(CASES, CASES + FRESH)]


@pytest.fixture(scope="module")
def gates(drawn: Dataset) -> Gates:
    return Gates.calibrate(drawn, TRAIN, GatesSettings(quantile=0.04), progress=False)


def sample(image: np.ndarray, mask: np.ndarray) -> GateInput:
    return GateInput(image=image, label=mask, lesion_mask=mask, inpaint_mask=mask)


def repaint(image: np.ndarray, painted: np.ndarray, mask: np.ndarray, feather: float = 3.0) -> GateInput:
    """What the engine would make of a painting (HxWx3 in grey values)."""
    return sample(composite(image, (painted / 255).astype(np.float32), mask, feather=feather), mask)


def failures(verdicts: list[Verdict]) -> set[str]:
    return {verdict.gate for verdict in verdicts if not verdict.passed}


def test_real_lesions_that_were_not_calibrated_on_pass(gates: Gates) -> None:
    verdicts = [verdict for i in range(CASES, CASES + FRESH) for verdict in gates.judge(sample(*draw(i)))]
    assert len(verdicts) == FRESH * len(PIXEL_GATES)
    refused = [verdict for verdict in verdicts if not verdict.passed]
    assert len(refused) <= 2, [verdict.reason for verdict in refused]  # of 30, where one is to be expected
    assert all(verdict.score is not None for verdict in verdicts)


@pytest.mark.parametrize("seed", [CASES, CASES + 3])
def test_each_fault_is_caught_by_its_gate(gates: Gates, seed: int) -> None:
    image, mask = draw(seed)
    picture = image.astype(float)
    other = np.roll(draw(seed + 1)[0], (31, 17), (0, 1)).astype(float)
    healthy = np.roll(picture, (0, WIDTH // 2), (0, 1))  # what surrounds the lesion, half a frame away
    blurred = ndimage.gaussian_filter(picture, (1.5, 1.5, 0))
    faults = {
        "seam": repaint(image, other * (0.6, 0.9, 1.3), mask, feather=0),
        "sharpness": repaint(image, blurred + np.random.default_rng(0).normal(0, 0.3, picture.shape), mask),
        "noise": repaint(image, ndimage.gaussian_filter(picture, (0.9, 0.9, 0)), mask),
        "contrast": repaint(image, healthy + picture[~mask].mean(0) - healthy[mask].mean(0), mask),
        "near_copy": sample(np.ascontiguousarray(draw(4)[0][::-1].swapaxes(0, 1)), draw(4)[1][::-1].T.copy()),
    }
    assert faults.keys() == set(PIXEL_GATES)
    for gate, faulty in faults.items():
        verdicts = gates.judge(faulty)
        assert gate in failures(verdicts), f"{gate} missed its fault: {[each.reason for each in verdicts]}"
        reason = next(each.reason for each in verdicts if each.gate == gate)
        assert reason.startswith(f"{gate}: ") and "real lesions: " in reason and any(c.isdigit() for c in reason)


def test_scores_do_not_depend_on_bit_depth_or_exposure(gates: Gates) -> None:
    image, mask = draw(CASES)
    deep = (image.astype(np.uint16) * 16).astype(np.uint16)  # 12 bits in 16
    for eight, sixteen in zip(gates.judge(sample(image, mask)), gates.judge(sample(deep, mask)), strict=True):
        assert eight.score == pytest.approx(sixteen.score, abs=1e-4), eight.gate


def test_a_lesion_that_fills_the_frame_has_nothing_to_be_compared_with(gates: Gates) -> None:
    image, _ = draw(0)
    verdicts = {each.gate: each for each in gates.judge(sample(image, np.ones(image.shape[:2], bool)))}
    for name in ("seam", "sharpness", "noise", "contrast"):
        assert verdicts[name].passed and verdicts[name].score is None and "not applicable" in verdicts[name].reason


@hypothesis_settings(deadline=None)
@given(
    st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=200),
    st.floats(0.001, 0.49),
    st.sampled_from([("low", None), (None, "high"), ("low", "high")]),
)
def test_no_more_than_the_quantile_of_real_scores_is_refused(
    scores: list[float], quantile: float, sides: tuple[str | None, str | None]
) -> None:
    gate = Gate("any", lambda region: None, *sides)
    bounds = gate.bounds(scores, quantile)
    refused = sum(not gate.judge(score, bounds).passed for score in scores)
    assert refused <= quantile * len(scores) + 1e-6
    if len(set(scores)) == len(scores):
        assert refused > quantile * len(scores) - 4  # about the quantile: rounding a side, up to two sides


def test_calibration_is_deterministic_and_is_taken_again(gates: Gates, drawn: Dataset, tmp_path: Path) -> None:
    gates.write(tmp_path / "gates.json")
    before = (tmp_path / "gates.json").read_bytes()
    again = Gates.calibrate(drawn, TRAIN[::-1], gates.settings, progress=False)
    again.write(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == before
    wider = read_json(tmp_path / "gates.json")
    wider["bounds"]["contrast"]["low"] = -5.0  # a mark that only the file can give
    (tmp_path / "gates.json").write_text(json.dumps(wider))
    kept = Gates.calibrate(drawn, TRAIN, gates.settings, kept=tmp_path / "gates.json", progress=False)
    assert kept.bounds["contrast"].low == -5.0
    copy = sample(*draw(4))
    assert "near_copy" in failures(kept.judge(copy)), "the training lesions are not compared with after a resume"
    for ids, settings in ((TRAIN[1:], gates.settings), (TRAIN, replace(gates.settings, quantile=0.1))):
        with pytest.raises(SyndiffError, match=r"gates\.json was calibrated with .* and is now asked for"):
            Gates.calibrate(drawn, ids, settings, kept=tmp_path / "gates.json", progress=False)
    (tmp_path / "gates.json").write_text("{}")
    with pytest.raises(SyndiffError, match="delete it"):
        Gates.calibrate(drawn, TRAIN, gates.settings, kept=tmp_path / "gates.json", progress=False)


class ByBrightness:
    """A segmenter by threshold: the largest region brighter than the rest."""

    name = "threshold"

    def predict(self, image: np.ndarray, *, case_id: str) -> "Answer":
        light = ndimage.gaussian_filter(image.mean(axis=2), 4)
        regions, _ = ndimage.label(light > (light.max() + np.median(light)) / 2)
        return Answer(regions == 1 + np.argmax(np.bincount(regions.ravel())[1:]))


class Answer:
    def __init__(self, mask: np.ndarray) -> None:
        self.mask = mask


def test_a_label_beside_the_lesion_does_not_agree(drawn: Dataset) -> None:
    judge = Segmenter(predictor=ByBrightness(), fingerprint="threshold")  # type: ignore[arg-type]
    settings = GatesSettings(checks=())
    gates = Gates.calibrate(drawn, TRAIN, settings, predictor=judge, val_ids=VAL, progress=False)
    assert gates.calibrated_on["agreement"]["on"] == "validation cases" and gates.bounds["agreement"].cases == FRESH
    image, mask = draw(CASES)
    assert not failures(gates.judge(sample(image, mask)))
    shifted = np.roll(mask, 18, axis=1)
    assert failures(gates.judge(sample(image, shifted))) == {"agreement"}
    on_training = Gates.calibrate(drawn, TRAIN, settings, predictor=judge, progress=False)
    assert "training cases" in on_training.calibrated_on["agreement"]["on"]


def test_an_old_lesion_found_well_does_not_hide_a_new_one_that_nobody_sees(drawn: Dataset) -> None:
    judge = Segmenter(predictor=ByBrightness(), fingerprint="threshold")  # type: ignore[arg-type]
    gates = Gates.calibrate(drawn, TRAIN, GatesSettings(checks=()), predictor=judge, val_ids=VAL, progress=False)
    image, old = draw(CASES)
    new = np.zeros_like(old)
    new[2:14, 2:14] = True
    (verdict,) = gates.judge(GateInput(image=image, label=old | new, lesion_mask=new, inpaint_mask=new))
    assert verdict.score == 0 and not verdict.passed


def test_an_inpainter_that_copies_by_design_is_not_blamed_for_it(drawn: Dataset) -> None:
    area = InpaintedArea(margin=CopyPaste.capabilities.margin, copies=CopyPaste.capabilities.copies)
    gates = Gates.calibrate(drawn, TRAIN, GatesSettings(), area=area, progress=False)
    assert "near_copy" not in gates.bounds and "by design" in gates.left_out["near_copy"]


def test_lesions_of_one_group_are_not_held_against_each_other(drawn: Dataset) -> None:
    one = tuple(replace(case, group="all") for case in drawn.cases)
    alone = Gates.calibrate(replace(drawn, cases=one), TRAIN, GatesSettings(checks=("near_copy",)), progress=False)
    assert alone.bounds["near_copy"].cases == 0
    (verdict,) = alone.judge(sample(*draw(4)))
    assert verdict.passed and verdict.score == pytest.approx(1) and "not calibrated" in verdict.reason


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"checks": ("seam", "smell")}, "seam, smell; expected each at most once of seam, sharpness"),
        ({"checks": ("seam", "seam")}, "at most once"),
        ({"quantile": 0.0}, "quantile is 0"),
        ({"agreement_quantile": float("nan")}, "agreement_quantile is nan"),
        ({"mode": "off", "segmenter": "runs/x"}, "no effect while mode is off"),
    ],
)
def test_impossible_settings(wrong: dict, message: str) -> None:
    with pytest.raises(SyndiffError, match=message):
        GatesSettings(**wrong)


def strict(gates: Gates, mode: str) -> Gates:
    """Gates that no sample passes: the contrast asked for is out of reach."""
    bounds = {**gates.bounds, "contrast": replace(gates.bounds["contrast"], low=9.0)}
    return replace(gates, bounds=bounds, settings=replace(gates.settings, mode=mode))


def test_a_gate_that_rejects_everything_is_named_with_the_mend(
    make_dataset: Callable[..., Dataset], tmp_path: Path
) -> None:
    dataset, out = make_dataset(), tmp_path / "out"
    ids = [case.id for case in dataset.cases]
    area = InpaintedArea(margin=CopyPaste.capabilities.margin, copies=True)
    gates = Gates.calibrate(dataset, ids, GatesSettings(checks=("contrast",)), area=area, progress=False)
    refusing = strict(gates, "on")
    told = r"25 x contrast.*The gate contrast refused most \(25\): .* real lesions at least 9\. To mend it, .*report"
    with pytest.raises(SyndiffError, match=told):
        synthesize_cases(dataset, ids, CopyPaste(), out, PLAIN, count=1, gates=refusing, progress=False)
    account = json.loads((out / "acceptance.json").read_text())
    assert account["accepted"] == 0 and account["attempts"] == 25 and account["reasons"] == {"contrast": 25}
    assert account["gates"]["contrast"]["outside"] == 25 and account["gates"]["contrast"]["highest"] < 9
    for line in read_manifest(out / "manifest.jsonl"):
        assert line.reason == "contrast" and "hardly differs" in str(line.detail)
        assert line.gates["contrast"] is not None and line.gates["change"] is not None
    with pytest.raises(SyndiffError, match=r"gates\.mode was on and is now report"):
        synthesize_cases(dataset, ids, CopyPaste(), out, PLAIN, count=1, gates=strict(gates, "report"), progress=False)


def test_report_scores_and_refuses_nothing(make_dataset: Callable[..., Dataset], tmp_path: Path) -> None:
    dataset, out = make_dataset(), tmp_path / "out"
    ids = [case.id for case in dataset.cases]
    area = InpaintedArea(margin=CopyPaste.capabilities.margin, copies=True)
    checks = ("contrast", "seam")
    gates = Gates.calibrate(dataset, ids, GatesSettings(checks=checks), area=area, progress=False)
    summary = synthesize_cases(
        dataset, ids, CopyPaste(), out, PLAIN, count=4, gates=strict(gates, "report"), progress=False
    )
    assert summary.accepted == summary.attempts == 4 and "at least 9" in summary.table and "4 of 4\n" in summary.table
    for line in read_manifest(out / "manifest.jsonl"):
        assert line.accepted and line.reason is None and "contrast: the lesion hardly" in str(line.detail)
    assert json.loads((out / "gates.json").read_text())["bounds"].keys() == gates.bounds.keys()


def test_the_command_line_keeps_scores_and_account(syndiff, phantom: Path, tmp_path: Path) -> None:
    split = tmp_path / "split.json"
    assert syndiff("data", "split", "--data", phantom, "--out", split).status == 0
    command = ["synthesize", "--data", phantom, "--split", split, "--count", 2, "--inpainter", "copy_paste"]
    judged = syndiff(*command, "--out", tmp_path / "on", "--set", "gates.checks=[seam, contrast]")
    assert judged.status == 0, judged.err
    assert "real lesions" in judged.out and "seam" in judged.out and "noise" not in judged.out
    account = json.loads((tmp_path / "on/acceptance.json").read_text())
    assert account["mode"] == "on" and account["accepted"] == 2 and account["gates"].keys() == {"seam", "contrast"}
    again = syndiff(*command, "--out", tmp_path / "on", "--set", "gates.checks=[seam]")
    assert again.status == 2 and "was calibrated with checks ['seam', 'contrast']" in again.err
    assert syndiff(*command, "--out", tmp_path / "off", "--gates", "off").status == 0
    assert not (tmp_path / "off/gates.json").exists()
    without = syndiff(*command, "--out", tmp_path / "yaml", "--set", "gates.mode=off")  # a truth value in YAML
    assert without.status == 0 and not (tmp_path / "yaml/gates.json").exists()


def test_going_on_with_the_kept_bounds_gives_the_bytes_of_one_run(
    make_dataset: Callable[..., Dataset], tmp_path: Path
) -> None:
    dataset = make_dataset()
    ids = [case.id for case in dataset.cases]
    area = InpaintedArea(margin=CopyPaste.capabilities.margin, copies=True)

    def make(out: Path, count: int) -> None:
        kept = out / "gates.json"
        gates = Gates.calibrate(dataset, ids, GatesSettings(), area=area, kept=kept, progress=False)
        synthesize_cases(dataset, ids, CopyPaste(), out, PLAIN, count=count, gates=gates, progress=False)

    for count in (1, 4):
        make(tmp_path / "grown", count)
    make(tmp_path / "whole", 4)
    files = [path.relative_to(tmp_path / "whole") for path in sorted((tmp_path / "whole").rglob("*")) if path.is_file()]
    assert Path("gates.json") in files and Path("acceptance.json") in files
    for file in files:
        assert (tmp_path / "grown" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes(), file
