-- How far newcomers have read who have left again. What was hidden from them was not read by them, so it does not count in
-- conversations.left_seen_seq.
CREATE TABLE left_reads (
    conversation_id bigint NOT NULL REFERENCES conversations ON DELETE CASCADE,
    visible_from_seq bigint NOT NULL,
    seen_seq bigint NOT NULL,
    PRIMARY KEY (conversation_id, visible_from_seq)
);
