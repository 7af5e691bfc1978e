"""The page of synthetic samples: everything it names is beside it, and nothing comes from elsewhere."""

import html
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from syndiff.data.dataset import Dataset
from syndiff.errors import SyndiffError
from syndiff.report.synthesis_page import build_synthesis_page
from syndiff.synthesis.manifest import read_manifest


class Page(HTMLParser):
    """What a page refers to, and the classes of its samples."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.samples: list[set[str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        assert tag != "script"
        self.addresses += [str(given[name]) for name in ("src", "href") if name in given]
        if tag == "img":
            self.images.append(given)
        if tag == "figure":
            self.samples.append(set(str(given["class"]).split()))


@pytest.fixture
def painted(syndiff: Callable, phantom: Path, tmp_path: Path) -> Path:
    out, split = tmp_path / "painted", tmp_path / "split.json"
    assert syndiff("data", "split", "--data", phantom, "--out", split).status == 0
    common = ("synthesize", "--data", phantom, "--split", split, "--inpainter", "copy_paste")
    common = (*common, "--set", "gates.quantile=0.2", "--count")  # narrow bounds: some are refused
    dry = syndiff(*common, 4, "--out", out, "--dry-run")
    assert (
        dry.status == 0
        and "prompt, which copy_paste does not read:" in dry.out
        and "nothing was written" in dry.out
        and not out.exists()
    )
    whole = syndiff(*common, 4, "--out", out)
    assert whole.status == 0 and str(out / "synthesis.html") in whole.out
    for i in (1, 2):  # a few more, since the gates refuse some
        assert syndiff(*common, 8, "--out", tmp_path / f"part{i}", "--shard", f"{i}/2").status == 0
    merged = syndiff(
        "merge", tmp_path / "part1", tmp_path / "part2", "--data", phantom, "--count", 4, "--out", tmp_path / "merged"
    )
    assert merged.status == 0, merged.err
    assert (out / "gates.json").is_file() and (out / "acceptance.json").is_file()
    for path in out.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "merged" / path.relative_to(out)).read_bytes()
    return out


def test_the_page_shows_every_sample_and_asks_no_other_address(painted: Path) -> None:
    manifest = painted / "manifest.jsonl"
    line = manifest.read_text().splitlines()[-1]
    unplaced = line.replace('"accepted": true', '"accepted": false').replace('"reason": null', '"reason": "no <place>"')
    unplaced = re.sub(r'"source_case": "[^"]*"', '"source_case": null', unplaced)
    unplaced = re.sub(r', "crc32": "[^"]*"', "", unplaced)
    with manifest.open("a") as file:
        file.write(unplaced + "\n")
    text = build_synthesis_page(painted).read_text()
    page, samples = Page(text), list(read_manifest(manifest))
    painted_ones = [sample for sample in samples if sample.source_case]
    refused = [sample for sample in painted_ones if sample.reason]
    assert len(page.samples) == len(samples) and refused  # or the test shows little
    for address in page.addresses:
        assert address == "data:," or (painted / address).is_file()
    assert len(page.images) == 2 * len(painted_ones) and all(
        image["loading"] == "lazy" and image["width"] for image in page.images
    )
    for sample in samples:
        assert sample.id in text and sample.caption and sample.caption in text
    assert "It follows no prompt: the captions are measured on the pictures." in text
    assert "rejected: no &lt;place&gt;" in text and "change 0." in text and "contrast 0." in text
    assert all(f"rejected: {sample.reason}" in text and html.escape(str(sample.detail)) in text for sample in refused)
    # the filter of the one reason hides every sample but the last
    number = re.search(r'id="f(\d+)"> no &lt;place&gt; \(1\)', text)
    assert number and f"#f{number[1]}:checked" in text
    assert [f"r{number[1]}" in classes for classes in page.samples] == [False] * len(painted_ones) + [True]
    assert "//" not in text
    assert len(Dataset.open(painted).cases) == 4  # neither page nor sheet is taken for a case


def test_a_folder_without_a_manifest_is_said(tmp_path: Path) -> None:
    with pytest.raises(SyndiffError, match=r"no manifest\.jsonl"):
        build_synthesis_page(tmp_path)
