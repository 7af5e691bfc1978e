"""Drafts for a paper, filled from a run folder: the methods after CLAIM, a model card and a dataset card, in Markdown.

What only the authors know stands as "[to fill in: ...]". A file that they have edited is theirs and is kept.
"""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from syndiff.files import write_bytes
from syndiff.report import words
from syndiff.report.arms import CONTROL, LABELS
from syndiff.report.content import ArmResults, Content

DRAFTS = {"methods.md": "Methods, after CLAIM", "model-card.md": "Model card", "dataset-card.md": "Dataset card"}
"""The files, with what each is."""

_SIGNATURE = b"<!-- Draft by SynDiff. Edit it: an edited file is kept. SHA-256 of what stands above: "


def write_drafts(folder: Path, drafts: Mapping[str, str]) -> list[str]:
    """Write the drafts into `folder`; returns the names of those that were edited there since, and are kept."""
    kept = []
    for name, text in drafts.items():
        if _edited(folder / name):
            kept.append(name)
        else:
            content = text.encode()
            write_bytes(folder / name, content + _SIGNATURE + hashlib.sha256(content).hexdigest().encode() + b" -->\n")
    return kept


def _edited(path: Path) -> bool:
    """Whether a file is there that is not, byte for byte, a draft as it was written."""
    if not path.is_file():
        return False
    content, mark, rest = path.read_bytes().rpartition(_SIGNATURE)
    return not mark or rest != hashlib.sha256(content).hexdigest().encode() + b" -->\n"


def make_drafts(content: Content) -> dict[str, str]:
    """The drafts by the name of their file. The same content gives the same text."""
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("syndiff", "report"),
        autoescape=False,  # Markdown, in which `plain` escapes what comes from the data
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    facts = _facts(content)
    texts = {name: templates.get_template(name).render(facts) for name in DRAFTS}
    return {name: re.sub(r"\n{3,}", "\n\n", text) for name, text in texts.items()}


def blank(what: str) -> str:
    """A place for what the run folder does not tell."""
    return f"[to fill in: {what}]"


def plain(text: object) -> str:
    """Text from the data for Markdown: on one line, and no letter of it is markup."""
    return re.sub(r"([\\`*_\[\]<>|#~])", r"\\\1", " ".join(str(text).split()))


def _facts(content: Content) -> dict[str, Any]:
    """What the templates say, in words."""
    dataset, split, main = content.dataset, content.split, content.main
    known = {case.group for case in dataset.cases}

    def setting(name: str) -> str:
        return _setting(main, name)

    def fact(name: str) -> str:
        return plain(content.environment[name]) if name in content.environment else blank(name)

    return {
        "blank": blank,
        "setting": setting,
        "fact": fact,
        "name": plain(dataset.name),
        "target": plain(", ".join(dataset.classes.values())) or blank("what is segmented"),
        "modality": plain(dataset.modality) or blank("modality"),
        "licence": plain(dataset.licence) or blank("licence of the images"),
        "cases": len(dataset.cases),
        "groups": len(known) if dataset.has_groups else 0,
        "threshold": dataset.mask_threshold,
        "sides": content.sides,
        "partitions": _partitions(content),
        "method": split.method,
        "seed": split.seed,
        "leaky": split.leaky,
        "fingerprint": split.fingerprint,
        "lesions": _lesions(main),
        "synthetic": _synthetic(content),
        "backends": _backends(content),
        "model": _model(main),
        "has_control": CONTROL in content.arms and main.name != CONTROL,
        "training": _training(content),
        "tolerance": f"{main.tolerance:g}",
        "unit": content.unit,
        "compared": bool(content.comparisons),
        "hardware": words.hardware(main.timing),
        "weights": [
            (LABELS[arm.name], arm.provenance.get("step", ""), arm.provenance["weights"])
            for arm in content.arms.values()
            if arm.provenance.get("weights")
        ],
        "table": words.table_markdown(content),
        "verdict": words.verdict(content),
        "warnings": words.warnings(content),
        "limits": words.limits(content),
    }


def _setting(arm: ArmResults, name: str) -> str:
    return plain(arm.settings[name]) if name in arm.settings else blank(name)


def _partitions(content: Content) -> str:
    parts = []
    for side, count, groups in content.sides:
        of_groups = "" if groups is None else f" of {groups} groups"
        parts.append(f"{count} images{of_groups} for {_PURPOSE[side]}")
    level = "whole groups" if content.split.method == "group" else "single images"
    return f"The {content.split.method} split assigns {level}: {', '.join(parts)}."


