"""One synthesis on several machines: which attempts are whose, and how their folders become one.

Attempt i depends on the seed and i alone, and attempts are painted in whole batches. Shard k of n makes the
batches k - 1, k - 1 + n, k - 1 + 2n, ... It cannot know how many attempts the others' rejections will cost, so
it makes a few more than its share; `merge` takes attempts in order until enough are accepted and drops the rest.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from syndiff.data.dataset import Dataset
from syndiff.documents import OWN, differences, read_object
from syndiff.errors import SyndiffError, shown
from syndiff.files import locked, write_bytes
from syndiff.synthesis.finish import SynthesisSummary, finish
from syndiff.synthesis.gates.acceptance import Acceptance
from syndiff.synthesis.likeness import REAL, Likeness
from syndiff.synthesis.manifest import Sample, SynthesisFolder, claimed_folder, flat, sample_id
from syndiff.synthesis.placement.elsewhere import lesion_free

FILE = "shard.json"
"""Marks a folder as one shard of a synthesis; a whole synthesis has none."""

_SLACK = 3.0  # standard deviations of the number of accepted samples


@dataclass(frozen=True)
class Shard:
    """The part of the attempts that one process makes: number `index` (from 1) of `count`; 1 of 1 is all."""

    index: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise SyndiffError(f"--shard is {self}; expected i/n with i from 1 to n, such as 2/3.")

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read "2/3"."""
        index, _, count = text.partition("/")
        if not (index.isascii() and index.isdigit() and count.isascii() and count.isdigit()):
            raise SyndiffError(f"--shard is {text!r}; expected i/n with i from 1 to n, such as 2/3.")
        return cls(int(index), int(count))

    def attempt(self, position: int, batch_size: int) -> int:
        """Index, in the whole synthesis, of the attempt at `position` (from 0) of this shard."""
        turn, within = divmod(position, batch_size)
        return (turn * self.count + self.index - 1) * batch_size + within

    def has_enough(self, accepted: int, attempts: int, wanted: int) -> bool:
        """Whether this shard may stop, `wanted` being accepted samples of the whole synthesis.

        A whole one needs exactly these. A shard needs its share and three standard deviations of the number
        that as many attempts would accept, none where nothing is rejected, so that all shards together will
        nearly always do.
        """
        if self.count == 1:
            return accepted >= wanted
        rejected = (attempts - accepted) / max(1, attempts)
        share = wanted / self.count
        return accepted >= share + _SLACK * (share * rejected) ** 0.5


WHOLE = Shard()
"""All of a synthesis."""


def most_attempts(count: int) -> int:
    """After so many attempts a synthesis that was to accept `count` samples gives up."""
    return 5 * count + 20


def mark(folder: SynthesisFolder, shard: Shard, batch_size: int) -> None:
    """Check that `folder` was made by this shard, or by a whole synthesis where it is one.

    Raises SyndiffError for the folder of another shard, of a shard with other batches, or of a whole synthesis.
    """
    path = folder.root / FILE
    if shard.count == 1:
        if path.exists():
            raise SyndiffError(
                f"{folder.root} holds shard {_read(path)[0]} of a synthesis; go on with --shard {_read(path)[0]}, "
                "or unite all its shards in another folder with `syndiff merge`."
            )
        return
    here = {"shard": str(shard), "batch_size": batch_size}
    if not path.exists():
        if folder.manifest.exists():
            raise SyndiffError(
                f"{folder.root} holds a whole synthesis, no shard; give shard {shard} a folder of its own."
            )
        folder.write_json(FILE, here)
    elif (found := _read(path)) != (shard, batch_size):
        there, size = found
        raise SyndiffError(
            f"{folder.root} holds shard {there} made in batches of {size}, but this is shard {shard} in batches of "
            f"{batch_size}; give each shard a folder of its own and go on with the same settings."
        )


def merge_shards(
    shards: Sequence[Path],
    out: Path,
    origin: Dataset,
    *,
    count: int,
    least: int | None = None,
    backgrounds: str = "",
) -> SynthesisSummary:
    """Make `out` the folder that one whole synthesis of `count` accepted samples would have made, byte for byte.

    `shards` are the folders of all shards, in any order, `origin` the dataset they were made from and
    `backgrounds` their folder of lesion-free frames, if any. Call it again after a crash.

    Raises SyndiffError for a missing shard, other `backgrounds` than the shards', shards made with different settings,
    shards whose attempts end too early (with what to run on), a folder in use, an `out` that holds something else, and,
    as `synthesize` does, when all attempts that are made at most did not give `least` accepted samples, which is
    `count` where it is not given.
    """
    places = [Path(path).resolve() for path in (*shards, out)]
    if twice := next((path for path in places if places.count(path) > 1), None):
        raise SyndiffError(f"{twice} is given twice; give each shard once, and another folder as --out.")
    with ExitStack() as stack:
        opened = []
        for path in shards:
            stack.enter_context(locked(_existing(Path(path))))
            opened.append(SynthesisFolder(Path(path)))
        ordered, batch_size = _in_order(opened)
        needed = _needed(ordered, batch_size, count)
        _check_backgrounds(ordered[0], origin, backgrounds)
        folder = stack.enter_context(claimed_folder(out))
        mark(folder, WHOLE, batch_size)
        done = _already_there(folder, ordered, batch_size, needed)
        folder.begin()
        for name in ("gates.json", "seen.json", REAL):  # the others' are the same: the manifests' settings are
            if (kept := ordered[0].root / name).is_file():
                write_bytes(folder.root / name, kept.read_bytes())
        for index, (sample, origin_folder) in enumerate(_attempts(ordered, batch_size, needed)):
            if index >= done:
                folder.adopt(sample, origin_folder)
        account = Acceptance.of(folder)
        likeness = Likeness.of(folder.root, folder)
        finish(folder, origin, str(sample.backend["name"]), account, likeness, backgrounds=backgrounds)
    summary = SynthesisSummary(out, account, likeness)
    summary.check(count if least is None else min(count, least))
    return summary


