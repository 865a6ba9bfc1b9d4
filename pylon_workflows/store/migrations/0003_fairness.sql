-- What is runnable is read workflow by workflow, so that none waits behind another's backlog.
DROP INDEX instances_runnable;
CREATE INDEX instances_runnable ON instances (name, key) WHERE status IN ('pending', 'running') AND due_at IS NULL;

ALTER TABLE definitions ADD COLUMN max_in_flight INTEGER;
