-- Whose tokens an app takes in exchange for ours: issuers that its customer runs, with the keys they sign with.
create table issuer (
  app_id bigint not null references app (id) on delete cascade,
  name text collate "C" not null,
  issuer text not null,
  audiences text[] not null,
  jwks_url text,
  -- JSON
  jwks text,
  algorithms text[] not null,
  subject_claim text not null,
  clock_skew_seconds integer not null,
  registers boolean not null,
  created_at timestamptz not null default now(),
  changed_at timestamptz not null default now(),
  primary key (app_id, name),
  check ((jwks_url is null) <> (jwks is null))
);
-- One token is never good in two ways in one app; and it is found whom it is good for, when the app isn't said.
create unique index issuer__issuer on issuer (issuer, app_id);
