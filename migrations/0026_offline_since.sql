-- Since when the backend of an app is told of messages for who isn't there, without a break: a changed URL or secret is none.
alter table webhook add column offline_since timestamptz not null default clock_timestamp();
update webhook set offline_since = changed_at;
