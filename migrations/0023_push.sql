-- What a device can be reached by while it isn't connected. A push token belongs to one device of an app at a time.
alter table device add column platform text;
alter table device add column provider text;
alter table device add column push_token text;
alter table device add column environment text;
alter table device add column locale text;
alter table device add column app_version text;
-- since when it has this push token, and the jti of the token by which it was given
alter table device add column bound_at timestamptz;
alter table device add column bound_jti uuid;
create unique index device__push_token on device (app_id, provider, push_token) where push_token is not null;
create index device__bound_jti on device (app_id, bound_jti) where push_token is not null;
create index device__last_jti on device (app_id, last_jti) where push_token is not null;
-- up to which seq it was pushed, and when it is to be tried again
alter table device add column pushed_seq bigint not null default 0;
alter table device add column push_attempts integer not null default 0;
alter table device add column push_retry_at timestamptz;
-- what it may be showing of conversations: {<row of the peer, 0: gone>: [<seq>, <milliseconds of the epoch>]}
alter table device add column push_shown jsonb not null default '{}';

-- a device of it is, or was, bound
alter table identity add column has_push boolean not null default false;

-- Inboxes that have something to be pushed: written by the statement that stores the message, so that nothing is lost in
-- between. A row per inbox, however much is in it; `version` says whether more has come since somebody looked.
create table push_due (
  app_id bigint not null,
  identity_id bigint not null,
  version bigint not null default 1,
  due_at timestamptz not null,
  -- something that may be shown has been read, or recalled
  clears boolean not null default false,
  -- until then a worker is at it
  leased_until timestamptz,
  primary key (app_id, identity_id),
  foreign key (app_id, identity_id) references identity (app_id, id) on delete cascade
) with (fillfactor = 70);
create index push_due__due on push_due (due_at);

-- What a user wants to be told of by push; a user without a row: everything, at any time.
create table notification_setting (
  app_id bigint not null,
  identity_id bigint not null,
  quiet_from text,
  quiet_to text,
  quiet_zone text,
  paused_until timestamptz,
  shows_text boolean not null default true,
  primary key (app_id, identity_id),
  foreign key (app_id, identity_id) references identity (app_id, id) on delete cascade
);

-- Whose messages a user gets no push for; `until` null: until it says otherwise.
create table muted_peer (
  app_id bigint not null,
  owner_id bigint not null,
  peer_id bigint not null,
  position integer not null,
  until timestamptz,
  primary key (app_id, owner_id, peer_id),
  foreign key (app_id, owner_id) references identity (app_id, id) on delete cascade,
  foreign key (app_id, peer_id) references identity (app_id, id) on delete cascade
);
create index muted_peer__peer on muted_peer (app_id, peer_id);

-- What processes that share a key have agreed on: the one that came first holds for all. Sealed.
create table shared_token (
  name text primary key,
  sealed text not null,
  at timestamptz not null default clock_timestamp()
);

-- What an app proves itself to a provider with: JSON as a JWE under IMID_SECRET.
create table push_credential (
  app_id bigint not null references app (id) on delete cascade,
  provider text not null,
  sealed text not null,
  changed_at timestamptz not null default clock_timestamp(),
  -- when it is asked for dead tokens again, where the provider has a feed of them
  poll_at timestamptz not null default clock_timestamp(),
  primary key (app_id, provider)
);
create index push_credential__poll on push_credential (poll_at) where provider in ('xiaomi', 'oppo');

-- Pushes that were given up.
create table push_failure (
  app_id bigint not null references app (id) on delete cascade,
  id bigint generated always as identity,
  at timestamptz not null default clock_timestamp(),
  identity_id bigint,
  device_id text collate "C",
  provider text not null,
  message_id uuid not null,
  reason text not null,
  primary key (app_id, id),
  foreign key (app_id, identity_id) references identity (app_id, id) on delete cascade
);
alter table app add column push_when text not null default 'device' check (push_when in ('device', 'user'));
-- whether pushes may show what a message says
alter table app add column push_shows_text boolean not null default true;
-- by language: what a push says; JSON
alter table app add column push_templates jsonb not null default '{}';
