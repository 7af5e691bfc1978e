"""Write a finished run's table, command, seed, split and machine as a page of docs/results.

    python scripts/write_result.py --run runs/cvc --data ../shared/data/cvc-clinicdb --out docs/results/cvc.md

The page holds figures only, never a picture of the data.
"""

import argparse
from pathlib import Path
from typing import Any

from syndiff.data.dataset import DatasetFolder
from syndiff.documents import read_json
from syndiff.files import write_text
from syndiff.report.content import Content, read_content
from syndiff.report.words import limits, table_markdown, verdict


def page(content: Content, plan: dict[str, Any], title: str, remarks: str) -> str:
    """The page as Markdown; `remarks` stand above the figures in italics, for what no file of the run knows."""
    split, environment = content.split, content.environment
    groups = {name: len({content.dataset[case].group for case in getattr(split, name)}) for name in ("train", "test")}
    lines = [
        f"# {title}",
        "",
        *([f"*{remarks}*", ""] if remarks else []),
        f"- Command: `{content.command}`",
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
        "- Checkpoints chosen by validation Dice; the test cases were read once. Intervals: 95 %, bootstrap over "
        f"{content.unit}s.",
        "",
        table_markdown(content),
        "",
        "## In words",
        "",
    ]
    lines += [f"- **{heading}** {text}" for heading, text in verdict(content)]
    lines += ["", "## Limits", "", *(f"- {sentence}" for sentence in limits(content)), "", "## Settings", "", "```"]
    lines += [f"{name}: {value}" for name, value in content.settings.items()]
    return "\n".join([*lines, "```", ""])


def main() -> None:
    """Read the run, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--title", default="")
    parser.add_argument("--remarks", default="", help="what no file of the run knows, such as its wall time")
    options = parser.parse_args()
    content = read_content(options.run, DatasetFolder.open(options.data))
    plan = read_json(options.run / "plan.json") if (options.run / "plan.json").is_file() else {}
    title = options.title or f"The main job on {content.dataset.name}"
    write_text(options.out, page(content, plan, title, options.remarks))
    print(options.out)


if __name__ == "__main__":
    main()
