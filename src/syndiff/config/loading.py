"""From a preset, a configuration file, `--set` and typed values to settings; every value is checked by its owner."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from syndiff.bounds import Section, is_text, kinds_of
from syndiff.config.settings import Settings, names_of, sections
from syndiff.documents import parse_yaml, read_yaml
from syndiff.errors import SyndiffError, did_you_mean, listed, shown
from syndiff.renamed import RENAMED, settings_now

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

_OPTIONS = ("data", "out", "split", "seed", "preset")
"""Options of the verbs; some stand in a run's config.yaml."""

log = logging.getLogger("syndiff")


def preset_names() -> list[str]:
    """Names of the presets that ship with the package."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def load_settings(
    preset: str = "compact",
    config: Path | str | None = None,
    overrides: Sequence[str] = (),
    values: Mapping[str, object] | None = None,
) -> Settings:
    """A preset, changed by a YAML file of the same sections, by `section.name=value` texts, by typed `values`.

    `values` go by section.name and are never read as text: {"synthesis.model": "on"} is a model called on. The
    config.yaml of a run folder, given as `config`, stands in for the preset: a log message names what is no setting.

    >>> chosen = syndiff.load_settings("compact", values={"training.steps": 500})
    >>> chosen.training.steps
    500

    Raises SyndiffError for a preset, section or setting that does not exist, for a value that its setting cannot have,
    and for a setting that both `overrides` and `values` give.
    """
    if preset not in preset_names():
        raise SyndiffError(f"preset {shown(preset)} is unknown; choose one of {', '.join(preset_names())}.")
    layers = _preset_layers(preset)
    files: list[Layer] = []
    if config is not None:
        (layers if _of_run(Path(config)) else files).append((str(config), _read(Path(config))))
    files += _single(overrides, values)
    owners = sections()
    merged: dict[str, dict[str, Any]] = {name: {} for name in owners}
    for origin, layer in (*layers, *files):
        for section, content in layer.items():
            _check_section(origin, section, content)
            for name, value in content.items():
                merged[section][name] = _checked(origin, owners[section], name, value)
    chosen = frozenset(f"{section}.{name}" for _, layer in files for section in layer for name in layer[section])
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


def settings_or_default(settings: Settings | None) -> Settings:
    """What a caller in Python gave as `settings`; those of the preset compact for None.

    Raises SyndiffError for anything else, such as the name of a preset, with the call that makes settings of it.
    """
    if settings is None:
        return load_settings()
    if isinstance(settings, Settings):
        return settings
    call = 'values={"training.steps": 500}'
    if isinstance(settings, str):
        call = f'"{settings}"' if settings in preset_names() else f'config="{settings}"'
    elif isinstance(settings, Path):
        call = f'config="{settings}"'
    raise SyndiffError(f"settings is {shown(settings)}; expected settings=syndiff.load_settings({call}).")


def _read(path: Path) -> dict[str, Any]:
    """The sections of a file; of a run's config.yaml without what is no setting, which is said."""
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise SyndiffError(f"configuration {path} must hold sections such as model: and training:.")
    if not _of_run(path):
        return content
    others = [name for name in content if name not in sections()]
    log.info(
        f"{path}: the settings of that run stand in for the preset's; {listed(others)} are no settings and are not "
        "taken, so give such options yourself."
    )
    return {name: values for name, values in settings_now(content).items() if name in sections()}


def _of_run(path: Path) -> bool:
    """Whether a file is the config.yaml that lies in a run folder."""
    return path.name == "config.yaml" and (path.parent / "environment.json").is_file()


def _check_section(origin: str, section: object, content: object) -> None:
    """Raise SyndiffError unless `section` is one, and `content` its names and values."""
    owners = sections()
    if section not in owners:
        now = next((_now(f"{section}.{name}") for name in content), "") if isinstance(content, Mapping) else ""
        what = f"unknown section {section!r}{now}" if now else _no_section(section, content)
        raise SyndiffError(f"{origin}: {what}.")
    if not isinstance(content, Mapping):
        first = next(names_of(str(section))).split(".")[1]
        raise SyndiffError(
            f"{origin}: section {section} must hold names and values, found {shown(content)}; expected such as "
            f"{section}: {{{first}: ...}}."
        )


def _no_section(word: object, content: object) -> str:
    """What to say of a key that is no section: it may be a setting that stands outside of its own."""
    if word in _OPTIONS:
        return (
            f"{word} is no section but an option (--{word}); leave it out. The config.yaml of a run is taken whole "
            "where it lies, in its run folder"
        )
    name = _now(str(word)) and RENAMED[str(word)]
    places = [name] if name else [each for each in names_of(*sections()) if str(word) in (each, each.split(".")[1])]
    if not places:
        return f"unknown section {shown(word)}{_suggest(word, sections())}"
    section, name = places[0].split(".")
    value = "..." if isinstance(content, Mapping | list) else shown(content)
    others = f" (there is {listed(places[1:])} too)" if places[1:] else ""
    return f"{word} is no section but a setting; write it below its section, {section}: {{{name}: {value}}}{others}"


def _single(overrides: Sequence[str], values: Mapping[str, object] | None) -> list[Layer]:
    """A layer for each setting that the command line gives: of several --set the last one, as of any flag."""
    if isinstance(overrides, str):
        raise SyndiffError(f"overrides is the text {shown(overrides)}; expected a list of such texts: [{overrides!r}].")
    if values is not None and not isinstance(values, Mapping):
        raise SyndiffError(f'values is {shown(values)}; expected names and values, such as {{"training.steps": 500}}.')
    layers: dict[str, Layer] = {}
    for item in overrides:
        path, equals, text = item.partition("=")
        section, dot, name = path.partition(".")
        if not equals or not dot:
            raise SyndiffError(f"--set {shown(item)}: expected section.name=value, for example training.steps=500.")
        layers[path] = (f"--set {item}", {section: {name: _value(item, section, name, text)}})
    for path, value in (values or {}).items():
        section, dot, name = str(path).partition(".")
        if not dot:
            raise SyndiffError(f"values: {shown(path)} names no setting; expected section.name, as in training.steps.")
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
