-- Who is connected where. Unlogged, since it is only true while processes run: a crash of Postgres empties it, and those
-- that still run write it again.
create unlogged table process (
  id uuid primary key,
  seen_at timestamptz not null default clock_timestamp()
);

create unlogged table connection (
  app_id bigint not null,
  identity_id bigint not null,
  device_id text collate "C" not null,
  process_id uuid not null,
  id uuid not null,
  scheme text not null,
  is_foreground boolean not null,
  -- when the token was issued: of two connections of a device, the one with the newer token stays
  token_at timestamptz not null,
  -- the connection that the device had before this one
  former_process_id uuid,
  former_id uuid,
  primary key (app_id, identity_id, device_id)
) with (fillfactor = 80);
create index connection__process on connection (process_id);
