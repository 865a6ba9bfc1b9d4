"""What an instance has cost, summed exactly."""

import json
from dataclasses import dataclass
from decimal import Context, Decimal

from runner_protocol.strict_json import encode_parsed

_EXACT = Context(prec=100)
"""One amount has 33 digits at most, so no sum of them is ever rounded, whatever precision the program has set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Money in US dollars, and the tokens of language models."""

    cost_usd: Decimal = Decimal(0)
    input_tokens: int = 0
    output_tokens: int = 0

    def plus(self, other: "Usage") -> "Usage":
        """Both together."""
        return Usage(
            cost_usd=_EXACT.add(self.cost_usd, other.cost_usd),
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
        )

    @property
    def json(self) -> bytes:
        """As the wire writes it: the cost is a text in decimal digits, without zeros at its end."""
        cost = f"{self.cost_usd:f}"
        return encode_parsed(
            {
                "cost_usd": cost.rstrip("0").rstrip(".") if "." in cost else cost,
                "input_tokens": self.input_tokens,
                "output_tokens": self.output_tokens,
            }
        )

    @staticmethod
    def from_json(text: bytes) -> "Usage":
        """What `json` wrote, or a runner's note of which parts may be missing."""
        values = json.loads(text)
        return Usage(
            cost_usd=_EXACT.create_decimal(values.get("cost_usd", "0")),
            input_tokens=values.get("input_tokens", 0),
            output_tokens=values.get("output_tokens", 0),
        )
