//! Faults that were reported, by kind: each was seen on a running program.

mod credentials;
mod large_pages;
mod long_texts;
mod own_connections;
mod rates;
mod connections;
mod shares;
mod taken_back;
mod uploads;
