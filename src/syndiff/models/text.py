"""A text encoder reads so many tokens and silently drops the rest; here that is a mistake to mend."""

from pathlib import Path
from typing import Any

from syndiff.errors import SyndiffError


def load_tokenizers(folder: Path) -> list[Any]:
    """Load every tokenizer of a pipeline's folder (tokenizer, tokenizer_2, ...), and nothing else of it."""
    from transformers import AutoTokenizer

    return [
        AutoTokenizer.from_pretrained(str(part), local_files_only=True)
        for part in sorted(folder.glob("tokenizer*"))
        if part.is_dir()
    ]


def check_prompt_length(tokenizer: Any, text: str) -> None:
    """Raise SyndiffError when `text` has more tokens than the text encoder of a Hugging Face `tokenizer` reads.

    The message shows the words that would be cut.
    """
    limit = tokenizer.model_max_length
    tokens = tokenizer(text, truncation=False, add_special_tokens=False, verbose=False)["input_ids"]
    room = limit - tokenizer.num_special_tokens_to_add()
    if len(tokens) <= room:
        return
    words = text.split()
    kept = next(
        count
        for count in range(len(words), -1, -1)
        if len(tokenizer(" ".join(words[:count]), add_special_tokens=False, verbose=False)["input_ids"]) <= room
    )
    raise SyndiffError(
        f"The prompt has {len(tokens)} tokens but the text encoder reads {room}; it would not see "
        f"{' '.join(words[kept:])!r} at the end of {text!r}. Shorten it: the words of the prompt pack "
        "(`--set synthesis.prompts=FILE`), or of captions.csv."
    )
