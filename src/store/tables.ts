// The tables as Kysely sees them; a test holds this file against the migrated database.

import type { Generated } from 'kysely';

export interface Tables {
  service: {
    only_row: Generated<boolean>;
    epoch: Generated<string>;
    created_at: Generated<Date>;
    keys_version: Generated<number>;
  };
  sealed_secret: { purpose: string; sealed: string; created_at: Generated<Date> };
  signing_key: {
    kid: string;
    alg: string;
    state: 'next' | 'current' | 'retired';
    public_jwk: unknown;
    sealed_private_jwk: string | null;
    created_at: Generated<Date>;
    retired_at: Date | null;
    current_since: Date | null;
  };
  app: {
    id: Generated<number>;
    name: string;
    composed: boolean;
    registered: boolean;
    created_at: Generated<Date>;
    has_aliases: Generated<boolean>;
    allowed_origins: Generated<string[]>;
    tokens_from: Date | null;
    recall_seconds: Generated<number>;
    retention_days: number | null;
    shows_presence: Generated<boolean>;
    push_when: Generated<'device' | 'user'>;
    push_shows_text: Generated<boolean>;
    push_templates: Generated<unknown>;
  };
  api_key: {
    id: string;
    app_id: number;
    name: string;
    scopes: string[];
    secret_hash: Buffer;
    created_at: Generated<Date>;
    expires_at: Date | null;
    last_used_at: Date | null;
  };
  kept_answer: {
    app_id: number;
    key_hash: Buffer;
    fingerprint: Buffer;
    claim_id: string;
    sealed: string | null;
    expires_at: Date;
  };
  issuer: {
    app_id: number;
    name: string;
    issuer: string;
    audiences: string[];
    jwks_url: string | null;
    jwks: string | null;
    algorithms: string[];
    subject_claim: string;
    clock_skew_seconds: number;
    registers: boolean;
    created_at: Generated<Date>;
    changed_at: Generated<Date>;
  };
  identity: {
    app_id: number;
    id: Generated<number>;
    name: string;
    im_id: string | null;
    name_since: Date | null;
    last_seq: Generated<number>;
    last_seen_at: Date | null;
    created_at: Generated<Date>;
    merged_into: number | null;
    is_merging: Generated<boolean>;
    tokens_from: Date | null;
    listed_seq: Generated<number>;
    hides_presence: Generated<boolean>;
    blocks_version: Generated<number>;
    has_push: Generated<boolean>;
  };
  former_name: {
    app_id: number;
    id: Generated<number>;
    name_hash: Buffer;
    name: string | null;
    identity_id: number | null;
    held_from: Date | null;
    held_until: Date;
    tokens_from: Date | null;
  };
  settlement: { app_id: number; provisional: Date; at: Date };
  erasure: {
    app_id: number;
    identity_id: number;
    created_at: Generated<Date>;
    blanks_content: Generated<boolean>;
  };
  merger: {
    app_id: number;
    from_id: number;
    into_id: number;
    im_id: string | null;
    messages: Generated<number>;
    finished_at: Date | null;
    created_at: Generated<Date>;
  };
  audit_event: {
    id: Generated<number>;
    at: Generated<Date>;
    app_id: number | null;
    actor: string;
    action: string;
    subject_hash: Buffer | null;
    target: string | null;
    count: Generated<number>;
  };
  message: {
    app_id: number;
    id: string;
    sender_id: number | null;
    sender_seq: number | null;
    recipient_id: number | null;
    recipient_seq: number | null;
    client_id: string;
    part: number;
    content: string;
    push: string | null;
    at: Date;
    is_imported: Generated<boolean>;
    recalled_at: Date | null;
    recalls: string | null;
  };
  device: {
    app_id: number;
    identity_id: number;
    id: string;
    acked_seq: number;
    begun_seq: Generated<number>;
    whole_seq: Generated<number>;
    last_seen_at: Generated<Date>;
    created_at: Generated<Date>;
    tokens_from: Date | null;
    last_jti: string | null;
    platform: string | null;
    provider: string | null;
    push_token: string | null;
    environment: 'production' | 'sandbox' | null;
    locale: string | null;
    app_version: string | null;
    bound_at: Date | null;
    bound_jti: string | null;
    pushed_seq: Generated<number>;
    push_attempts: Generated<number>;
    push_retry_at: Date | null;
    push_shown: Generated<unknown>;
  };
  contact: {
    app_id: number;
    owner_id: number;
    contact_id: number;
    position: number;
    display_name: string | null;
    data: string | null;
  };
  conversation: {
    app_id: number;
    owner_id: number;
    peer_id: number;
    last_seq: number;
    read_seq: Generated<number>;
    unread: Generated<number>;
    read_id: string | null;
    read_at: Date | null;
  };
  block: {
    app_id: number;
    owner_id: number;
    blocked_id: number;
    since_seq: number;
    until_seq: number | null;
    position: number;
  };
  push_due: {
    app_id: number;
    identity_id: number;
    version: Generated<number>;
    due_at: Date;
    clears: Generated<boolean>;
    leased_until: Date | null;
  };
  notification_setting: {
    app_id: number;
    identity_id: number;
    quiet_from: string | null;
    quiet_to: string | null;
    quiet_zone: string | null;
    paused_until: Date | null;
    shows_text: Generated<boolean>;
  };
  muted_peer: {
    app_id: number;
    owner_id: number;
    peer_id: number;
    position: number;
    until: Date | null;
  };
  offline_told: { app_id: number; identity_id: number; seq: number };
  shared_token: { name: string; sealed: string; at: Generated<Date> };
  push_credential: {
    app_id: number;
    provider: string;
    sealed: string;
    changed_at: Generated<Date>;
    poll_at: Generated<Date>;
  };
  push_failure: {
    app_id: number;
    id: Generated<number>;
    at: Generated<Date>;
    identity_id: number | null;
    device_id: string | null;
    provider: string;
    message_id: string;
    reason: string;
  };
  webhook: {
    app_id: number;
    url: string;
    events: string[];
    sealed: string;
    changed_at: Generated<Date>;
    disabled_at: Date | null;
    offline_since: Generated<Date>;
  };
  webhook_event: {
    app_id: number;
    id: string;
    type: string;
    at: Date;
    user_id: number;
    sender_id: number | null;
    data: string;
    attempts: Generated<number>;
    due_at: Date;
  };
  process: { id: string; seen_at: Generated<Date> };
  connection: {
    app_id: number;
    identity_id: number;
    device_id: string;
    process_id: string;
    id: string;
    scheme: string;
    is_foreground: boolean;
    token_at: Date;
    former_process_id: string | null;
    former_id: string | null;
    jti: string | null;
    acked_seq: Generated<number>;
  };
  revocation: {
    xid: Generated<string>;
    app_id: number;
    jti: string | null;
    identity_id: number | null;
    device_id: string | null;
    tokens_from: Date | null;
    expires_at: Date;
  };
  quota_use: { window_end: Date; quota: string; holder: string; process_id: string; uses: number };
}
