-- Whom a user keeps in its address book.
CREATE TABLE book_entries (
    owner_id bigint NOT NULL REFERENCES users,
    user_id bigint NOT NULL REFERENCES users,
    PRIMARY KEY (owner_id, user_id)
);
