"""What counts as a word of a caption: shared by the grammar that writes captions and the encoder that reads them."""

import re


def tokenize(text: str) -> list[str]:
    """Split a text into its words, lower case: what lies between white space and punctuation."""
    return re.findall(r"\w+", text.lower())
