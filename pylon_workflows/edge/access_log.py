"""What the log of requests (`serve --access-log`) shows of them: paths without what is nobody else's business."""

import logging
from collections.abc import Callable


class ShownPaths(logging.Filter):
    """For uvicorn's logger of requests: a path as `shown` lets it be seen, and no query."""

    def __init__(self, shown: Callable[[str], str]) -> None:
        super().__init__()
        self._shown = shown

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record; it is always logged."""
        match record.args:
            case (peer, method, str(path), *rest):
                record.args = (peer, method, self._shown(path.partition("?")[0]), *rest)
            case _:
                pass
        return True
