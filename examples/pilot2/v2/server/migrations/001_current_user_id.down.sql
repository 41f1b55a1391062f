DROP FUNCTION IF EXISTS current_user_id();