def _check_backgrounds(shard: SynthesisFolder, origin: Dataset, backgrounds: str) -> None:
    """Raise SyndiffError unless `backgrounds` holds the lesion-free frames that the shard was painted into."""
    made = next(iter(shard)).setting("backgrounds")
    here = origin.fingerprint_of(lesion_free(Path(backgrounds))) if backgrounds else None
    if made == here:
        return
    if made is None:
        raise SyndiffError(f"{shard.root} was made without lesion-free frames; leave --backgrounds out.")
    raise SyndiffError(
        f"{shard.root} was painted into the lesion-free frames that synthesis.backgrounds named, but --backgrounds "
        f"{f'names other ones, {backgrounds}' if backgrounds else 'is not given'}; give that folder, unchanged."
    )


def _existing(path: Path) -> Path:
    if not (path / FILE).is_file():
        raise SyndiffError(f"{path} is no shard (it has no {FILE}); give the folders made with `synthesize --shard`.")
    return path


def _read(path: Path) -> tuple[Shard, int]:
    content = read_object(path, {"shard": str, "batch_size": int})
    try:
        shard = Shard.parse(content["shard"])
    except SyndiffError:
        shard = WHOLE
    if shard.count == 1 or content["batch_size"] < 1:
        raise SyndiffError(f"{path} names no shard and batch size (it holds {shown(content)}). {OWN}")
    return shard, content["batch_size"]


def _in_order(folders: Sequence[SynthesisFolder]) -> tuple[list[SynthesisFolder], int]:
    """The shards' folders from the first to the last, and the size of their batches."""
    by_index: dict[int, SynthesisFolder] = {}
    first: tuple[int, int] | None = None
    for folder in folders:
        shard, batch_size = _read(folder.root / FILE)
        first = first or (shard.count, batch_size)
        if (shard.count, batch_size) != first:
            raise SyndiffError(
                f"{folder.root} is one of {shard.count} shards in batches of {batch_size}, but {folders[0].root} one "
                f"of {first[0]} in batches of {first[1]}; merge the shards of one synthesis."
            )
        if shard.index in by_index:
            raise SyndiffError(f"{folder.root} and {by_index[shard.index].root} are both shard {shard}; give one.")
        by_index[shard.index] = folder
    if first is None:
        raise SyndiffError("There is no shard to merge; give the folders made with `synthesize --shard`.")
    if missing := [f"{i}/{first[0]}" for i in range(1, first[0] + 1) if i not in by_index]:
        raise SyndiffError(f"Shard {', '.join(missing)} is missing; give the folders of all {first[0]} shards.")
    return [by_index[i] for i in sorted(by_index)], first[1]


def _attempts(
    folders: Sequence[SynthesisFolder], batch_size: int, stop: int
) -> Iterator[tuple[Sample, SynthesisFolder]]:
    """All shards' attempts in the order of the whole synthesis, until one is not there or `stop` is reached."""
    sources = [iter(folder) for folder in folders]
    for index in range(stop):
        owner = index // batch_size % len(folders)
        sample = next(sources[owner], None)
        if sample is None:
            return
        if sample.id != sample_id(index):
            raise SyndiffError(
                f"{folders[owner].manifest} holds {sample.id} where {sample_id(index)} was expected; "
                "make this shard again."
            )
        yield sample, folders[owner]


def _needed(folders: Sequence[SynthesisFolder], batch_size: int, count: int) -> int:
    """How many attempts the whole synthesis would make. Raises SyndiffError when some are not there."""
    limit, made, accepted = most_attempts(count), 0, 0
    settings = None
    for sample, folder in _attempts(folders, batch_size, limit):
        here = flat({"backend": sample.backend, **sample.settings})
        settings = settings or here
        if here != settings:
            raise SyndiffError(
                f"{folder.manifest} was made with other settings than {folders[0].manifest}: "
                f"{differences(settings, here)}. Merge the shards of one synthesis."
            )
        made += 1
        accepted += sample.accepted
        if accepted == count:
            return made
    if made == limit:
        return made
    owner = made // batch_size % len(folders)
    raise SyndiffError(
        f"The shards hold {accepted} of {count} accepted samples up to attempt {made}, where shard "
        f"{owner + 1}/{len(folders)} ({folders[owner].root}) ends. Run the shards on with the same commands and "
        f"--count {_raised(count, accepted)}, then merge again."
    )


def _raised(count: int, accepted: int) -> int:
    """A number of samples to ask of shards that were to give `count` and gave `accepted` in a row."""
    return count + max(2, round(1.2 * (count - accepted)))


def _already_there(folder: SynthesisFolder, shards: Sequence[SynthesisFolder], batch_size: int, needed: int) -> int:
    """How many attempts an earlier merge copied. Raises SyndiffError when others are there."""
    done = 0
    attempts = _attempts(shards, batch_size, needed)
    for there in folder:
        sample, _ = next(attempts, (None, None))
        if there != sample:
            raise SyndiffError(
                f"{folder.root} holds {there.id}, which is not what the shards hold at this place; "
                "merge into an empty or new folder."
            )
        done += 1
    return done
