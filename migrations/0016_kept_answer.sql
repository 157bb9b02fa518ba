-- Answers to requests that came with an Idempotency-Key, for whoever asks again because the answer never reached it.
create table kept_answer (
  -- 0: of requests about no app, which are the admin's
  app_id bigint not null,
  -- SHA-256, since callers put into keys what they like
  key_hash bytea not null,
  -- SHA-256 of the request, so that the key is taken for no other one
  fingerprint bytea not null,
  -- whose request it is that is being answered
  claim_id uuid not null,
  -- the answer as a JWE under IMID_SECRET, since there may be secrets in it; null while it is being made
  sealed text,
  -- from when on the key is as good as new; soon, while there is no answer, so that a process that ends blocks nobody
  expires_at timestamptz not null,
  primary key (app_id, key_hash)
);
create index kept_answer__expires_at on kept_answer (expires_at);
