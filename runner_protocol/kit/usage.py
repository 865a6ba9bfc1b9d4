"""What something cost, as authors say it and as the wire carries it: never a binary fraction in between."""

from decimal import Context, Decimal, InvalidOperation

from runner_protocol.actions import Usage

_EXACT = Context(prec=100)
_PLACES = Decimal(1).scaleb(-18)
_MAX_COST = Decimal(10) ** 15
_MAX_COUNT = 2**53 - 1


def read_usage(cost_usd: Decimal | str | float, input_tokens: int, output_tokens: int) -> Usage:
    """Check amounts. A float is taken digit for digit as Python prints it; beyond 18 decimals is rounded.

    Raises:
        TypeError: an amount is of another type.
        ValueError: an amount is negative, not finite, no number or too large.
    """
    return Usage(
        cost_usd=_read_cost(cost_usd),
        input_tokens=_read_count("input_tokens", input_tokens),
        output_tokens=_read_count("output_tokens", output_tokens),
    )


def add_usage(first: Usage, second: Usage) -> Usage:
    """Both together, exactly."""
    return Usage(
        cost_usd=_written(_EXACT.add(Decimal(first.cost_usd), Decimal(second.cost_usd))),
        input_tokens=first.input_tokens + second.input_tokens,
        output_tokens=first.output_tokens + second.output_tokens,
    )


def _read_cost(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, (Decimal, str, int, float)):
        raise TypeError(f'cost_usd is a Decimal, a text such as "0.0123" or a number, not {type(value).__name__}')
    try:
        cost = Decimal(repr(value) if isinstance(value, float) else value)
    except InvalidOperation:
        cost = Decimal("NaN")
    if not cost.is_finite() or not 0 <= cost < _MAX_COST:
        raise ValueError(f"cost_usd is 0 or more dollars, and less than 10^15, not {str(value)[:60]!r}")
    return _written(cost.quantize(_PLACES, context=_EXACT))


def _written(cost: Decimal) -> str:
    text = f"{cost:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _read_count(what: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{what} is a whole number, not {type(value).__name__}")
    if not 0 <= value <= _MAX_COUNT:
        raise ValueError(f"{what} is a whole number from 0 to 2^53 - 1, not {value}")
    return value
