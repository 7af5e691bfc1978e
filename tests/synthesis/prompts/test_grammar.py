"""Measured words never contradict the mask or the picture; drawn ones come in every combination, reproducibly."""

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from syndiff.data.attributes import measure_mask
from syndiff.data.dataset import Dataset
from syndiff.data.words import tokenize
from syndiff.errors import SyndiffError
from syndiff.synthesis.prompts.grammar import Grammar
from syndiff.synthesis.prompts.pack import BUILT_IN

FRAME = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
MASK = np.zeros((60, 80), bool)
MASK[20:40, 30:50] = True

TINY: dict[str, Any] = {
    "subject": "spot",
    "templates": ["a {size} {kind} {subject}", {"text": "a {size} {surface} {subject}, {colour}", "weight": 3}],
    "caption": "a {size} {subject}, {colour}",
    "background": "{modality} picture of nothing",
    "negative": "text",
    "slots": {
        "kind": {"kind": "free", "words": ["plain", {"word": "odd", "weight": 4}]},
        "surface": {"kind": "free", "words": ["smooth", "rough", "wet"]},
        "colour": {"kind": "lesion", "measure": "redness", "words": [{"word": "pale", "below": 0}, "red"]},
        "size": {"kind": "mask", "measure": "area", "words": [{"word": "small", "below": 0.05}, "large"]},
    },
}


def write(path: Path, changes: Callable[[dict[str, Any]], Any] = lambda tree: None) -> Path:
    tree = yaml.safe_load(yaml.safe_dump(TINY))
    changes(tree)
    path.write_text(yaml.safe_dump(tree, sort_keys=False))
    return path


@pytest.fixture
def tiny(tmp_path: Path) -> Grammar:
    return Grammar.load(str(write(tmp_path / "spot.yaml")))


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40)), st.sampled_from(BUILT_IN))
def test_words_of_the_mask_agree_in_prompt_and_caption_and_lie_in_their_bounds(mask: np.ndarray, name: str) -> None:
    grammar, frame = Grammar.load(name), np.full((*mask.shape, 3), 90, np.uint8)
    if not mask.any():
        with pytest.raises(SyndiffError, match="holds no lesion"):
            grammar.prompt(0, 0, mask, frame)
        return
    prompt, caption = grammar.prompt(3, 1, mask, frame), grammar.caption(frame, mask, mask)
    for slot, measure in (("size", "area"), ("shape", "elongation")):
        word, value = prompt.words[slot], getattr(measure_mask(mask), measure)
        assert word == caption.words[slot]
        assert re.search(rf"\b{word}\b", prompt.text) and re.search(rf"\b{word}\b", caption.text)
        bounds = [-np.inf, *(each.below for each in grammar.pack.slots[slot].words)]
        place = [each.text for each in grammar.pack.slots[slot].words].index(word)
        assert bounds[place] <= value < bounds[place + 1]


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_built_in_pack_words_prompts_and_captions_within_its_vocabulary(name: str) -> None:
    grammar = Grammar.load(name)
    texts = [grammar.caption(FRAME, MASK, MASK).text, grammar.background.text]
    texts += [grammar.prompt(i, 0, MASK, FRAME, measured_only=True).text for i in range(20)]
    for text in texts:
        assert set(tokenize(text)) <= set(grammar.vocabulary) and "{" not in text and "  " not in text
    assert list(grammar.vocabulary) == sorted(set(grammar.vocabulary))
    assert grammar.prompt(0, 0, MASK, FRAME).negative and grammar.background.negative
    assert not set(tokenize(grammar.background.text)) & {"small", "large", "round"}


def test_a_painter_that_learned_from_captions_is_asked_in_their_words() -> None:
    """Among the prompts with every drawn word is the caption of the very same picture, letter by letter."""
    grammar = Grammar.load("polyp")
    caption = grammar.caption(FRAME, MASK, MASK)
    count = 9  # three words of colour by three of tone
    prompts = [grammar.prompt(i, 5, MASK, FRAME, measured_only=True) for i in range(count)]
    assert caption.text in [prompt.text for prompt in prompts]
    assert len({prompt.text for prompt in prompts}) == count
    assert prompts[0].words.keys() == caption.words.keys()


