"""From a preset, a configuration file, `--set` and typed values to settings; every value is checked by its owner."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from syndiff.bounds import Section, is_text, kinds_of
from syndiff.config.settings import Settings, sections
from syndiff.documents import parse_yaml, read_yaml
from syndiff.errors import SyndiffError, did_you_mean, shown
from syndiff.renamed import RENAMED

_FOLDER = Path(__file__).parent / "presets"
_REVISIONS = {
    "model.autoencoder": "model.autoencoder_revision",
    "model.denoiser_weights": "model.denoiser_weights_revision",
    "inpainter.autoencoder": "inpainter.autoencoder_revision",
    "synthesis.model": "synthesis.revision",
}
"""Settings that name weights, and those that name a revision of them."""

Layer = tuple[str, Mapping[str, Any]]
"""Where settings come from, for messages, and their sections."""


def preset_names() -> list[str]:
    """Names of the presets that ship with the package."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def load_settings(
    preset: str = "compact",
    config: Path | None = None,
    overrides: Sequence[str] = (),
    values: Mapping[str, object] | None = None,
) -> Settings:
    """A preset, changed by a YAML file of the same sections, by `section.name=value` texts, by typed `values`.

    `values` go by section.name and are never read as text: {"synthesis.model": "on"} is a model called on.

    >>> chosen = syndiff.load_settings("compact", values={"training.steps": 500})
    >>> chosen.training.steps
    500

    Raises SyndiffError for a preset, section or setting that does not exist, for a value that its setting cannot have,
    and for a setting that both `overrides` and `values` give.
    """
    if preset not in preset_names():
        raise SyndiffError(f"preset {preset!r} is unknown; choose one of {', '.join(preset_names())}.")
    layers = _preset_layers(preset)
    shipped = len(layers)
    if config is not None:
        layers.append((str(config), _read(config)))
    layers += _single(overrides, values or {})
    owners = sections()
    merged: dict[str, dict[str, Any]] = {name: {} for name in owners}
    for origin, layer in layers:
        for section, content in layer.items():
            if section not in owners:
                now = next((_now(f"{section}.{name}") for name in content or ()), "")
                raise SyndiffError(f"{origin}: unknown section {section!r}{now or _suggest(section, owners)}.")
            if not isinstance(content, Mapping):
                raise SyndiffError(f"{origin}: section {section} must hold names and values, found {shown(content)}.")
            for name, value in content.items():
                merged[section][name] = _checked(origin, owners[section], name, value)
    chosen = frozenset(
        f"{section}.{name}" for _, layer in layers[shipped:] for section in layer for name in layer[section]
    )
    for source, revision in _REVISIONS.items():
        if source in chosen and revision not in chosen:  # the preset's revision is one of the preset's source
            section, name = revision.split(".")
            merged[section].pop(name, None)
    made: dict[str, Any] = {name: owner(**merged[name]) for name, owner in owners.items()}
    return Settings(**made, chosen=chosen)


def _preset_layers(preset: str) -> list[Layer]:
    """A preset's sections, after those of the preset that it names as its `base`."""
    content = _read(_FOLDER / f"{preset}.yaml")
    base = content.pop("base", None)
    return [*(_preset_layers(base) if base else []), (f"preset {preset}", content)]


def _read(path: Path) -> dict[str, Any]:
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise SyndiffError(f"configuration {path} must hold sections such as model: and training:.")
    return content


def _single(overrides: Sequence[str], values: Mapping[str, object]) -> list[Layer]:
    """A layer for each setting that the command line gives: of several --set the last one, as of any flag."""
    layers: dict[str, Layer] = {}
    for item in overrides:
        path, equals, text = item.partition("=")
        section, dot, name = path.partition(".")
        if not equals or not dot:
            raise SyndiffError(f"--set {shown(item)}: expected section.name=value, for example training.steps=500.")
        layers[path] = (f"--set {item}", {section: {name: _value(item, section, name, text)}})
    for path, value in values.items():
        section, _, name = path.partition(".")
        if path in layers:
            raise SyndiffError(f"{layers[path][0]}: an option gives {path} too, {shown(value)}; give it once.")
        layers[path] = (path, {section: {name: value}})
    return list(layers.values())


def _value(item: str, section: str, name: str, text: str) -> Any:
    """What `--set` gives a setting: the text itself where it holds text, else what the text means as YAML."""
    owner = sections().get(section)
    if owner is not None and is_text(kinds_of(owner).get(name)) and text[:1] not in ('"', "'"):
        if not text.isprintable():
            raise SyndiffError(f"--set {shown(item)}: the value holds a control character; leave it out.")
        return text
    return parse_yaml(text, f"--set {shown(item)}: the value", mend="Put it in quotes.")


def _checked(origin: str, owner: type[Section], name: str, value: Any) -> Any:
    if name not in (known := kinds_of(owner)):
        now = _now(f"{owner.section}.{name}")
        raise SyndiffError(f"{origin}: unknown setting {owner.section}.{name}{now or _suggest(name, known)}.")
    try:
        return owner.checked(name, value, known[name])
    except SyndiffError as error:
        raise error if origin == f"{owner.section}.{name}" else SyndiffError(f"{origin}: {error}") from None


def _now(name: str) -> str:
    """What to say of a setting that had this name once; empty for any other."""
    return f"; it is called {RENAMED[name]} now" if name in RENAMED else ""


def _suggest(word: object, known: Iterable[str]) -> str:
    return did_you_mean(str(word), known) or f"; expected one of {', '.join(known)}"
