-- Small, so they live here and not in the object store. PNG does not get smaller by being compressed again.
CREATE TABLE pictures (
    user_id bigint PRIMARY KEY REFERENCES users,
    png bytea NOT NULL
);

ALTER TABLE pictures ALTER COLUMN png SET STORAGE EXTERNAL;
