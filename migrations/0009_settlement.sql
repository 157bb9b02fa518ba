-- When names that were given up in one large act count for their next holders: one row settles them all.
create table settlement (
  app_id bigint not null,
  -- what name_since, held_from and held_until of the act's rows say: later than `at`, and nobody else's
  provisional timestamptz not null,
  -- what it stands for
  at timestamptz not null,
  primary key (app_id, provisional)
);

-- A name is looked for by its whole hash, which says its app as well; and rows come by the hundred thousand, in no order
-- that a tree could make use of.
drop index former_name__hash;
create index former_name__hash on former_name using hash (name_hash);
