-- Merging: the row of a user that was merged into another stays, as a stub that keeps its name and its imId leading there.
alter table identity
  -- of a stub: the row of the user it is now, which is never a stub itself
  add column merged_into bigint,
  -- whether messages of a user that was merged into this one are still on their way
  add column is_merging boolean not null default false;
create index identity__merged_into on identity (app_id, merged_into) where merged_into is not null;

-- Whether names of the app may stand for another user than their own, so that a look-up is needed to tell.
alter table app add column has_aliases boolean not null default false;

-- What was merged, with how many messages came along so far; one that is not finished goes on after a crash.
create table merger (
  app_id bigint not null,
  from_id bigint not null,
  into_id bigint not null,
  -- the imId that the user brought along, if the other one had none
  im_id uuid,
  messages bigint not null default 0,
  finished_at timestamptz,
  created_at timestamptz not null default now(),
  primary key (app_id, from_id),
  foreign key (app_id, from_id) references identity (app_id, id) on delete cascade
);
create index merger__into on merger (app_id, into_id);
create index merger__unfinished on merger (app_id) where finished_at is null;
