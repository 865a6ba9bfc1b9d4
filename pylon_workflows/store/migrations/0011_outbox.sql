-- Notices for receivers outside, until they are delivered. Times are microseconds since 1970, UTC. `receiver` is the
-- key of a receiver, which the configuration knows; `next_at` is when to try (again). The others are the instance's
-- columns as they were at the time `at`; `tags` is a JSON object.
CREATE TABLE outbox (
    key INTEGER PRIMARY KEY,
    receiver TEXT NOT NULL,
    message_id TEXT NOT NULL,
    at INTEGER NOT NULL,
    next_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    instance_id TEXT NOT NULL,
    name TEXT NOT NULL,
    version TEXT,
    run INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    status TEXT NOT NULL,
    error TEXT,
    blocked_reason TEXT,
    parent_id TEXT,
    tags TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    started_at INTEGER,
    completed_at INTEGER
);

CREATE INDEX outbox_due ON outbox (receiver, next_at);
CREATE INDEX outbox_by_age ON outbox (receiver, at);
