"""Reading compiled programs: which collectives they have, and how much they draw."""

import math
import re
from collections import Counter

COLLECTIVES = (
    "all-reduce",
    "all-gather",
    "all-to-all",
    "collective-permute",
    "reduce-scatter",
)
_COLLECTIVE = re.compile(rf" ({'|'.join(COLLECTIVES)})(?:-start)?\(")
_WORDS = re.compile(r"\bu(?:32|64)\[([\d,]+)\]")

Shape = tuple[int, ...]


def collectives(text: str) -> Counter[str]:
    """How many collectives of each kind are in the text of a program."""
    return Counter(_COLLECTIVE.findall(text))


def words(text: str) -> set[Shape]:
    """The shapes of the arrays of unsigned words, which random bits are made of."""
    return {tuple(map(int, sizes.split(","))) for sizes in _WORDS.findall(text)}


def drawn_beyond_the_shard(
    text: str, whole: Shape, shard: Shape, draws: int = 1
) -> list[Shape]:
    """Shapes of words that are too large to be of one shard of an array alone.

    Such are more words than `draws` for each element of the shard, and words that are
    whole along a dim that is split, as those of a mask that other dims share are. Sizes
    are told apart by their values: no split dim may have the size of anything else.
    """
    split = {a for a, b in zip(whole, shard, strict=True) if a != b} - set(shard)
    return sorted(
        shape
        for shape in words(text)
        if math.prod(shape) > draws * math.prod(shard) or split & set(shape)
    )
