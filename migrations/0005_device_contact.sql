-- What hangs on a user beside its inbox: its devices with what each has acked, and its contact list.
create table device (
  app_id bigint not null,
  identity_id bigint not null,
  id text collate "C" not null,
  acked_seq bigint not null,
  last_seen_at timestamptz not null default now(),
  created_at timestamptz not null default now(),
  primary key (app_id, identity_id, id),
  foreign key (app_id, identity_id) references identity (app_id, id) on delete cascade
) with (fillfactor = 80);

create table contact (
  app_id bigint not null,
  owner_id bigint not null,
  contact_id bigint not null,
  position bigint not null,
  display_name text,
  -- JSON text, opaque
  data text,
  primary key (app_id, owner_id, contact_id),
  foreign key (app_id, owner_id) references identity (app_id, id) on delete cascade,
  foreign key (app_id, contact_id) references identity (app_id, id) on delete cascade
);
create index contact__position on contact (app_id, owner_id, position);
create index contact__contact on contact (app_id, contact_id);
