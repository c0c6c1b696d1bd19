"""Values of a column of Arrow, as JSON would give them. Called by `parquet`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

NOT_THERE = "a value is not in the column's dictionary"
_ARGUMENTS = "arguments"


def values_of(column: pa.Array) -> list[Any]:
    """A column's values, as JSON would give them: what JSON has no type for becomes its text."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_dictionary(kind):
        words = values_of(column.dictionary)  # the repeated value is one object, however often it is repeated
        places = column.indices.to_pylist()
        if any(at is not None and not 0 <= at < len(words) for at in places):  # pyarrow has not looked
            raise pa.ArrowInvalid(NOT_THERE)
        return [None if at is None else words[at] for at in places]
    if pa.types.is_temporal(kind) or pa.types.is_decimal(kind):
        return values_of(column.cast(pa.string()))  # Python's own types hold less: no nanoseconds, no year 10000
    if _plain(kind):
        values: list[Any] = column.to_pylist()  # with maps_as_pydicts it is several times slower
    else:
        values = [_json(value) for value in column.to_pylist(maps_as_pydicts="lossy")]
    return [_lean(value) for value in values] if _has_arguments(kind) else values


def _has_arguments(kind: pa.DataType) -> bool:
    """Whether it has a tool call's arguments as a struct, whose fields are those of all rows' arguments."""
    import pyarrow as pa

    if pa.types.is_struct(kind):
        fields = [kind.field(at) for at in range(kind.num_fields)]
        return any(
            (each.name == _ARGUMENTS and pa.types.is_struct(each.type)) or _has_arguments(each.type) for each in fields
        )
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return lists and _has_arguments(kind.value_type)


def _lean(value: Any, *, within: bool = False) -> Any:
    """The value, without the nulls in arguments: they stand for what other rows' arguments have."""
    if isinstance(value, dict):
        return {
            key: _lean(each, within=within or key == _ARGUMENTS)
            for key, each in value.items()
            if not (within and each is None)
        }
    return [_lean(each, within=within) for each in value] if isinstance(value, list) else value


def _plain(kind: pa.DataType) -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return all(_plain(kind.field(at).type) for at in range(kind.num_fields))
    types = pa.types
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _plain(kind.value_type)
    text = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
    return bool(text or types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind))


def _json(value: Any) -> Any:
    match value:
        case None | str() | bool() | int() | float():
            return value
        case dict():
            return {str(key): _json(each) for key, each in value.items()}
        case list() | tuple():
            return [_json(each) for each in value]
        case bytes():  # text, where a writer did not say so
            return value.decode(errors="backslashreplace")
    return str(value)
