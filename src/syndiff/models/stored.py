"""A model's folder: model.safetensors, and model.json, which describes it and holds the SHA-256 of the weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from syndiff import __version__
from syndiff.documents import Kinds, check_object, read_object, rebuild
from syndiff.files import write_record
from syndiff.renamed import section_now

if TYPE_CHECKING:  # reading a description needs no torch
    from torch import Tensor, nn

T = TypeVar("T")
DESCRIPTION, WEIGHTS = "model.json", "model.safetensors"


def write_model(folder: Path, weights: "Mapping[str, Tensor]", description: Mapping[str, Any]) -> None:
    """Write both files, the description last."""
    from syndiff.models.tensors import write_tensors

    digest = write_tensors(folder / WEIGHTS, weights)
    write_record(folder / DESCRIPTION, {**description, "sha256": digest})


def read_description(folder: Path, kinds: Kinds) -> dict[str, Any]:
    """What model.json says, at least the keys of `kinds`. Raises SyndiffError as `read_object` does.

    Settings of the model that an earlier version wrote have their present names.
    """
    described = read_object(folder / DESCRIPTION, kinds)
    if isinstance(described.get("model"), dict):
        described["model"] = section_now("model", described["model"])
    return described


def settings_of(folder: Path, described: Mapping[str, Any], kind: type[T], *, what: str) -> T:
    """The model's settings, of the class `kind`; `what` names such a model, "a segmenter".

    Raises SyndiffError where they are those of another model or another version, naming the first that is wrong.
    """
    origin = f"{folder / DESCRIPTION} does not describe {what} of this version: model"
    writer = described.get("syndiff")
    mend = f"It was written by syndiff {writer if isinstance(writer, str) else 'unknown'}, this is {__version__}."
    return rebuild(kind, described.get("model"), origin, mend=mend)


def load_weights(model: "nn.Module", folder: Path, described: Mapping[str, Any]) -> None:
    """Replace all that is trained of `model`.

    Raises SyndiffError for weights that are damaged or do not fit. A checkpoint of before the hash was kept beside
    them has none, and is judged by names, shapes and values alone.
    """
    from syndiff.models.tensors import check_fit, read_tensors, trainable_state

    path = folder / WEIGHTS
    weights = read_tensors(path, sha256=described.get("sha256"))
    check_fit(path, weights, trainable_state(model))
    model.load_state_dict({**model.state_dict(), **weights})


def learned_from(folder: Path, described: Mapping[str, Any]) -> dict[str, Any]:
    """What model.json says that the model learned from, and in `start.learned_from` what its start did; may be empty.

    Raises SyndiffError where that is not told in the form in which `adapt` writes it.
    """
    learned = described.get("learned_from", {})
    origin, each = f"{folder / DESCRIPTION}: learned_from", learned
    while True:
        check_object(origin, each, {})
        for name in ("dataset", "name", "split"):
            check_object(origin, each, {name: str} if name in each else {})
        if "reviews" in each:
            told = check_object(origin, each, {"reviews": dict})["reviews"]
            check_object(f"{origin}.reviews", told, {"learned_elsewhere": list})
        if "start" not in each:
            return dict(learned)
        each = check_object(f"{origin}.start", each["start"], {"learned_from": dict})["learned_from"]
        origin += ".start.learned_from"
