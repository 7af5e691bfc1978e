"""What the site does not keep by hand: settings, verbs, Python names, leak rules, prompt packs and the notebook.

A page asks for a part with a comment of its own line, `<!-- made: PART -->` or `<!-- made: PART ARGUMENT -->`. The
part is made from what the code says of itself, in Markdown, whenever the site is built.
"""

import contextlib
import importlib
import inspect
import io
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args
from unittest import mock

import yaml
from myst_parser.parsers.sphinx_ import MystParser
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.inspect import stringify_signature

log = logging.getLogger(__name__)
MARK = r"^<!-- made: (\w+)(?: (\S+))? -->$"
"""Where a page asks for a part."""


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the parts, the notebooks and the last look at what was built."""
    app.connect("source-read", _fill)
    app.connect("html-page-context", _keep_options_whole)
    app.add_source_suffix(".ipynb", "ipynb")
    app.add_source_parser(NotebookParser)
    app.connect("build-finished", _finish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class NotebookParser(MystParser):
    """A notebook as a page: its Markdown, and its code in blocks, without outputs."""

    supported = ("ipynb",)

    def parse(self, inputstring: str, document: Any) -> None:
        """Parse the Markdown that a notebook amounts to."""
        cells = json.loads(inputstring)["cells"]
        pieces = ("".join(cell["source"]) for cell in cells)
        text = (
            f"```python\n{piece}\n```" if cell["cell_type"] == "code" else piece
            for cell, piece in zip(cells, pieces, strict=True)
        )
        super().parse("\n\n".join(text), document)


def _fill(app: Sphinx, page: str, source: list[str]) -> None:
    """Put the parts that a page asks for where it asks for them."""
    source[0] = re.sub(
        MARK,
        lambda asked: "\n".join(PARTS[asked[1]](*filter(None, [asked[2]]))),
        source[0],
        flags=re.MULTILINE,
    )


def _keep_options_whole(app: Sphinx, page: str, template: str, context: dict[str, Any], document: Any) -> None:
    """In code that a narrow browser folds, no line ends between the dashes of an option and its name."""

    def whole(code: re.Match[str]) -> str:
        return re.sub(r"(?<![\w/-])(--?\w[\w-]*)", r'<span class="whole">\1</span>', code[0])

    if "body" in context:
        context["body"] = re.sub(r"<(pre|code)\b.*?</\1>", whole, context["body"], flags=re.DOTALL)


def _finish(app: Sphinx, error: Exception | None) -> None:
    """Lead the site's root to its first page, and warn of a page that a browser could not show offline."""
    if error or app.builder.name != "html":
        return
    out = Path(app.outdir)
    (out / "index.html").write_text('<meta http-equiv="refresh" content="0; url=docs/index.html">\n', encoding="utf-8")
    outside = re.compile(r"<(?:link|script|img|iframe|source)\b[^>]*\b(?:href|src)=\"(?:https?:)?//[^\"]*\"[^>]*>")
    for path in out.rglob("*.html"):
        for tag in outside.findall(path.read_text(encoding="utf-8")):
            log.warning("%s asks the network: %s", path.relative_to(out), tag)


def settings() -> Iterator[str]:
    """Every setting: what it means, what it may be, its value in each preset, which verbs use it."""
    from syndiff.bounds import in_words, kinds_of
    from syndiff.config.description import meanings_of
    from syndiff.config.loading import load_settings, preset_names
    from syndiff.config.settings import sections

    presets = {name: load_settings(name).plain() for name in preset_names()}
    for section, owner in sections().items():
        used = {name: _users(f"{section}.{name}") for name in kinds_of(owner)}
        usual = max(used.values(), key=list(used.values()).count)
        yield from ("", f"## {section}", "", _prose(inspect.getdoc(owner) or "").split("\n\n")[0], "", usual, "")
        meanings = meanings_of(owner)
        for name, kind in kinds_of(owner).items():
            values = {preset: _value(content[section][name]) for preset, content in presets.items()}
            yield from ("`````{confval} " + f"{section}.{name}", ":no-contents-entry:", f":type: {in_words(kind)}")
            yield from (f":default: {_defaults(values)}", "", _prose(_sentence(meanings[name])))
            yield from ("" if used[name] == usual else f"\n{used[name]}", "`````", "")


