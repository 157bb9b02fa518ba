-- API keys that end, and when each was used last; and an audit trail of every act, which nobody can change any more.
alter table api_key
  add column expires_at timestamptz,
  add column last_used_at timestamptz;

-- The trail stays when an app goes, and tells of acts that are about no app or no user.
alter table audit_event
  alter column app_id drop not null,
  alter column subject_hash drop not null,
  -- what it was done with, where that isn't personal: the id of a key, the name of an operation
  add column target text,
  -- how many times it was done, since key uses are counted
  add column count bigint not null default 1 check (count > 0);
create index audit_event__subject on audit_event (app_id, subject_hash, id) where subject_hash is not null;
create index audit_event__actor on audit_event (actor, id);
create index audit_event__action on audit_event (action, id);
create index audit_event__at on audit_event (at);

create function refuse_change() returns trigger language plpgsql as $$
begin
  raise exception 'the audit trail is append-only' using errcode = 'restrict_violation';
end $$;
create trigger append_only before update or delete or truncate on audit_event
  for each statement execute function refuse_change();

-- Ids are committed out of order, so that who follows the trail would miss what comes late. Each transaction that writes
-- events says so by a lock, before the first of them has its id: those above its floor are on their way until it ends.
-- The key of the lock is 71 in the upper 14 bits, the floor in the lower 50.
create function announce_audit_events() returns trigger language plpgsql as $$
begin
  perform pg_advisory_xact_lock_shared((71::bigint << 50) + last_value - 1) from audit_event_id_seq;
  return null;
end $$;
create trigger announce before insert on audit_event
  for each statement execute function announce_audit_events();

-- Up to which id a statement that begins after this has returned sees all events there will ever be.
create function settled_audit_id() returns bigint language plpgsql volatile as $$
declare
  newest bigint;
  floor bigint;
begin
  select last_value into newest from audit_event_id_seq; -- first: what is announced later has a higher id
  select min(key & ((1::bigint << 50) - 1)) into floor
    from (
      select classid::bigint << 32 | objid::bigint as key from pg_locks
      where locktype = 'advisory' and objsubid = 1
        and database = (select oid from pg_database where datname = current_database())
    ) held
    where key >> 50 = 71;
  return least(newest, floor);
end $$;
