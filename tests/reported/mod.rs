//! Regression tests by subject, each for a fault seen on a running program.

mod accounts;
mod browsers;
mod clients;
mod connections;
mod cookies;
mod credentials;
mod crowds;
mod downloads;
mod external_ids;
mod forms;
mod forwarded;
mod hangup;
mod large_pages;
mod limits;
mod long_texts;
mod newcomers;
mod own_connections;
mod pinned;
mod presence;
mod rates;
mod refused;
mod settings;
mod shares;
mod sign_ins;
mod taken_back;
mod uploads;
