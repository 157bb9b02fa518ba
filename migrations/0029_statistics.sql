-- That a user is of one app: else Postgres takes both for chance, what is of a user for a row or none, and any index for as good
-- as the right one.
create statistics message__of_sender (dependencies) on app_id, sender_id from message;
create statistics message__of_recipient (dependencies) on app_id, recipient_id from message;
create statistics conversation__of_owner (dependencies) on app_id, owner_id from conversation;
create statistics conversation__of_peer (dependencies) on app_id, peer_id from conversation;
create statistics contact__of_owner (dependencies) on app_id, owner_id from contact;
create statistics contact__of_contact (dependencies) on app_id, contact_id from contact;
create statistics block__of_owner (dependencies) on app_id, owner_id from block;
create statistics block__of_blocked (dependencies) on app_id, blocked_id from block;
analyze message, conversation, contact, block;
