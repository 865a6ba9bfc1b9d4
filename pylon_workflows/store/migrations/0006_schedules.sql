-- What starts a workflow again and again. Times are microseconds since 1970, UTC; `input` and `tags` are JSON.
-- `next_at` is null while it is paused.
CREATE TABLE schedules (
    id TEXT PRIMARY KEY NOT NULL,
    cron TEXT NOT NULL,
    timezone TEXT NOT NULL,
    name TEXT NOT NULL,
    input BLOB NOT NULL,
    missed TEXT NOT NULL,
    tags TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    next_at INTEGER,
    is_paused INTEGER NOT NULL,
    last_at INTEGER,
    last_instance_id TEXT
);

CREATE INDEX schedules_due ON schedules (next_at) WHERE next_at IS NOT NULL;
