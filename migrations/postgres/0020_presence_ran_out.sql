-- Every node looks again and again for whose signs of life have run out. What partners set themselves to does not run out.
CREATE INDEX presences_by_end ON presences (there_until, partner_id) WHERE set_status IS NULL;
