-- Each of these migrations locks one table that is in use, and no lock of it becomes a stronger one: nodes of an earlier
-- release go on reading and writing, and whoever holds two locks in another order would deadlock with it.
ALTER TABLE conversations
    ADD COLUMN external_id text COLLATE "C" CONSTRAINT conversations_external_id UNIQUE,
    -- Newcomers to a conversation that began as direct see only what was said since they joined.
    ADD COLUMN began_direct boolean NOT NULL DEFAULT false,
    -- Rises with whatever a send is judged by, so that a judgement made without a lock can be checked under the lock.
    ADD COLUMN version bigint NOT NULL DEFAULT 0;

CREATE FUNCTION raise_version_with_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.version := OLD.version + 1;
    NEW.began_direct := NEW.began_direct OR OLD.kind = 'direct';
    RETURN NEW;
END
$$;
CREATE TRIGGER conversations_version BEFORE UPDATE OF kind, closed_at ON conversations
    FOR EACH ROW EXECUTE FUNCTION raise_version_with_change();
