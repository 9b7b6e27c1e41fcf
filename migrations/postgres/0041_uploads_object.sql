-- For the sweep of orphaned objects, which asks of each object whether anything names it.
CREATE INDEX uploads_object ON uploads (object) WHERE object IS NOT NULL;
