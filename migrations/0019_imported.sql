-- Messages that were brought along from a former system: they stand in the inbox like all others, and nobody is told of them.
alter table message add column is_imported boolean not null default false;
