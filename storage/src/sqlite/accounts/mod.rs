//! Statements on accounts.

pub(crate) mod address_book;
pub(crate) mod audit;
pub(crate) mod devices;
pub(crate) mod directory;
pub(crate) mod groups;
pub(crate) mod people_index;
pub(crate) mod pictures;
pub(crate) mod sessions;
pub(crate) mod tokens;
pub(crate) mod users;
