-- When names that were given up in one large act count for their next holders: one row settles them all.
create table settlement (
  app_id bigint not null,
  -- what name_since, held_from and held_until of the act's rows say: later than `at`, and nobody else's
  provisional timestamptz not null,
  -- what it stands for
  at timestamptz not null,
  primary key (app_id, provisional)
);

-- Rows come by the hundred thousand, so no more indexes than are looked into: by name, and by user, in no order.
alter table former_name drop constraint former_name_pkey;
drop index former_name__hash;
alter table former_name add primary key (app_id, name_hash, id);
drop index former_name__identity;
create index former_name__identity on former_name using hash (identity_id);
-- Whether anything isn't settled yet is told by the newest rows.
create index former_name__held_until on former_name using brin (held_until) with (autosummarize = on);