def _defaults(values: dict[str, str]) -> str:
    """The value in every preset, or in which presets it is which."""
    presets = {value: [preset for preset in values if values[preset] == value] for value in values.values()}
    if len(presets) == 1:
        return next(iter(presets))
    return "; ".join(f"{value} in {' and '.join(names)}" for value, names in presets.items())


def _users(setting: str) -> str:
    """Which verbs use a setting, by the table that the command line itself asks."""
    from syndiff.config.uses import USES, Use
    from syndiff.studies.study import known_studies

    everything = Use().only
    verbs: dict[str, list[str]] = {}
    of_studies = {name: use for study in known_studies().values() for name, use in study.uses().items()}
    for situation, use in {**USES, **of_studies}.items():
        verb = re.match(r"study [\w-]+|[\w-]+", situation)
        assert verb, situation
        if situation == verb[0] or use.only != everything:  # a verb, or a way to call it; else a situation of it
            if setting in use.names():
                verbs[situation] = []
            continue
        for known in [each for each in verbs if each.startswith(verb[0])]:
            if setting not in use.names():
                verbs[known].append(re.sub(r"^--", "with --", situation.removeprefix(verb[0]).strip()))
    always = {verb for verb, without in verbs.items() if any(each.startswith("(") for each in without)}
    words = [
        f"`{verb}`" + (f" (no effect {_grouped(without)})" if without else "")
        for verb, without in verbs.items()
        if verb not in always
    ]
    return f"Used by {', '.join(words)}." if words else "Set by the verbs themselves."


def _grouped(situations: list[str]) -> str:
    """Situations as one list; those that differ in the value of one setting alone name the setting once."""
    values: dict[str, list[str]] = {}
    for situation in situations:
        setting, equals, value = situation.partition("=")
        values.setdefault(setting + equals, []).append(value)
    return " or ".join(setting + ", ".join(each) for setting, each in values.items())


def verbs() -> Iterator[str]:
    """Every verb with what its `--help` says."""
    from syndiff.cli import Verb, main

    plain = mock.patch.dict(os.environ, COLUMNS="2000", NO_COLOR="1")  # no line is folded: a browser does that
    for path in ([], *_verbs_of(Verb)):
        printed = io.StringIO()
        with plain, contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
            main([*path, "--help"])
        yield from ("", f"## {' '.join(['syndiff', *path])}", "", *_help(printed.getvalue()))


def _help(printed: str) -> Iterator[str]:
    """Printed help as Markdown: usage as code, sentences as paragraphs, options and subcommands as lists."""
    usage, _, rest = printed.strip("\n").partition("\n\n")
    yield from ("```", usage.replace("{", "").replace("}", "").replace(",", " | "), "```", "")
    for line in rest.splitlines():
        name, _, text = (part.strip() for part in line.strip(" •").partition("  "))
        if name in ("", "(required)") or set(name) == {"-"}:  # the word stands alone there
            yield ""
        elif line.startswith(" " * 8):  # more on the option or the verb before
            yield f"  {_prose(line.strip())}"
        elif line.startswith("  "):
            yield f"- `{name}`" + (f": {_prose(text)}" if text else "")
        elif line.startswith(" "):
            yield from ("", f"**{name.capitalize()}**", "")
        else:
            yield _prose(line)
    yield ""


