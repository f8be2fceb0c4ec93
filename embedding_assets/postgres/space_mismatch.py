"""In words, why a space cannot be registered, and what to set."""

from __future__ import annotations

from embedding_assets.spaces import MOST_DIMENSIONS, IndexType, SpaceColumn, VectorSpace, most_dimensions

_SETTING_OF = {
    "provider": "EMBEDDING_PROVIDER",
    "model": "EMBEDDING_MODEL_NAME",
    "revision": "EMBEDDING_MODEL_REVISION",
    "dimensions": "EMBEDDING_DIMENSIONS",
    "max_tokens": "EMBEDDING_MAX_SEQ_LENGTH",
    "prompt": "EMBEDDING_DOCUMENT_PROMPT",
}
_API_SETTING_OF = {
    "provider": "EMBEDDING_PROVIDER",
    "model": "EMBEDDING_OPENAI_MODEL",
    "revision": "EMBEDDING_OPENAI_BASE_URL",
    "dimensions": "EMBEDDING_OPENAI_DIMENSIONS",
    "max_tokens": "EMBEDDING_OPENAI_MAX_INPUT_TOKENS",
    "prompt": "EMBEDDING_DOCUMENT_PROMPT",
}

_NAME_OF_PLACE = {"openai": "revision", "local": "model"}
"""The attribute that says where a model is: on which server, or in which folder."""


def too_long(space: VectorSpace, index_type: IndexType | None) -> str:
    """That an index cannot have vectors of so many dimensions."""
    larger = next((one for one, most in MOST_DIMENSIONS.items() if most >= space.dimensions), None)
    remedy = "choose another model, or shorter vectors where the model can make them"
    if larger is not None:
        remedy = f"set EMBEDDING_INDEX_TYPE={larger}, which can have {MOST_DIMENSIONS[larger]:,}, or {remedy}"
    kind = f" with EMBEDDING_INDEX_TYPE={index_type}" if index_type else ""
    return (
        f"{space.model} makes vectors of {space.dimensions:,} dimensions, and an index{kind} can have at most "
        f"{most_dimensions(index_type):,}; {remedy}"
    )


def mismatch(space: VectorSpace, known: list[SpaceColumn]) -> str:
    """That the settings describe another space than the table is embedded in."""
    own = [column for column in known if column.space.provider == space.provider] or known
    column = next((column for column in own if column.serving), own[0])
    lines = [f"the table is embedded in space {column.space.name}, but the settings describe {space.name}:"]
    setting_of = settings_of(space)
    if space.weights == column.space.weights:
        setting_of = {**setting_of, "revision": "EMBEDDING_PRECISION"}
    differences = space.differences(column.space)
    for name in differences:
        setting = f" ({setting_of[name]})" if name in setting_of else ""
        lines.append(f"  {name}{setting} is {getattr(space, name)!r}, the table's is {getattr(column.space, name)!r}")
    way = "unset these variables"
    if column.space.is_int8 and "revision" in differences:
        way = "set EMBEDDING_PRECISION=int8" + (" and unset the others" if len(differences) > 1 else "")
    if space.provider == column.space.provider == "openai" and "revision" in differences:
        others = " and unset the others" if len(differences) > 1 else ""
        way = f"set EMBEDDING_OPENAI_BASE_URL to the API at {column.space.revision}{others}"
    lines.append(
        f"{way} to go on with the table's model, "
        "or set EMBEDDING_NEW_SPACE=true to give the new one a column and an index of its own"
    )
    if differences == [_NAME_OF_PLACE.get(space.provider)]:
        hint = f"if it is the same model in a new place, run `embedding-assets spaces rename {column.space.name}`"
        server = column.space.revision.partition("?")[0]
        lines.append(f"{hint}, or set EMBEDDING_OPENAI_SERVER={server}" if space.provider == "openai" else hint)
    return "\n".join(lines)


def settings_of(space: VectorSpace) -> dict[str, str]:
    """Attribute of a space → the setting that it comes from."""
    return _API_SETTING_OF if space.provider == "openai" else _SETTING_OF
