-- Of senders it is asked whether they are merged, which few are.
create index identity__merged on identity (app_id, id) include (merged_into) where merged_into is not null;
