-- The audit trail: one row for each change of a task's status, and for each change that was refused.
CREATE TABLE IF NOT EXISTS task_status_history (
    id bigserial PRIMARY KEY,
    task_id uuid NOT NULL REFERENCES content_tasks (id) ON DELETE CASCADE,
    old_status varchar(50),
    new_status varchar(50) NOT NULL,
    reason text,
    changed_by varchar(255),
    timestamp timestamptz NOT NULL DEFAULT clock_timestamp(),
    metadata jsonb NOT NULL DEFAULT '{}'
);

-- A task's trail, the newest first.
CREATE INDEX IF NOT EXISTS idx_task_status_history_task_id_timestamp
    ON task_status_history (task_id, timestamp DESC);
-- Failures, of one task or over a time.
CREATE INDEX IF NOT EXISTS idx_task_status_history_new_status
    ON task_status_history (new_status, timestamp DESC);
-- The latest changes of all tasks, and what is old enough for the archive.
CREATE INDEX IF NOT EXISTS idx_task_status_history_timestamp
    ON task_status_history (timestamp DESC);
