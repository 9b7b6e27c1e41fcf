-- Who was in which conversation, as the log counts: a partner is told what happened there from its joining on and before
-- its leaving, whoever is in it by now. Refers to nothing, like the log. Who is in still has no until_position.
CREATE TABLE memberships (
    conversation_id bigint NOT NULL,
    partner_id bigint NOT NULL,
    from_position bigint NOT NULL,
    until_position bigint,
    PRIMARY KEY (conversation_id, partner_id, from_position)
);

CREATE INDEX memberships_of_partner ON memberships (partner_id);
CREATE INDEX memberships_ended ON memberships (until_position) WHERE until_position IS NOT NULL;

-- When those who are in joined, the log does not say for certain.
INSERT INTO memberships (conversation_id, partner_id, from_position) SELECT conversation_id, partner_id, 0 FROM participants;

-- Who hears of a user's coming and going.
CREATE INDEX book_entries_of_user ON book_entries (user_id);

-- Set by whatever sends it, so that sending and clearing away agree on one row.
ALTER TABLE attachments ADD COLUMN sent boolean NOT NULL DEFAULT false;

UPDATE attachments a SET sent = true WHERE EXISTS (SELECT FROM message_attachments ma WHERE ma.attachment_id = a.id);

CREATE INDEX attachments_unsent ON attachments (created_at) WHERE NOT sent;
