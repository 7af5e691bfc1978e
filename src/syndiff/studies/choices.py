"""What the user of a study chooses among, written once for the command line and for the studies."""

from typing import Literal, get_args

Side = Literal["val", "test"]
"""Cases that are scored."""

Source = Literal["copy_paste", "own", "own-ungated", "elsewhere", "elsewhere-ungated", "others"]
"""Where added cases come from: copy_paste, the inpainter adapted to the few groups (own) or another one (elsewhere),
each with and without gates (-ungated), or another dataset (others)."""
SOURCES: tuple[Source, ...] = get_args(Source)
SplitMethod = Literal["auto", "group", "random", "random-488", "pranet"]
"""How cases are divided; auto: by group where groups are known."""
PromptLevel = Literal["other noise", "synonyms", "reworded", "vaguer", "wrong look", "wrong shape", "empty"]
"""What is painted beside the set's own prompts: the same from other noise, and the same places in other words."""
Rule = Literal["blurred", "colour"]
"""What a scripted reviewer rejects."""
