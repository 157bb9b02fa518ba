-- Signing keys rotate: two stand by, one signs, and those that signed before verify until their last token is over.
alter table signing_key
  -- since when it signs, or did; null while it stands by
  add column current_since timestamptz,
  -- of a retired one there is none any more
  alter column sealed_private_jwk drop not null;
update signing_key set current_since = created_at where state <> 'next';

-- Counts the changes of the keys, so that every process learns of one when it says that it is here.
alter table service add column keys_version bigint not null default 0;
