CREATE SEQUENCE groups_id AS bigint;

CREATE TABLE groups (
    id bigint PRIMARY KEY,
    name text NOT NULL CONSTRAINT groups_name UNIQUE
);

CREATE TABLE group_members (
    group_id bigint NOT NULL REFERENCES groups,
    user_id bigint NOT NULL REFERENCES users,
    PRIMARY KEY (group_id, user_id)
);
