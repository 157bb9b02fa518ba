-- Up to where a connection without a device has handled the inbox, for as long as it lasts.
alter table connection add column acked_seq bigint not null default 0;
