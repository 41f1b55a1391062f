-- What there is before migration 002.
CREATE TABLE users (
    id varchar(64) PRIMARY KEY,
    name text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- One row for each run of a job of the scheduler.
CREATE TABLE scheduler_runs (
    id bigserial PRIMARY KEY,
    job varchar(64) NOT NULL,
    status varchar(16) NOT NULL,
    error text,
    timestamp timestamptz NOT NULL DEFAULT clock_timestamp()
);

GRANT SELECT, INSERT ON users, scheduler_runs TO pilot2_app;
GRANT USAGE ON SEQUENCE scheduler_runs_id_seq TO pilot2_app;
