-- Drawn at random for each transaction, so that it can be told from all others when its commit was not answered, whatever
-- has happened to the database meanwhile. The first event of a transaction has it.
ALTER TABLE events ADD COLUMN mark uuid;

-- The same for transactions without events. They go when the events of their time do.
CREATE TABLE commits (
    mark uuid PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX commits_by_time ON commits (at);
