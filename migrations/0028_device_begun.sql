-- Where a device began: what stands up to there it was spared, and has not handled, though it counts as acked there.
alter table device add column begun_seq bigint not null default 0;
