"""What a standby asks of the owner about instances in flight (see `owner_requests`)."""

from typing import Any
from urllib.parse import quote

from pydantic import TypeAdapter

from pylon_workflows.explain.shapes import Explanation
from pylon_workflows.ids import check_possible_id
from pylon_workflows.ownership.owner_requests import OwnerRequest, Reading

_EXPLANATION = TypeAdapter(Explanation)


def explain(instance_id: str) -> OwnerRequest[Explanation]:
    """Why an instance is where it is: of one that is being driven only the owner knows."""

    async def read(_status: int, answer: Any, _reading: Reading) -> Explanation:
        return _EXPLANATION.validate_python(answer)

    return OwnerRequest(
        method="GET",
        target=f"/{quote(check_possible_id(instance_id), safe='')}/explain",
        body=b"",
        call=lambda engine: engine.explain(instance_id),
        read=read,
    )
