-- The first to join a conversation, for lists: their cost does not depend on the number of participants.
CREATE INDEX participants_by_joining ON participants (conversation_id, joined_at, partner_id);
