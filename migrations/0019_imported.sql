alter table message add column is_imported boolean not null default false;
