//! Result codes of SQLite.

/// Primary result codes, <https://www.sqlite.org/rescode.html>.
pub(super) mod code {
    pub(in crate::sqlite) const ERROR: i32 = 1;
    pub(in crate::sqlite) const PERM: i32 = 3;
    pub(in crate::sqlite) const BUSY: i32 = 5;
    pub(in crate::sqlite) const LOCKED: i32 = 6;
    pub(in crate::sqlite) const NOMEM: i32 = 7;
    pub(in crate::sqlite) const READONLY: i32 = 8;
    pub(in crate::sqlite) const INTERRUPT: i32 = 9;
    pub(in crate::sqlite) const IOERR: i32 = 10;
    pub(in crate::sqlite) const CORRUPT: i32 = 11;
    pub(in crate::sqlite) const FULL: i32 = 13;
    pub(in crate::sqlite) const CANTOPEN: i32 = 14;
    pub(in crate::sqlite) const PROTOCOL: i32 = 15;
    pub(in crate::sqlite) const NOTADB: i32 = 26;
}

/// Primary result code of an error that comes from SQLite.
pub(super) fn result_code(error: &sqlx::Error) -> Option<i32> {
    let code: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}
