-- The same bound for readers of the event log.
ALTER TABLE memberships ADD COLUMN visible_from_seq bigint NOT NULL DEFAULT 0;
