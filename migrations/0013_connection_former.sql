-- A process asks once a second which of its connections another one has replaced, since it may have missed being told.
create index connection__former_process on connection (former_process_id) where former_process_id <> process_id;
