-- An instance's present state, without what only its history holds. Times are microseconds since 1970, UTC.
CREATE TABLE instances (
    key INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    version TEXT,
    run INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    status TEXT NOT NULL,
    current_step INTEGER NOT NULL,
    waiting_for TEXT,
    due_at INTEGER,
    error TEXT,
    blocked_reason TEXT,
    max_retries INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    started_at INTEGER,
    completed_at INTEGER,
    idempotency_key TEXT,
    is_unannounced INTEGER NOT NULL DEFAULT 0
);

CREATE UNIQUE INDEX instances_by_idempotency_key ON instances (idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX instances_by_name ON instances (name);
CREATE INDEX instances_by_status ON instances (status);
CREATE INDEX instances_runnable ON instances (key) WHERE status IN ('pending', 'running') AND due_at IS NULL;
CREATE INDEX instances_due ON instances (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX instances_finished ON instances (completed_at) WHERE completed_at IS NOT NULL;
CREATE INDEX instances_unannounced ON instances (key) WHERE is_unannounced = 1;

-- All transitions. `body` is a JSON object of a transition's fields but its `*_json`, which is `payload`.
CREATE TABLE history (
    instance INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    type TEXT NOT NULL,
    at INTEGER NOT NULL,
    body TEXT NOT NULL,
    payload BLOB
);

CREATE UNIQUE INDEX history_by_instance ON history (instance, revision);

-- Durations are microseconds.
CREATE TABLE definitions (
    name TEXT PRIMARY KEY NOT NULL,
    version TEXT,
    description TEXT,
    max_retries INTEGER NOT NULL,
    step_timeout INTEGER NOT NULL,
    initial_backoff INTEGER NOT NULL,
    maximum_backoff INTEGER NOT NULL
);
