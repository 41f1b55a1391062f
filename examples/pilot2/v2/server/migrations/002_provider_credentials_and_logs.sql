-- Credentials, plans and logs of each user, which row-level security keeps from all others.

CREATE TABLE provider_credentials (
    id bigserial PRIMARY KEY,
    user_id varchar(64) NOT NULL,
    provider varchar(64) NOT NULL,
    type varchar(32) NOT NULL,
    encrypted_value text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (user_id, provider, type)
);

CREATE TABLE execution_plans (
    id bigserial PRIMARY KEY,
    user_id varchar(64) NOT NULL,
    name text NOT NULL,
    original_prompt text NOT NULL,
    steps jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE execution_logs (
    id bigserial PRIMARY KEY,
    user_id varchar(64) NOT NULL,
    provider varchar(64) NOT NULL,
    action varchar(64) NOT NULL,
    status varchar(16) NOT NULL,
    latency_ms double precision NOT NULL,
    error text,
    timestamp timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- What is asked at each look at a provider.
CREATE INDEX idx_execution_logs_timestamp_provider ON execution_logs (timestamp, provider);
CREATE INDEX idx_execution_logs_user_id ON execution_logs (user_id, timestamp);
CREATE INDEX idx_execution_plans_user_id ON execution_plans (user_id);

ALTER TABLE provider_credentials ENABLE ROW LEVEL SECURITY;
ALTER TABLE provider_credentials FORCE ROW LEVEL SECURITY;
CREATE POLICY provider_credentials_select ON provider_credentials FOR SELECT USING (user_id = current_user_id());
CREATE POLICY provider_credentials_insert ON provider_credentials FOR INSERT WITH CHECK (user_id = current_user_id());
CREATE POLICY provider_credentials_update ON provider_credentials FOR UPDATE USING (user_id = current_user_id());
CREATE POLICY provider_credentials_delete ON provider_credentials FOR DELETE USING (user_id = current_user_id());
GRANT SELECT, INSERT, UPDATE, DELETE ON provider_credentials TO pilot2_app;
GRANT USAGE ON SEQUENCE provider_credentials_id_seq TO pilot2_app;

ALTER TABLE execution_plans ENABLE ROW LEVEL SECURITY;
ALTER TABLE execution_plans FORCE ROW LEVEL SECURITY;
CREATE POLICY execution_plans_select ON execution_plans FOR SELECT USING (user_id = current_user_id());
CREATE POLICY execution_plans_insert ON execution_plans FOR INSERT WITH CHECK (user_id = current_user_id());
CREATE POLICY execution_plans_update ON execution_plans FOR UPDATE USING (user_id = current_user_id());
CREATE POLICY execution_plans_delete ON execution_plans FOR DELETE USING (user_id = current_user_id());
GRANT SELECT, INSERT, UPDATE, DELETE ON execution_plans TO pilot2_app;
GRANT USAGE ON SEQUENCE execution_plans_id_seq TO pilot2_app;

ALTER TABLE execution_logs ENABLE ROW LEVEL SECURITY;
ALTER TABLE execution_logs FORCE ROW LEVEL SECURITY;
CREATE POLICY execution_logs_select ON execution_logs FOR SELECT USING (user_id = current_user_id());
CREATE POLICY execution_logs_insert ON execution_logs FOR INSERT WITH CHECK (user_id = current_user_id());
CREATE POLICY execution_logs_update ON execution_logs FOR UPDATE USING (user_id = current_user_id());
CREATE POLICY execution_logs_delete ON execution_logs FOR DELETE USING (user_id = current_user_id());
GRANT SELECT, INSERT, UPDATE, DELETE ON execution_logs TO pilot2_app;
GRANT USAGE ON SEQUENCE execution_logs_id_seq TO pilot2_app;
