-- Messages, one row each: it stands in the recipient's inbox by recipient_seq and in the sender's by sender_seq.
create table message (
  app_id bigint not null,
  id uuid not null,
  -- null: the user was erased; a message to oneself stands in the inbox once, as received
  sender_id bigint,
  sender_seq bigint,
  recipient_id bigint,
  recipient_seq bigint,
  -- the sender's own id of it, and the place in a list of recipients: what repeats are known by
  client_id text collate "C" not null,
  part integer not null,
  -- JSON text, as it was read
  content text not null,
  push text,
  at timestamptz not null,
  primary key (app_id, id)
);
create unique index message__client_id on message (app_id, sender_id, client_id, part);
create unique index message__sender on message (app_id, sender_id, sender_seq);
create unique index message__recipient on message (app_id, recipient_id, recipient_seq);
