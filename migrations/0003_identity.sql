-- One user, one row, two names: everything that belongs to a user refers to this row, never to a name.
create table identity (
  app_id bigint not null references app (id),
  id bigint generated always as identity,
  -- the uid or userId, compared byte for byte
  name text collate "C" not null,
  -- null: not registered, the imId is composed
  im_id uuid,
  -- since when this row has its name; null: nobody had it before in a way that matters (see former_name)
  name_since timestamptz,
  -- the inbox's counter: the seq of its newest message
  last_seq bigint not null default 0,
  last_seen_at timestamptz,
  created_at timestamptz not null default now(),
  primary key (app_id, id)
) with (fillfactor = 80);
create unique index identity__name on identity (app_id, name);
create unique index identity__im_id on identity (app_id, im_id);

-- Names that were given up, with times: a token acts as whoever held its name when it was issued.
-- The name is found by a keyed hash, so that an erased one need not be kept.
create table former_name (
  app_id bigint not null,
  id bigint generated always as identity,
  name_hash bytea not null,
  -- null: the user was erased
  name text collate "C",
  identity_id bigint,
  held_from timestamptz,
  held_until timestamptz not null,
  primary key (app_id, id)
);
create index former_name__hash on former_name (app_id, name_hash, held_until);
create index former_name__identity on former_name (app_id, identity_id);
