"""Plans, made purely: which texts share a batch, which prefixes share a run, what a backlog will take."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

BUCKETS = 256
"""Locks are taken by the first two hex characters, so that runs with different partition lengths agree."""

EXACT_SEARCH_ROWS = 10_000
"""Up to here a search without an index still answers in milliseconds, so dropping one disturbs no reader."""

_ROWS_PER_CHANGE = 100

_ROWS_PER_VECTOR = 10
"""Rows that may be looked at for each vector that a run has written."""


@dataclass(frozen=True, slots=True)
class PrefixRange:
    """A contiguous range of prefixes of ``chunk_hash``, both ends included, each of one or two hex characters."""

    first: str
    last: str

    def __post_init__(self) -> None:
        for prefix in (self.first, self.last):
            if not 1 <= len(prefix) <= 2 or any(c not in "0123456789abcdef" for c in prefix):
                raise ValueError(f"prefix {prefix!r} is not one or two lowercase hex characters")
        if self.buckets.start >= self.buckets.stop:
            raise ValueError(f"prefix range {self.first}-{self.last} is empty: its ends are in the wrong order")

    @classmethod
    def parse(cls, text: str) -> PrefixRange:
        """Read ``0-f``, ``0...f`` or a single prefix such as ``a`` or ``3c``."""
        first, _, last = text.strip().lower().replace("...", "-").partition("-")
        return cls(first, last or first)

    @property
    def buckets(self) -> range:
        """The lock buckets covered: values of the first two hex characters."""
        return range(int(self.first.ljust(2, "0"), 16), int(self.last.ljust(2, "f"), 16) + 1)

    def __str__(self) -> str:
        return self.first if self.first == self.last else f"{self.first}-{self.last}"


def all_prefixes(length: int) -> list[str]:
    """Every prefix of ``length`` hex characters, ascending: 16 or 256 of them."""
    return [format(value, f"0{length}x") for value in range(16**length)]


def bucket_bounds(start: int, stop: int) -> tuple[str, str]:
    """The half-open range of hashes, in byte order, that buckets ``start`` to ``stop - 1`` cover."""
    # "0" and "00" both open the first bucket; "g" is what follows every hex string.
    lower = format(start, "02x").removesuffix("0") if start % 16 == 0 else format(start, "02x")
    upper = "g" if stop >= BUCKETS else format(stop, "02x").removesuffix("0") if stop % 16 == 0 else format(stop, "02x")
    return lower, upper


def contiguous(values: Iterable[int]) -> list[range]:
    """Ascending numbers as the fewest ranges."""
    ranges: list[range] = []
    for value in values:
        if ranges and ranges[-1].stop == value:
            ranges[-1] = range(ranges[-1].start, value + 1)
        else:
            ranges.append(range(value, value + 1))
    return ranges


def group_prefixes(prefixes: Sequence[str], most: int, *, blocked: frozenset[str] = frozenset()) -> list[PrefixRange]:
    """Cover ascending prefixes of one length with at most ``most`` ranges, bridging the narrowest gaps first.

    A range never covers a prefix in ``blocked``, even if that takes more ranges than ``most``.
    """
    if not prefixes:
        return []
    length = len(prefixes[0])
    wanted = contiguous(sorted(int(prefix, 16) for prefix in prefixes if prefix not in blocked))
    closed = sorted(int(prefix, 16) for prefix in blocked)

    def gap(index: int) -> int | None:
        left, right = wanted[index].stop, wanted[index + 1].start
        return None if any(left <= value < right for value in closed) else right - left

    while len(wanted) > most:
        gaps = [(width, index) for index in range(len(wanted) - 1) if (width := gap(index)) is not None]
        if not gaps:
            break
        _, index = min(gaps)
        wanted[index : index + 2] = [range(wanted[index].start, wanted[index + 1].stop)]
    form = f"0{length}x"
    return [PrefixRange(format(r.start, form), format(r.stop - 1, form)) for r in wanted]


def split_ranges(ranges: Sequence[PrefixRange], count: int) -> list[PrefixRange]:
    """The same prefixes in at least ``count`` ranges, the widest halved first, as far as there are prefixes."""
    length = len(ranges[0].first) if ranges else 1
    parts = [range(int(r.first, 16), int(r.last, 16) + 1) for r in ranges]
    while parts and len(parts) < count:
        widest = max(range(len(parts)), key=lambda index: len(parts[index]))
        part = parts[widest]
        if len(part) == 1:
            break
        middle = part.start + len(part) // 2
        parts[widest : widest + 1] = [range(part.start, middle), range(middle, part.stop)]
    form = f"0{length}x"
    return [PrefixRange(format(part.start, form), format(part.stop - 1, form)) for part in parts]


def plan_batches(
    token_counts: Sequence[int], *, max_tokens: int, max_texts: int, width_multiple: int = 1
) -> list[list[int]]:
    """Group texts into batches of nearly equal length.

    Padding makes a batch cost its longest text times its size, so texts are sorted by length, longest first (memory
    peaks at the start, where an overflow is cheapest), and a batch is closed before it passes either bound.

    Args:
        token_counts: tokens of each text.
        max_tokens: padded tokens in a batch; a single longer text is a batch of its own.
        max_texts: texts in a batch.
        width_multiple: the longest text of a batch is padded to a multiple of this.

    Returns:
        Batches of indices into ``token_counts``; every index exactly once.
    """
    order = sorted(range(len(token_counts)), key=token_counts.__getitem__, reverse=True)
    batches: list[list[int]] = []
    width = 0
    for index in order:
        if not batches or len(batches[-1]) >= max_texts or (len(batches[-1]) + 1) * width > max_tokens:
            batches.append([])
            width = max(1, -(-token_counts[index] // width_multiple)) * width_multiple
        batches[-1].append(index)
    return batches


def even_share(tokens: int, *, at_least: int, at_most: int, workers: int) -> int:
    """Tokens of a batch such that workers who take one at a time finish at about the same time.

    Args:
        tokens: to be shared.
        at_least: of a batch, below which each costs more than it gains.
        at_most: of a batch.
        workers: that compute side by side.
    """
    rounds = max(1, -(-tokens // (at_most * workers)))
    return min(at_most, max(at_least, -(-tokens // (rounds * workers))))


def estimate_api_tokens(text: str) -> int:
    """Likely tokens of a text for an API: a quarter of a token a UTF-8 byte, rounded up.

    OpenAI's embeddings API checks the size of a request by this estimate, not by its tokenizer; English prose has
    somewhat fewer tokens, other scripts have more.
    """
    # A lone surrogate has no UTF-8 form, but a text with one is found elsewhere.
    return -(-len(text.encode("utf-8", "surrogatepass")) // 4)


def plan_requests(token_counts: Sequence[int], *, max_tokens: int, max_inputs: int) -> list[range]:
    """Fill API requests with texts in their order.

    Args:
        token_counts: likely tokens of each text.
        max_tokens: likely tokens in a request; a single longer text is a request of its own.
        max_inputs: texts in a request.

    Returns:
        Ranges of indices into ``token_counts``, in order, without gaps.
    """
    requests: list[range] = []
    total = 0
    for index, tokens in enumerate(token_counts):
        if requests and len(requests[-1]) < max_inputs and total + tokens <= max_tokens:
            requests[-1] = range(requests[-1].start, index + 1)
            total += tokens
        else:
            requests.append(range(index, index + 1))
            total = tokens
    return requests


def halve(batch: list[int]) -> tuple[list[int], list[int]]:
    """Split a batch of at least two in the middle."""
    middle = len(batch) // 2
    return batch[:middle], batch[middle:]


def looks_at_all(rows: int, written: int | None) -> bool:
    """Whether a table of so many rows is counted and read whole after a run, which is to cost what the run did.

    Args:
        rows: of the table, about.
        written: vectors that the run has written; None: all is to be looked at, whatever it takes.
    """
    return written is None or rows <= max(EXACT_SEARCH_ROWS, _ROWS_PER_VECTOR * written)


def shows_change(rows: int, changed: int | None) -> bool:
    """Whether pictures of so many rows look otherwise than before: from a hundredth of them on.

    Args:
        rows: of the table, about.
        changed: how many of them; None: they are to be drawn in any case.
    """
    return changed is None or (changed > 0 and changed * _ROWS_PER_CHANGE >= rows)


def plan_index(*, embedded: int, pending: int) -> Literal["keep", "defer"]:
    """Decide whether to load with the index in place.

    ``defer`` drops it before the load and builds it once afterwards, which is some three times cheaper a row, the
    build included (benchmarks/write.py). That is worth it when more is coming than is there, and harmless while a
    search without an index is quick.
    """
    return "defer" if pending > embedded and embedded < EXACT_SEARCH_ROWS else "keep"
