-- Where the backend of an app is told what happens, and what it has not been told yet.
create table webhook (
  app_id bigint primary key references app (id) on delete cascade,
  url text not null,
  -- the types of events that it is told
  events text[] not null,
  -- its secrets: JSON as a JWE under IMID_SECRET
  sealed text not null,
  changed_at timestamptz not null default clock_timestamp(),
  -- since when it is told nothing, because it answered that it is gone
  disabled_at timestamptz
);

-- Written by the transaction in which it happens, and deleted once it was told. No uid and no userId stands in it, so that who
-- was erased is in none of it, and who was renamed is told of by the new name.
create table webhook_event (
  app_id bigint not null references webhook (app_id) on delete cascade,
  -- begins with the time at which it happened
  id uuid not null,
  type text not null,
  at timestamptz not null,
  -- whom it is about, and who sent the message, where it is about one
  user_id bigint not null,
  sender_id bigint,
  -- JSON text
  data text not null,
  -- how often it was taken to be told; also says to whoever has taken it whether somebody else did since
  attempts integer not null default 0,
  -- when it is to be taken; while somebody is at it, when that one is taken for gone
  due_at timestamptz not null,
  primary key (app_id, id),
  foreign key (app_id, user_id) references identity (app_id, id) on delete cascade
) with (fillfactor = 70);
create index webhook_event__due on webhook_event (app_id, due_at);

-- Up to where the backend of an app was told of what has come for a user who wasn't there.
create table offline_told (
  app_id bigint not null,
  identity_id bigint not null,
  seq bigint not null,
  primary key (app_id, identity_id),
  foreign key (app_id, identity_id) references identity (app_id, id) on delete cascade
) with (fillfactor = 80);
