-- How often each process let something be used in the current window, so that a quota holds over all of them. It may get
-- lost: it counts for seconds only.
create unlogged table quota_use (
  window_end timestamptz not null,
  -- which quota
  quota text not null,
  -- of whom it is
  holder text not null,
  process_id uuid not null,
  uses bigint not null,
  primary key (window_end, quota, holder, process_id)
) with (fillfactor = 50);
