-- What an inbox looks like by whom it is with. It is brought up to date when somebody asks for it, so that storing a message
-- costs nothing for it: `listed_seq` says how far.
alter table identity add column listed_seq bigint not null default 0;
-- whether others are shown when this user is online
alter table identity add column hides_presence boolean not null default false;
-- counts the changes of its blocks: who has others in memory reads them anew
alter table identity add column blocks_version integer not null default 0;

create table conversation (
  app_id bigint not null,
  owner_id bigint not null,
  peer_id bigint not null,
  -- in the owner's inbox: its newest message, and the one up to which the owner has read
  last_seq bigint not null,
  read_seq bigint not null default 0,
  unread bigint not null default 0,
  -- what a receipt says
  read_id uuid,
  read_at timestamptz,
  primary key (app_id, owner_id, peer_id),
  foreign key (app_id, owner_id) references identity (app_id, id) on delete cascade,
  foreign key (app_id, peer_id) references identity (app_id, id) on delete cascade
);
create index conversation__last on conversation (app_id, owner_id, last_seq);
create index conversation__peer on conversation (app_id, peer_id);

-- Whose messages a user doesn't want, from which seq of its inbox on, and up to which: they stand in the inbox and are
-- shown to nobody, so that their sender can't tell.
create table block (
  app_id bigint not null,
  owner_id bigint not null,
  blocked_id bigint not null,
  since_seq bigint not null,
  -- null: still
  until_seq bigint,
  position integer not null,
  primary key (app_id, owner_id, blocked_id, since_seq),
  foreign key (app_id, owner_id) references identity (app_id, id) on delete cascade,
  foreign key (app_id, blocked_id) references identity (app_id, id) on delete cascade
);
create index block__blocked on block (app_id, blocked_id);
