ALTER TABLE conversations
    ADD COLUMN external_id text COLLATE "C" CONSTRAINT conversations_external_id UNIQUE,
    -- Newcomers to a conversation that began as direct see only what was said since they joined.
    ADD COLUMN began_direct boolean NOT NULL DEFAULT false,
    -- Rises with whatever a send is judged by, so that a judgement made without a lock can be checked under the lock.
    ADD COLUMN version bigint NOT NULL DEFAULT 0;

ALTER TABLE participants
    -- Messages up to this seq are hidden from the participant.
    ADD COLUMN visible_from_seq bigint NOT NULL DEFAULT 0,
    ADD COLUMN role text NOT NULL DEFAULT 'member',
    ADD COLUMN muted_until timestamptz;

-- The same bound for readers of the event log.
ALTER TABLE memberships ADD COLUMN visible_from_seq bigint NOT NULL DEFAULT 0;

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

CREATE FUNCTION raise_version_with_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.version := OLD.version + 1;
    NEW.began_direct := NEW.began_direct OR OLD.kind = 'direct';
    RETURN NEW;
END
$$;
CREATE TRIGGER conversations_version BEFORE UPDATE OF kind, closed_at ON conversations
    FOR EACH ROW EXECUTE FUNCTION raise_version_with_change();

-- Participants come and go under the lock of their conversation, so this waits for nobody.
CREATE FUNCTION raise_version_of_conversation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE conversations SET version = version + 1 WHERE id IN (SELECT conversation_id FROM changed);
    RETURN NULL;
END
$$;
CREATE TRIGGER participants_join_version AFTER INSERT ON participants REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION raise_version_of_conversation();
CREATE TRIGGER participants_leave_version AFTER DELETE ON participants REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION raise_version_of_conversation();

CREATE FUNCTION raise_version_with_participant() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE conversations SET version = version + 1 WHERE id = NEW.conversation_id;
    RETURN NULL;
END
$$;
CREATE TRIGGER participants_mute_version AFTER UPDATE OF muted_until ON participants
    FOR EACH ROW WHEN (OLD.muted_until IS DISTINCT FROM NEW.muted_until) EXECUTE FUNCTION raise_version_with_participant();

CREATE TABLE reactions (
    message_id bigint NOT NULL REFERENCES messages ON DELETE CASCADE,
    partner_id bigint NOT NULL REFERENCES partners ON DELETE CASCADE,
    content text COLLATE "C" NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (message_id, content, partner_id)
);

CREATE INDEX reactions_of_partner ON reactions (partner_id);
