"""Why an object store refused, in a sentence of ours: what it says itself may hold keys, addresses or names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from embedding_assets.documents.stores.store import StoreError

_CREDENTIALS: Final = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_SKIP_SIGNATURE=true for a public bucket",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS, or GOOGLE_SKIP_SIGNATURE=true for a public bucket",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or AZURE_SKIP_SIGNATURE=true for a public one",
}


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of failure.

    Attributes:
        pattern: by which the client's own words are known.
        reason: what to say instead; ``{credentials}`` are the variables that the store's are in.
        is_transient: see ``StoreError``.
        is_missing: see ``StoreError``.
    """

    pattern: str
    reason: str
    is_transient: bool = False
    is_missing: bool = False


_KINDS: Final = (
    # Asked for where nothing else is set.
    _Kind(
        r"token request|/latest/api/token|/latest/meta-data|/computeMetadata/|/metadata/identity|\bMissing\w+",
        "there are no credentials; set {credentials}",
    ),
    _Kind(r"NoSuchBucket|BucketNotFound|ContainerNotFound", "there is no such bucket", is_missing=True),
    _Kind(
        r"BareRedirect|PermanentRedirect|AuthorizationHeaderMalformed|IllegalLocationConstraint",
        "the bucket is in another region; set AWS_REGION",
    ),
    _Kind(
        r"InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken|InvalidToken|AuthenticationFailed|\b401\b",
        "the store does not accept the credentials; check {credentials}",
    ),
    _Kind(
        r"\b403\b",
        "access is denied; check that the credentials may list the bucket and read its objects",
    ),
    _Kind(r"\b404\b", "it is not there any more", is_missing=True),
    _Kind(
        r"InvalidPath",
        "the name of an object in there cannot be read: a part of it, between slashes, is empty, . or ..; load the "
        "folders beside it",
    ),
    _Kind(r"\b(?:5\d\d|429)\b", "the store goes on failing; try again later", is_transient=True),
    _Kind(
        r"certificate|InvalidCertificate|UnknownIssuer|NotValidForName|InvalidContentType|HandshakeFailure|CorruptMessage",
        "the store's TLS certificate is not one that is trusted here, or its server speaks no TLS; a certificate "
        "authority of your own belongs into the system's certificates",
    ),
    _Kind(r"BadScheme", "the store may only be asked by https://"),
    _Kind(
        r"ContentRange|kind: (?:Body|Decode)|IncompleteMessage|UnexpectedEof|ContentLength",
        "the store's answer was cut off",
        is_transient=True,
    ),
    _Kind(r"TimedOut|kind: Timeout", "the store does not answer in time", is_transient=True),
    _Kind(
        r"kind: (?:Connect|Request)",
        "the store cannot be reached; check its address and the network",
        is_transient=True,
    ),
)

_NAMES: Final = re.compile(r'"(?:[^"\\]|\\.)*"|https?://[^\s,]*')


def failure(error: Exception, scheme: str) -> StoreError:
    """What a client raised, as an error that may be shown.

    Args:
        error: its own words are only looked at.
        scheme: of the store: ``s3``, ``gs`` or ``az``.
    """
    words = _without_names(error)
    for kind in _KINDS:
        if re.search(kind.pattern, words):
            reason = kind.reason.format(credentials=_CREDENTIALS[scheme])
            return StoreError(reason, is_transient=kind.is_transient, is_missing=kind.is_missing)
    return StoreError(f"the store's client failed ({type(error).__name__})")


def _without_names(error: Exception) -> str:
    """What is said of an error, without names of objects, which may say anything."""
    text = str(error)
    code = re.search(r"<Code>(\w+)</Code>", text)
    status = re.search(r"status code: (\d{3})", text)
    asked = re.search(r"performing \w+ https?://[^/\s]*(/latest/\S*|/computeMetadata/|/metadata/identity)", text)
    found = [one[1] for one in (code, status, asked) if one is not None]
    about, _, details = text.partition("Debug source:")
    is_token = "token request" if "performing token request" in about else ""
    return " ".join([type(error).__name__, *found, is_token, _NAMES.sub("", details)])