def _verbs_of(union: Any, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of each verb of a union of annotated classes, and of the verbs below it."""
    for each in get_args(union):
        owner, subcommand = get_args(each)
        path = (*before, subcommand.name)
        yield path
        for item in fields(owner):
            if item.name == "verb":
                yield from _verbs_of(item.type, path)


def python(asked: str) -> Iterator[str]:
    """The public names of a module, those of `__all__` or those that it defines; or one of them, module:name."""
    module, _, name = asked.partition(":")
    found = importlib.import_module(module)
    names = (
        [name]
        if name
        else getattr(found, "__all__", None)
        or [
            name
            for name, value in vars(found).items()
            if not name.startswith("_") and getattr(value, "__module__", None) == module and inspect.getdoc(value)
        ]
    )
    for name in sorted(names, key=lambda name: (inspect.isclass(getattr(found, name)), name)):  # functions first
        yield from _entry(f"{module}.{name}", getattr(found, name))


def _entry(name: str, thing: Any) -> Iterator[str]:
    """A function or a class with its methods, each with its signature and its docstring."""
    if not callable(thing):
        yield from ("``````{py:data} " + name, *_document(thing), "``````", "")
        return
    shown = "" if inspect.isclass(thing) and _hides_constructor(thing) else _signature(thing)
    kind = "class" if inspect.isclass(thing) else "function"
    yield from ("``````{py:" + kind + "} " + name + shown, "")
    yield from _document(thing)
    for method, value in vars(thing).items() if inspect.isclass(thing) else ():
        inner = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
        if method.startswith("_") or not inspect.isfunction(inner) or not inspect.getdoc(inner):
            continue
        kind = "property" if isinstance(value, property) else "method"
        options = [":no-contents-entry:", *([":classmethod:"] if isinstance(value, classmethod) else [])]
        signature = "" if kind == "property" else _signature(inner, bound=True)
        yield from ("", "`````{py:" + kind + "} " + method + signature, *options, "", *_document(inner), "`````")
    yield from ("``````", "")


def _hides_constructor(thing: type) -> bool:
    return issubclass(thing, Exception) or getattr(thing, "_is_protocol", False)


def _signature(thing: Any, *, bound: bool = False) -> str:
    signature = inspect.signature(thing)
    parameters = list(signature.parameters.values())[bound:]
    if inspect.isclass(thing):
        signature = signature.replace(return_annotation=inspect.Signature.empty)
    text = stringify_signature(signature.replace(parameters=parameters), unqualified_typehints=True)
    array = re.compile(r"~numpy\.ndarray\[~?tuple\[~typing\.Any, \.\.\.\], ~numpy\.dtype\[([~\w.]+)\]\]")
    return array.sub(r"~numpy.typing.NDArray[\1]", text).replace("<factory>", "...")


def _document(thing: Any) -> Iterator[str]:
    """A docstring as Markdown: its lists of arguments as lists, its examples as code."""
    text = re.sub(r"((?:^>>> .*\n?)(?:^\S.*\n?)*)", r"```pycon\n\1\n```\n", inspect.getdoc(thing) or "", flags=re.M)
    section, own, code = "", {item.name for item in fields(thing)} if is_dataclass(thing) else set(), False
    for line in text.splitlines():
        code ^= line.startswith("```")
        line = line if code or section.startswith("Example") or line.startswith(" " * 8) else _prose(line)
        heading = re.fullmatch(r"(Args|Attributes|Returns|Raises|Yields|Examples?):", line)
        if heading:
            section = heading[1]
            yield from ("", f"**{section}**", "")
        elif line and not line.startswith(" "):
            section = ""
            yield f"- {line}" if line.split(":")[0].split(",")[0] in own else line
        elif section in ("Args", "Attributes", "Raises") and (item := re.match(r" {4}(\w+): (.*)", line)):
            yield f"- `{item[1]}`: {item[2]}"
        elif section and not section.startswith("Example"):
            yield line.removeprefix("    ") if section in ("Returns", "Yields") else line[2:]
        else:
            yield line


def module(name: str) -> Iterator[str]:
    """The docstring of a module, without its first line, which the page's title says."""
    yield from (inspect.getdoc(importlib.import_module(name)) or "").splitlines()[1:]


def packs() -> Iterator[str]:
    """The prompt packs that ship, as they are."""
    for path in sorted((files("syndiff.synthesis.prompts") / "packs").iterdir(), key=lambda path: path.name):
        yield from ("", f"## {Path(path.name).stem}", "", "```yaml", path.read_text(encoding="utf-8").rstrip(), "```")


def _value(value: Any) -> str:
    """A value as `--set` takes it."""
    if isinstance(value, str):
        return f"`{value}`" if value else "empty"
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000)
    return "`" + text.removesuffix("\n").removesuffix("\n...") + "`"


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _prose(text: str) -> str:
    """Plain text as Markdown: a star or an angle outside of code marks nothing up."""
    pieces = re.split(r"(`[^`]*`)", text)
    return "".join(piece if index % 2 else re.sub(r"([<*])", r"\\\1", piece) for index, piece in enumerate(pieces))


PARTS: dict[str, Callable[..., Iterator[str]]] = {
    "settings": settings,
    "verbs": verbs,
    "python": python,
    "module": module,
    "packs": packs,
}
