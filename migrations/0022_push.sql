-- What a device can be reached by while it isn't connected. A push token belongs to one device of an app at a time.
alter table device add column platform text;
alter table device add column provider text;
alter table device add column push_token text;
alter table device add column environment text;
alter table device add column locale text;
alter table device add column app_version text;
-- since when it has this push token, and the jti of the token by which it was given
alter table device add column bound_at timestamptz;
alter table device add column bound_jti uuid;
create unique index device__push_token on device (app_id, provider, push_token) where push_token is not null;
create index device__bound_jti on device (app_id, bound_jti) where push_token is not null;
create index device__last_jti on device (app_id, last_jti) where push_token is not null;