def test_prompts_follow_mask_and_frame() -> None:
    grammar = Grammar.load("polyp")
    rows, columns = np.mgrid[:200, :200]
    frame = np.full((200, 200, 3), 200, np.uint8)

    def words(height: float, width: float, row: float = 100, column: float = 100) -> dict[str, str]:
        mask = ((rows - row) / height) ** 2 + ((columns - column) / width) ** 2 < 1
        return grammar.prompt(0, 0, mask, frame, measured_only=True).words

    assert [words(r, r)["size"] for r in (8, 28, 40, 70)] == ["diminutive", "small", "medium-sized", "large"]
    assert [words(30, r)["shape"] for r in (30, 20, 10)] == ["round", "oval", "elongated"]
    assert [words(9, 9, row=r)["vertical"] for r in (30, 110, 180)] == ["upper", "middle", "lower"]
    assert [words(9, 9, column=c)["horizontal"] for c in (30, 105, 180)] == ["left", "centre", "right"]
    dark = grammar.prompt(0, 0, MASK, FRAME // 8, measured_only=True).words
    assert (words(9, 9)["brightness"], dark["brightness"]) == ("bright", "dim")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), turn=st.integers(0, 3))
def test_combinations_come_once_before_one_comes_again(tiny: Grammar, seed: int, turn: int) -> None:
    count = 2 + 3 * 2  # the first template names two kinds, the second three surfaces and two colours
    texts = [tiny.prompt(turn * count + i, seed, MASK, FRAME).text for i in range(2 * count)]
    assert len(set(texts[:count])) == count
    assert set(texts[count:]) == set(texts[:count])


def test_the_next_turn_comes_in_another_order() -> None:
    grammar = Grammar.load("polyp")
    count = 5 * 9 + 2 * 5 * 5 * 9
    first, second = ([grammar.prompt(turn * count + i, 0, MASK, FRAME).text for i in range(20)] for turn in (0, 1))
    assert first != second and grammar.prompt(20, 0, MASK, FRAME).text not in first


def test_a_prompt_depends_on_seed_and_index_alone(tiny: Grammar, tmp_path: Path) -> None:
    forwards = [tiny.prompt(i, 7, MASK, FRAME) for i in range(30)]
    fresh = Grammar.load(str(write(tmp_path / "spot.yaml")))
    assert [fresh.prompt(i, 7, MASK, FRAME) for i in reversed(range(30))] == forwards[::-1]
    assert [tiny.prompt(i, 8, MASK, FRAME) for i in range(30)] != forwards


def test_weights_decide_what_comes_first(tiny: Grammar) -> None:
    first = [tiny.prompt(0, seed, MASK, FRAME) for seed in range(600)]
    kinds = Counter(prompt.words.get("kind") for prompt in first)
    assert 0.68 < kinds[None] / 600 < 0.82  # the second template, three in four
    assert 0.65 < kinds["odd"] / (kinds["odd"] + kinds["plain"]) < 0.92  # four in five


def test_the_classes_choose_the_pack_and_lend_their_names(make_dataset: Callable[..., Dataset]) -> None:
    dataset = make_dataset(2)
    assert Grammar.for_dataset(dataset).pack.name == "polyp"
    for classes, pack in (({"1": "Nucleus"}, "nucleus"), ({"1": "glioma"}, "lesion"), ({}, "lesion")):
        (dataset.root / "dataset.json").write_text(json.dumps({"classes": classes, "modality": "MRI"}))
        grammar = Grammar.for_dataset(Dataset.open(dataset.root))
        prompt = grammar.prompt(0, 0, MASK, FRAME)
        assert grammar.pack.name == pack and "polyp" not in prompt.text + prompt.negative
        assert "MRI" in prompt.text and (classes or {"1": "lesion"})["1"] in prompt.text


