"""What a text encoder can read."""

from collections.abc import Iterable
from typing import Any

from syndiff.errors import SyndiffError


def check_prompts(tokenizer: Any, prompts: Iterable[str]) -> None:
    """Raise SyndiffError for a prompt longer than the text encoder reads, showing what would be cut off.

    `tokenizer` is one of transformers'; its `model_max_length` counts the marks of beginning and end.
    """
    limit = tokenizer.model_max_length
    for prompt in prompts:
        numbers = tokenizer(prompt, truncation=False, verbose=False).input_ids
        if len(numbers) > limit:
            kept = limit - 2
            lost = tokenizer.decode(numbers[1 + kept : -1])
            raise SyndiffError(
                f"The prompt {prompt!r} has {len(numbers) - 2} tokens and the text encoder reads {kept}: "
                f"{lost!r} would be cut off. Shorten it."
            )
