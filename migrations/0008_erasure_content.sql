-- Erasing may blank what the user sent, and leaves a trace of itself that names nobody.
alter table erasure add column blanks_content boolean not null default false;

-- Who did what, append-only, without personal data.
create table audit_event (
  id bigint generated always as identity primary key,
  at timestamptz not null default now(),
  app_id bigint not null,
  -- an API key's id, or `admin`
  actor text not null,
  action text not null,
  -- the keyed hash of the name it was done to
  subject_hash bytea not null
);
create index audit_event__app on audit_event (app_id, id);
