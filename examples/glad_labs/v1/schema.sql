-- The schema of version 1.
CREATE TABLE IF NOT EXISTS content_tasks (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    title text NOT NULL,
    status varchar(50) NOT NULL DEFAULT 'pending',
    metadata jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX IF NOT EXISTS idx_content_tasks_created_at ON content_tasks (created_at DESC);
CREATE INDEX IF NOT EXISTS idx_content_tasks_status_created_at ON content_tasks (status, created_at DESC);

-- What happened to a task before there was an audit trail; nothing is written here any more.
CREATE TABLE IF NOT EXISTS task_events (
    id bigserial PRIMARY KEY,
    task_id uuid NOT NULL REFERENCES content_tasks ON DELETE CASCADE,
    event varchar(50) NOT NULL,
    at timestamptz NOT NULL,
    payload jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX IF NOT EXISTS idx_task_events_task_id ON task_events (task_id);
