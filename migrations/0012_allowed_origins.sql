-- From which pages a browser may connect: a token that got out is of no use on somebody else's page. None: from every one.
alter table app add column allowed_origins text[] not null default '{}';
