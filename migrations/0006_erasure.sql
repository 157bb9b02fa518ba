-- Users that were erased and whose messages are still being cleared away, so that it goes on after a crash.
create table erasure (
  app_id bigint not null,
  identity_id bigint not null,
  created_at timestamptz not null default now(),
  primary key (app_id, identity_id)
);
