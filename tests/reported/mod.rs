//! Faults that were reported, by kind: each was seen on a running program.

mod accounts;
mod browsers;
mod connections;
mod cookies;
mod credentials;
mod downloads;
mod forms;
mod external_ids;
mod forwarded;
mod hangup;
mod large_pages;
mod long_texts;
mod own_connections;
mod pinned;
mod rates;
mod settings;
mod shares;
mod sign_ins;
mod taken_back;
mod uploads;
