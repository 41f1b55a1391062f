-- Takes the three tables away, with all that they hold.
DROP TABLE IF EXISTS execution_logs, execution_plans, provider_credentials;
