-- What the service itself keeps: the epoch of its sequences, its sealed secrets and its signing keys.
create table service (
  only_row boolean primary key default true check (only_row),
  -- identifies this run of sequence numbers; whoever restores a backup must change it
  epoch uuid not null default gen_random_uuid(),
  created_at timestamptz not null default now()
);
insert into service default values;

-- Secrets the service made for itself, each a JWE under IMID_SECRET.
create table sealed_secret (
  purpose text primary key,
  sealed text not null,
  created_at timestamptz not null default now()
);

create table signing_key (
  kid text primary key,
  alg text not null,
  state text not null check (state in ('next', 'current', 'retired')),
  public_jwk jsonb not null,
  -- the private JWK as a JWE under IMID_SECRET
  sealed_private_jwk text not null,
  created_at timestamptz not null default now(),
  retired_at timestamptz
);
create unique index signing_key__current on signing_key (state) where state = 'current';