def change(*path: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    def apply(tree: Any) -> None:
        *way, last = path
        for step in way:
            tree = tree[step]
        if to is KeyError:
            del tree[last]
        else:
            tree[last] = to

    return apply


def many_words(tree: dict[str, Any]) -> None:
    for name in ("one", "two", "three"):
        tree["slots"][name] = {"kind": "free", "words": [f"w{i}" for i in range(100)]}
    tree["templates"][0] = "a {one} {two} {three}"
    tree["templates"].append("a {size} {kind}")


SIZE = ("slots", "size", "words")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (change("tempaltes", to=[]), r"unknown key 'tempaltes' \(did you mean 'templates'\?\)"),
        (change("background", to=KeyError), "background is missing"),
        (change("subject", to=" "), "subject is empty"),
        (change("caption", to="a {size} {kind} spot, {colour}"), "caption names the slot 'kind', which is free"),
        (change("templates", 0, to="a {sise} {kind}"), r"\{sise\}.* names no slot \(did you mean 'size'\?\)"),
        (change("templates", 0, to="a {size.__class__} {kind}"), "names no slot"),
        (change("templates", 0, to="a {size!r} {kind}"), "names no slot"),
        (change("templates", 0, to="a {size {kind}"), "is no template"),
        (change("templates", 0, to="a {size}{kind}"), "a slot touches"),
        (change("templates", 0, to="a {size}"), "no template names the slot 'kind'; write {kind} into one"),
        (change("templates", to=[]), "templates is"),
        (change("background", to="no {size} spot"), "background names a slot"),
        (change("slots", "size", "kind", to="masc"), r"slot size: kind is 'masc' \(did you mean 'mask'\?\)"),
        (change("slots", "size", "measure", to="aera"), r"measure is 'aera' \(did you mean 'area'\?\)"),
        (change("slots", "size", "measure", to="redness"), "slot size: measure is 'redness'; expected one of area"),
        (change("slots", "kind", "measure", to="area"), "measure has no effect on a free slot"),
        (change("slots", "subject", to={}), "a slot is called 'subject'"),
        (change("slots", "kind", "words", 0, to=True), "found the word True; expected text"),
        (change("slots", "kind", "words", 0, to={"wrod": "x"}), r"unknown key 'wrod' \(did you mean 'word'\?\)"),
        (change("slots", "kind", "words", 0, to="odd"), "'odd' is listed twice"),
        (change("slots", "kind", "words", 0, to="{x}"), "without braces"),
        (change("slots", "kind", "words", 1, "weight", to=0), "weight is 0; expected more than 0"),
        (change("slots", "kind", "words", 1, "weight", to="2"), "weight is '2'; expected a number"),
        (change("slots", "kind", "words", 1, "below", to=2), "below has no effect on a free slot"),
        (change("templates", 1, "weight", to=-1), "weight is -1; expected more than 0"),
        (change(*SIZE, 0, "weight", to=2), "weight has no effect on a mask slot"),
        (change(*SIZE, 0, "below", to=float("nan")), "below is nan; expected a number"),
        (change(*SIZE, 0, to="small"), "the word 'small' has no bound"),
        (change(*SIZE, 1, to={"word": "large", "below": 1}), "last word 'large' takes all the rest"),
        (
            change(*SIZE, to=[{"word": "s", "below": 0.2}, {"word": "m", "below": 0.2}, "l"]),
            r"bound of 'm' \(0.2\) does not lie above that of 's'",
        ),
        (many_words, "1,000,008 combinations"),
        (change("reworded", to="{colour}, {subject}"), "expected the slots of the caption"),
        (change("reworded", to="a {size} {subject}, {colour}"), "in another text"),
        (change("synonyms", to=["small"]), "expected words with another word for each"),
        (change("synonyms", to={"smal": "little"}), r"no slot has the word 'smal' \(did you mean 'small'\?\)"),
        (change("synonyms", to={"small": "large"}), "found 'large' for 'small'; expected letters"),
    ],
)
def test_a_mistake_in_a_pack_is_named_with_its_file(
    tmp_path: Path, changes: Callable[[dict[str, Any]], None], message: str
) -> None:
    path = write(tmp_path / "mine.yaml", changes)
    with pytest.raises(SyndiffError, match=message) as error:
        Grammar.load(str(path))
    assert str(error.value).startswith(f"{path}: ")


def test_files_that_are_no_packs(tmp_path: Path) -> None:
    with pytest.raises(SyndiffError, match=r"no prompt pack 'polpy' \(did you mean 'polyp'\?\)"):
        Grammar.load("polpy")
    (tmp_path / "broken.yaml").write_text("subject: [")
    with pytest.raises(SyndiffError, match=r"broken\.yaml is not valid YAML"):
        Grammar.load(str(tmp_path / "broken.yaml"))
    (tmp_path / "code.yaml").write_text(f"subject: !!python/object/apply:os.mkdir [{tmp_path / 'run'}]")
    with pytest.raises(SyndiffError, match=r"code\.yaml is not valid YAML"):
        Grammar.load(str(tmp_path / "code.yaml"))
    assert not (tmp_path / "run").exists()  # data, never code
    (tmp_path / "list.yaml").write_text("- polyp")
    with pytest.raises(SyndiffError, match=r"list\.yaml: the pack is \['polyp'\]; expected subject"):
        Grammar.load(str(tmp_path / "list.yaml"))


def test_the_pack_in_the_documentation_is_one(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs/how-to/prompts.md").read_text()
    path = tmp_path / "wound.yaml"
    path.write_text(page.split("```yaml\n")[1].split("```")[0])
    grammar = Grammar.load(str(path))
    assert "wound" in grammar.prompt(0, 0, MASK, FRAME).text
    assert "the skin around it" in grammar.caption(FRAME, MASK, MASK).text
