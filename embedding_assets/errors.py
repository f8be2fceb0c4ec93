"""Every error this package raises on purpose.

    EmbeddingAssetsError
    ├── ConfigurationError           a setting is missing, malformed or contradicts another
    │   ├── SpaceMismatchError       the settings describe another vector space than the table holds
    │   ├── TableNotAdoptedError     the table was not made by this package, and was not adopted
    │   └── ImportRefusedError       vectors of another tool are not those of the named model
    ├── DatabaseError                PostgreSQL refused or failed
    │   ├── DatabaseUnavailableError it cannot be reached, or was lost and did not come back
    │   ├── DatabasePermissionError  the role lacks a right
    │   ├── PgvectorError            the extension is missing or too old
    │   └── RowRefusedError          a constraint, trigger or index of the table does not accept what was to be written
    │       └── TableRefusesError    nor does it accept any of many other rows
    ├── ClusterError                 a cluster cannot be reached, or its workers die
    ├── ModelUnavailableError        the model is neither cached nor reachable, or its files cannot be used
    ├── ProviderError                a provider failed for a reason that is not one text's fault
    │   ├── ProviderUnavailableError it is down; the only error that leads to the fallback
    │   ├── RateLimitExceededError   it goes on refusing for rate, or its limits leave no room in time
    │   ├── QuotaExceededError       the account behind the key has no credit left
    │   ├── BudgetExceededError      the next request could pass one of our own dollar limits
    │   └── TextRefusedError         but this one: a text cannot be embedded, while others can
    └── DocumentError                a document cannot become chunks

Messages name settings, hashes, files and counts, and say what to do next. They never contain chunk text or secrets.
"""

from decimal import Decimal


class EmbeddingAssetsError(Exception):
    """Base of all errors of this package."""


class ConfigurationError(EmbeddingAssetsError):
    """A setting is missing, malformed or contradicts another; the message names the environment variable."""


class SpaceMismatchError(ConfigurationError):
    """The settings describe another vector space than the one that owns the column."""


class TableNotAdoptedError(ConfigurationError):
    """The table was not made by this package, which therefore changes nothing about it until it is adopted."""


class ImportRefusedError(ConfigurationError):
    """Vectors of another tool are not what the named model makes of these texts; the message guesses why."""


class DatabaseError(EmbeddingAssetsError):
    """PostgreSQL refused or failed; what was committed before stays."""


class DatabaseUnavailableError(DatabaseError):
    """PostgreSQL cannot be reached, or was lost and did not come back in time."""


class DatabasePermissionError(DatabaseError):
    """The database role lacks a right that the message names."""


class PgvectorError(DatabaseError):
    """The pgvector extension is missing or older than this package needs."""


class RowRefusedError(DatabaseError):
    """A constraint, trigger or index of the table does not accept what was to be written; other rows may be fine."""


class TableRefusesError(RowRefusedError):
    """None of many rows could be written.

    Attributes:
        refused: hashes of those that were tried one by one.
    """

    def __init__(self, message: str, refused: frozenset[str] = frozenset()) -> None:
        super().__init__(message)  # alone, so that it can be pickled
        self.refused = refused


class ClusterError(EmbeddingAssetsError):
    """A cluster cannot be reached, lacks what a run needs, or its workers die; what was committed stays."""


class ModelUnavailableError(EmbeddingAssetsError):
    """The model is neither cached nor reachable, or its files cannot be used safely."""


class ProviderError(EmbeddingAssetsError):
    """A provider failed, and not because of one text; nothing is recorded against chunks."""


class ProviderUnavailableError(ProviderError):
    """A provider is down: time-outs, lost connections or server errors that did not pass in time."""


class RateLimitExceededError(ProviderError):
    """A provider goes on refusing for rate, or its limits leave no room within the time a caller would wait."""


class QuotaExceededError(ProviderError):
    """The provider bills no more to this account; every call stops until somebody pays."""


class BudgetExceededError(ProviderError):
    """The next request could pass a limit of ``EMBEDDING_BUDGET_…``; what was embedded before stays.

    Attributes:
        left_usd: dollars that the limit leaves for it.
    """

    def __init__(self, message: str, *, left_usd: Decimal = Decimal(0)) -> None:
        super().__init__(message)
        self.left_usd = left_usd


class TextRefusedError(ProviderError):
    """One text of a call of ``EmbeddingService`` cannot be embedded.

    Attributes:
        index: its position in the call.
        texts: how many the call had.
        code: why, in snake case, e.g. ``too_long``, ``refused`` or ``blank_text``.
    """

    def __init__(self, index: int, texts: int, code: str) -> None:
        super().__init__(index, texts, code)  # so that it can be pickled
        self.index = index
        self.texts = texts
        self.code = code

    def __str__(self) -> str:
        return f"text {self.index} of {self.texts} cannot be embedded: {self.code}"


class DocumentError(EmbeddingAssetsError):
    """A document cannot become chunks; the message names file and line."""
