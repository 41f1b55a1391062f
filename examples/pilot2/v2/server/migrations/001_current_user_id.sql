-- For whom a transaction is, as the application has said by set_config('app.current_user_id', ..., true); the policies
-- of 002 call it, so that it comes first.
CREATE OR REPLACE FUNCTION current_user_id() RETURNS varchar LANGUAGE sql STABLE AS $$
    SELECT current_setting('app.current_user_id', true)::varchar;
$$;
