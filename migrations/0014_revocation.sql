-- Tokens that count no more before they are over: those of a user, of a device or of an app that were issued before a time,
-- and single ones.
alter table app add column tokens_from timestamptz;
alter table identity add column tokens_from timestamptz;
-- what a user that was merged into another one had revoked
alter table former_name add column tokens_from timestamptz;
alter table device
  add column tokens_from timestamptz,
  -- of the token that its last connection ended with
  add column last_jti uuid;
alter table connection add column jti uuid;
-- by an imId that went over to another row, what was revoked of the one that had it
create index merger__im_id on merger (app_id, im_id) where im_id is not null;

-- What processes follow. Of a single token it is all there is, until that would have expired; the rest stands above as well,
-- and only closes connections that are open.
create table revocation (
  -- who has read everything below the xmin of a snapshot finds whatever comes later by this
  xid xid8 not null default pg_current_xact_id(),
  app_id bigint not null references app (id) on delete cascade,
  -- one of them; without any, all of the app
  jti uuid,
  identity_id bigint,
  device_id text collate "C",
  -- tokens that were issued before; null with a jti
  tokens_from timestamptz,
  expires_at timestamptz not null
);
create index revocation__xid on revocation (xid);
create index revocation__expires_at on revocation (expires_at);
create unique index revocation__jti on revocation (app_id, jti) where jti is not null;
