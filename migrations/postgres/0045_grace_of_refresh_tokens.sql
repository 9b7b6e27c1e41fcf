-- The beginning of the grace window in which the token was given for one that had been used; NULL if it was not, as in the first
-- release, which gives none.
ALTER TABLE refresh_tokens ADD COLUMN grace_from timestamptz;