_PURPOSE = {"train": "training", "val": "validation", "test": "testing"}


def _lesions(arm: ArmResults) -> str:
    lesions, empty = arm.counts["lesions"], arm.counts["empty_targets"]
    return f"{lesions} annotated lesions (connected components) in {len(arm.rows)} images, {empty} without a lesion."


def _synthetic(content: Content) -> str:
    """What was synthesized, from what, and how it was judged; empty where a run has no synthetic case."""
    synthesis = content.synthesis
    if synthesis is None or not synthesis.samples:
        return ""
    accepted, rejected = len(synthesis.samples), sum(synthesis.rejected.values())
    share = round(100 * accepted / (accepted + len(content.split.train)))
    mode, checks = (content.settings.get(f"gates.{name}") for name in ("mode", "checks"))
    judged = {"on": "refused those that differ too much from real lesions", "report": "were computed but refused none"}
    gates = f" Automatic gates ({plain(checks)}) {judged[mode]}." if mode in judged and checks else ""
    return (
        f"{accepted} synthetic cases ({share} % of the training images of the arm {LABELS[content.main.name]}) were "
        f"made with the inpainter {plain(', '.join(synthesis.backends))} from training images and training masks; "
        f"{rejected} more were rejected.{gates} {blank('whether a specialist looked at them')}"
    )


def _backends(content: Content) -> list[dict[str, str]]:
    """The inpainters behind the accepted samples, each once."""
    found: dict[str, dict[str, str]] = {}
    for sample in content.synthesis.samples if content.synthesis is not None else ():
        facts = {key: plain(sample.backend.get(key) or "") for key in ("name", "model", "revision", "hash")}
        found[str(facts)] = facts
    return list(found.values())


_STARTS = {"true": "started from pretrained weights", "false": "started from random weights"}


def _model(arm: ArmResults) -> str:
    start = _STARTS.get(arm.settings.get("model.pretrained", ""), blank("initial weights"))
    encoder = f"{_setting(arm, 'model.encoder')}, {start}"
    views = arm.settings.get("model.inference_tta", "1")
    averaged = "" if views == "1" else f" The predictions of {views} flips and quarter turns of an image are averaged."
    if arm.name == CONTROL:
        return f"A plain U-Net on an image encoder ({encoder}).{averaged}"
    denoiser, width, autoencoder = (
        _setting(arm, f"model.{name}") for name in ("denoiser", "denoiser_channels", "autoencoder")
    )
    steps = arm.settings.get("model.inference_steps", "1")
    passes = "one pass" if steps == "1" else f"{plain(steps)} passes"
    return (
        f"A latent-diffusion segmenter after the SynDiff paper (arXiv 2507.15361): an image encoder ({encoder}) "
        f"conditions a denoiser ({denoiser}, {width} channels) in the latent space of an autoencoder ({autoencoder}); "
        f"objective {_setting(arm, 'model.objective')}, {_setting(arm, 'model.timesteps')} timesteps. A mask takes "
        f"{passes} of the denoiser.{averaged}"
    )


def _augmentation(arm: ArmResults) -> str:
    names = ("rotation", "scale", "translate", "colour", "hue", "probability")
    rotation, scale, shift, colour, hue, chance = (_setting(arm, f"augmentation.{name}") for name in names)
    flips = "" if arm.settings.get("augmentation.flips") == "false" else "flips; "
    return (
        f"{flips}rotation by up to {rotation} degrees, scale {scale.replace(', ', ' to ')} and shift by up to {shift} "
        f"of the side, with a chance of {chance}; colour by up to {colour} and hue by up to {hue} degrees, likewise"
    )


def _training(content: Content) -> str:
    arm = content.main
    done = ", ".join(
        f"{LABELS[each.name]} {each.training.steps:,} steps in {each.training.seconds / 60:.1f} minutes"
        for each in content.arms.values()
    )
    seed = content.settings.get("seed") or blank("seed")
    return (
        f"AdamW, batch size {_setting(arm, 'training.batch_size')}, learning rate "
        f"{_setting(arm, 'training.learning_rate')} ({_setting(arm, 'training.lr_schedule')}), weight decay "
        f"{_setting(arm, 'training.weight_decay')}, a moving average of the weights "
        f"({_setting(arm, 'training.ema_decay')}). Augmentation: {_augmentation(arm)}. Steps: {done}, on "
        f"{words.hardware(arm.timing)}. Validation every {_setting(arm, 'training.validate_every')} steps chose the "
        f"weights, by mean Dice. Each arm was trained once, with seed {seed}."
    )
