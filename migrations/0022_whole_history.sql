-- A device that has asked for all there is is shown what was brought along, too, up to here, however often it is cut off.
alter table device add column whole_seq bigint not null default 0;
