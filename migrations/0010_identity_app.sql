-- The check of this key, row by row, was a third of what bringing a user in costs. Each statement that brings users in locks
-- their app once instead, so that there is none without an app.
alter table identity drop constraint identity_app_id_fkey;
