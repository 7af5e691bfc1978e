"""Write a finished run's table, command, seed, split and machine as a page of results/, its settings beside it.

    python scripts/write_result.py --run runs/cvc --data ../shared/data/cvc-clinicdb --out results/cvc-clinicdb.md

writes results/cvc-clinicdb.md and results/cvc-clinicdb/settings.txt: figures only, never a picture of the data.
"""

import argparse
from pathlib import Path
from typing import Any

from syndiff.data.dataset import Dataset
from syndiff.documents import read_json
from syndiff.files import write_text
from syndiff.report.content import Content, read_content
from syndiff.report.words import limits, table_markdown, verdict


def page(content: Content, plan: dict[str, Any], title: str, remarks: str, settings: str) -> str:
    """The page as Markdown; `remarks` say what no file of the run knows, `settings` links to the file of settings."""
    split, environment = content.split, content.environment
    groups = {name: len({content.dataset[case].group for case in getattr(split, name)}) for name in ("train", "test")}
    lines = [
        f"# {title}",
        "",
        f"    {content.command}",
        "",
        table_markdown(content),
        "",
        *(f"- **{heading}** {text}" for heading, text in verdict(content)),
        "",
        "## How it was made",
        "",
        *([f"- {remarks}"] if remarks else []),
        f"- Settings: [all of them]({settings})",
        f"- Split: {split.method}, seed {split.seed}, {len(split.train)} training, {len(split.val)} validation and "
        f"{len(split.test)} test cases"
        + (f"; {groups['train']} groups train, {groups['test']} test" if content.dataset.has_groups else "")
        + ("; **leaky**" if split.leaky else ""),
        f"- Machine: {environment['platform']}, {environment['cores']} cores, {environment['threads']} threads, "
        f"device {environment['device']}, torch {environment['libraries.torch']}",
        f"- Plan: {plan['control']['minutes']} minutes of training for each segmenter; one step measured at "
        + ", ".join(f"{kind} {each['seconds_per_step']:.2f} s" for kind, each in plan.items())
        if plan
        else "- Plan: the same number of steps for each segmenter",
        "- Checkpoints chosen by validation Dice; the test cases were read once. Intervals: 95 %, t over "
        f"{content.unit}s.",
        "",
        "## Limits",
        "",
        *(f"- {sentence}" for sentence in limits(content)),
    ]
    return "\n".join([*lines, ""])


def main() -> None:
    """Read the run, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--title", default="")
    parser.add_argument("--remarks", default="", help="what no file of the run knows, such as its wall time")
    options = parser.parse_args()
    if options.out.suffix != ".md":
        parser.error(f"--out is {options.out}; expected a name that ends in .md: a folder beside it holds the settings")
    content = read_content(options.run, Dataset.open(options.data))
    plan = read_json(options.run / "plan.json") if (options.run / "plan.json").is_file() else {}
    title = options.title or f"The main job on {content.dataset.name}"
    settings = options.out.with_suffix("") / "settings.txt"
    link = settings.relative_to(options.out.parent).as_posix()
    write_text(settings, "".join(f"{name}: {value}\n" for name, value in content.settings.items()))
    write_text(options.out, page(content, plan, title, options.remarks, link))
    print(options.out)


if __name__ == "__main__":
    main()
