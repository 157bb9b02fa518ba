-- A message that was recalled keeps its places, without its content; another message says so in both inboxes.
alter table message add column recalled_at timestamptz;
alter table message add column recalls uuid;
create index message__recalls on message (app_id, recalls) where recalls is not null;

alter table app add column recall_seconds integer not null default 120;
-- null: messages are kept for ever
alter table app add column retention_days integer;
alter table app add column shows_presence boolean not null default true;
