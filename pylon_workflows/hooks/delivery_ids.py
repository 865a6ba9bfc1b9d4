"""The id by which a sender's repeated delivery is known, as the id of the event that it is."""

import hashlib

from runner_protocol.fields import MAX_NAME_LENGTH


def event_id_of(senders: str, delivery_id: str) -> str:
    """The delivery's id, apart from those of other senders; its hash where it would be too long for an event's.

    Refused it never is: a sender that is told 4xx sends the event no more.
    """
    head = f"{senders}:" if senders else ""
    if len(head) + len(delivery_id) <= MAX_NAME_LENGTH:
        return head + delivery_id
    return f"{head}sha256-{hashlib.sha256(delivery_id.encode()).hexdigest()}"
