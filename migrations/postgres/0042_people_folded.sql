-- Name, email and phone as searches compare them, which this database cannot make itself. NULL until a node has: such rows
-- are searched as in the first release, whose nodes write no others.
ALTER TABLE partners ADD COLUMN folded text;

CREATE INDEX partners_unfolded ON partners (id) WHERE folded IS NULL;
-- The order in which people are listed, as far into a name as an index can hold.
CREATE INDEX partners_by_name ON partners (left(name, 255) COLLATE "C");

-- What somebody else changes, a node of an earlier version or a script, is folded anew.
CREATE FUNCTION forget_folded() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.folded IS NOT DISTINCT FROM OLD.folded THEN
        NEW.folded := NULL;
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER partners_folded BEFORE UPDATE OF name, email, phone ON partners FOR EACH ROW
    WHEN ((OLD.name, OLD.email, OLD.phone) IS DISTINCT FROM (NEW.name, NEW.email, NEW.phone))
    EXECUTE FUNCTION forget_folded();
