ALTER TABLE messages
    ADD COLUMN external_id text COLLATE "C",
    -- A message of the same conversation.
    ADD COLUMN reply_to_id bigint,
    -- The author's side in a support session when it wrote. NULL in other conversations, and in messages of the first
    -- release: there the initiator's own are the initiator's side, all others the agents'.
    ADD COLUMN support_side text,
    ADD COLUMN edited_by bigint,
    ADD COLUMN deleted_by bigint,
    -- SHA-256 of the content as first sent: a retry has the same client key and the same hash. NULL in messages of the
    -- first release, and where no client key was given.
    ADD COLUMN client_hash bytea,
    -- Whether the table reactions is worth a look.
    ADD COLUMN has_reactions boolean NOT NULL DEFAULT false;
