-- A message may be in the history before its sender shows it to those who are there: a file, in dialects that upload it
-- by itself.
ALTER TABLE messages ADD COLUMN held boolean NOT NULL DEFAULT false;

-- Nothing more is said in a closed conversation.
ALTER TABLE conversations ADD COLUMN closed_at timestamptz;
