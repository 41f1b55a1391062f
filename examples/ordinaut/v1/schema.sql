-- What version 1 runs on.
CREATE TABLE IF NOT EXISTS agent (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name text NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE IF NOT EXISTS task (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    title text NOT NULL,
    description text NOT NULL DEFAULT '',
    schedule_kind text NOT NULL CHECK (schedule_kind IN ('once', 'every')),
    schedule_expr text NOT NULL,
    payload jsonb NOT NULL,
    next_run timestamptz,
    created_by uuid NOT NULL REFERENCES agent,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS task_next_run ON task (next_run) WHERE next_run IS NOT NULL;
CREATE INDEX IF NOT EXISTS task_created_at ON task (created_at);
CREATE TABLE IF NOT EXISTS due_work (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    task_id uuid NOT NULL REFERENCES task ON DELETE CASCADE,
    run_at timestamptz NOT NULL,
    locked_until timestamptz,
    locked_by text,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS due_work_run_at ON due_work (run_at);
CREATE TABLE IF NOT EXISTS task_run (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    task_id uuid NOT NULL REFERENCES task ON DELETE CASCADE,
    started_at timestamptz NOT NULL,
    finished_at timestamptz,
    error text,
    worker text NOT NULL
);
CREATE INDEX IF NOT EXISTS task_run_task_id ON task_run (task_id);
CREATE INDEX IF NOT EXISTS task_run_started_at ON task_run (started_at);
CREATE TABLE IF NOT EXISTS audit_log (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    actor_agent_id uuid NOT NULL REFERENCES agent,
    action text NOT NULL,
    subject_id uuid,
    details jsonb NOT NULL DEFAULT '{}'
);
CREATE TABLE IF NOT EXISTS worker (
    name text PRIMARY KEY,
    seen_at timestamptz NOT NULL DEFAULT now()
);
