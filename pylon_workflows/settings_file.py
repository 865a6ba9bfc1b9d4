"""Settings from a TOML file, for `serve --settings`: the fields of `EngineSettings`.

retain_finished_for = "7d"
max_in_flight = 64
"""

from datetime import timedelta
from os import PathLike
from typing import Any, get_args, get_type_hints

from pylon_workflows.declared_types import check_type
from pylon_workflows.errors import InvalidInputError
from pylon_workflows.settings import EngineSettings
from pylon_workflows.toml_files import read_toml
from runner_protocol.durations import DurationError, parse_duration

_FOREVER = "forever"
_WITHOUT_LIMIT = ("retain_finished_for", "max_history")

_KINDS: dict[str, tuple[type, ...]] = {
    name: get_args(hint) or (hint,) for name, hint in get_type_hints(EngineSettings).items()
}


def load_settings(path: str | PathLike[str]) -> dict[str, Any]:
    """What the file says, as `EngineSettings` takes it. A duration is a text such as "7d"; "forever" is None.

    Raises:
        InvalidInputError: the file cannot be read, or names no setting, or a value of another kind; the message names
            the file and the setting. Whether the values make sense is for `EngineSettings` to say.
    """
    try:
        return {name: _value(name, value) for name, value in read_toml(path).items()}
    except InvalidInputError as error:
        raise InvalidInputError(f"{path}: {error}") from None


def _value(name: str, value: Any) -> Any:
    kinds = _KINDS.get(name)
    if kinds is None:
        raise InvalidInputError(f"{name!r:.60} is no setting; there are {', '.join(_KINDS)}")
    if value == _FOREVER and name in _WITHOUT_LIMIT:
        return None
    if timedelta in kinds:
        if not isinstance(value, str):
            raise InvalidInputError(f"{name}: must be a duration as a text, such as '7d', not {value!r:.60}")
        try:
            return parse_duration(value)
        except DurationError as error:
            raise InvalidInputError(f"{name}: {error}") from None
    check_type(value, kinds[0], name)
    return value
