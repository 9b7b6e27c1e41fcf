-- What each node knows of a partner's signs of life, for the others to read: how long they last, and from when on the
-- partner is away. A node that dies says nothing more, and what it said runs out.
ALTER TABLE presences
    ADD COLUMN there_until timestamptz,
    ADD COLUMN idle_from timestamptz;
