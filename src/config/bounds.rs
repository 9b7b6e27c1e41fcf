//! Bounds of all numeric settings, checked before their use: a duration that overflows, or more memory than any machine has,
//! would otherwise end a request or the server later.

use super::Sources;

/// Least and greatest value of a setting.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    pub name: &'static str,
    pub least: u64,
    pub most: u64,
}

/// Seconds of a day, the longest time-out.
pub(super) const DAY: u64 = 24 * 60 * 60;
/// Longest retention, in days.
const CENTURY_DAYS: u64 = 36_525;
const CENTURY: u64 = CENTURY_DAYS * DAY;
/// Longest lifetime of a signed URL, the limit of S3.
const WEEK: u64 = 7 * DAY;
/// Greatest number of anything, and highest rate.
const MANY: u64 = 10_000_000;
const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;
const TIB: u64 = 1024 * GIB;
/// Greatest number that is exact in JavaScript.
const EXACT: u64 = (1 << 53) - 1;

const fn bound(name: &'static str, least: u64, most: u64) -> Bound {
    Bound { name, least, most }
}

/// Bounds of every numeric setting; a least value of 0 where 0 means none, or no limit.
pub const BOUNDS: [Bound; 69] = [
    bound("session.lifetime_seconds", 1, CENTURY),
    bound("session.longest_seconds", 1, CENTURY),
    bound("tokens.jwks_pause_seconds", 0, DAY),
    bound("tokens.access_lifetime_seconds", 1, CENTURY),
    bound("tokens.refresh_lifetime_seconds", 1, CENTURY),
    bound("tokens.refresh_grace_seconds", 0, DAY),
    bound("messages.retry_seconds", 1, CENTURY),
    bound("im_chat.poll_seconds", 1, DAY),
    bound("uploads.bytes", 0, TIB),
    bound("uploads.lifetime_seconds", 1, WEEK),
    bound("uploads.unnamed_seconds", 0, CENTURY),
    bound("concierge.org_id", 0, EXACT),
    bound("concierge.connection_seconds", 1, CENTURY),
    bound("concierge.silence_seconds", 1, CENTURY),
    bound("concierge.open_sessions_per_tenant", 0, MANY),
    bound("desk.absence_seconds", 1, CENTURY),
    bound("presence.online_seconds", 1, CENTURY),
    bound("presence.clean_close_seconds", 0, DAY),
    bound("presence.poll_seconds", 1, CENTURY),
    bound("presence.away_seconds", 1, CENTURY),
    // At least a day, so that clients can catch up.
    bound("retention.log_seconds", DAY, CENTURY),
    bound("retention.unsent_attachments_seconds", 1, CENTURY),
    bound("retention.audit_days", 1, CENTURY_DAYS),
    bound("retention.every_seconds", 1, CENTURY),
    bound("retention.orphans_seconds", 1, CENTURY),
    bound("retention.sweep_every_seconds", 1, CENTURY),
    bound("limits.connections", 1, MANY),
    bound("limits.connections_per_address", 0, MANY),
    bound("limits.body_bytes", 1, GIB),
    bound("limits.body_seconds", 1, DAY),
    bound("limits.bodies_bytes", 1, TIB),
    bound("limits.answers_bytes", 1, TIB),
    bound("limits.message_bytes", 1, 16 * MIB),
    bound("limits.participants", 0, MANY),
    bound("limits.upload_bytes", 0, TIB),
    bound("limits.waiting_polls_per_user", 1, MANY),
    bound("limits.header_seconds", 1, DAY),
    bound("limits.write_seconds", 1, DAY),
    // Not 0, which would refuse every log-in.
    bound("limits.failed_logins_per_login", 1, MANY),
    bound("limits.failed_logins_per_address", 1, MANY),
    bound("limits.password_checks_waiting", 1, MANY),
    bound("limits.recent_events", 1, MANY),
    bound("limits.ring_bytes", 1, TIB),
    bound("limits.stop_seconds", 0, DAY),
    bound("limits.user.writes_per_second", 0, MANY),
    bound("limits.user.writes_burst", 0, MANY),
    bound("limits.user.conversations_per_second", 0, MANY),
    bound("limits.user.conversations_burst", 0, MANY),
    bound("limits.user.searches_per_second", 0, MANY),
    bound("limits.user.requests_at_once", 0, MANY),
    bound("limits.user.upload_bytes_per_day", 0, 1024 * TIB),
    bound("limits.user.uploads_at_once", 0, MANY),
    bound("limits.user.sessions", 0, MANY),
    bound("limits.user.token_families", 0, MANY),
    bound("limits.user.devices", 0, MANY),
    bound("limits.address.requests_at_once", 0, MANY),
    bound("sockets.per_user", 1, MANY),
    bound("sockets.refused_seconds", 0, DAY),
    bound("sockets.message_bytes", 1, 64 * MIB),
    bound("sockets.frames_burst", 1, MANY),
    bound("sockets.frames_per_second", 1, MANY),
    bound("sockets.ping_seconds", 1, DAY),
    bound("sockets.queued_frames", 1, MANY),
    bound("sockets.queued_bytes", 1, GIB),
    bound("sockets.read_buffer_bytes", 1, MIB),
    bound("sockets.drain_seconds", 0, DAY),
    // PostgreSQL's own limit is 262,143, for all clients together.
    bound("postgres.max_connections", 1, 10_000),
    bound("postgres.acquire_milliseconds", 1, 1_000 * DAY),
    bound("postgres.statement_milliseconds", 1, 1_000 * DAY),
];

impl Bound {
    fn check(&self, value: &str) -> Result<(), String> {
        let Self { name, least, most } = self;
        if value.parse().is_ok_and(|value: u64| (*least..=*most).contains(&value)) {
            return Ok(());
        }
        Err(format!("{name} must be between {least} and {most}, not {value}"))
    }
}

/// Checks that every numeric setting is a number within its bounds. The error is one line that names the setting, its value, and
/// the bounds.
pub(super) fn check(settings: &Sources) -> Result<(), String> {
    // A missing setting has no value here, and fails when all are read.
    let mut given = BOUNDS.iter().filter_map(|bound| Some((bound, settings.get_string(bound.name).ok()?)));
    given.try_for_each(|(bound, value)| bound.check(&value))
}

/// Error of a file with a number beyond TOML's 64-bit integers, whose position the parser does not report.
pub(super) fn overflow(file: &str) -> Option<String> {
    let mut table = String::new();
    for line in file.lines().map(str::trim) {
        if let Some((name, _)) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            table = format!("{}.", name.trim());
        } else if let Some((key, value)) = line.split_once('=') {
            let name = format!("{table}{}", key.trim());
            let value: String = value.split('#').take(1).flat_map(str::chars).filter(|c| !" \t_+".contains(*c)).collect();
            let is_number = value.trim_start_matches('-').bytes().all(|byte| byte.is_ascii_digit());
            if is_number && value.parse::<i64>().is_err() {
                return BOUNDS.iter().find(|bound| bound.name == name)?.check(&value).err();
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use config::{File, FileFormat, Value, ValueKind};

    use super::*;
    use crate::config::{Config, DEFAULTS, Flags};

    /// Checks settings as they come from the environment.
    fn check_with(name: &str, value: impl ToString) -> Result<(), String> {
        let sources = Sources::builder().set_override(name, value.to_string()).expect("it is a key");
        check(&sources.build().expect("there is nothing to read"))
    }

    fn numbers(value: &Value, path: String, found: &mut BTreeSet<String>) {
        match &value.kind {
            ValueKind::Table(table) => {
                let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
                table.iter().for_each(|(key, value)| numbers(value, below(key), found));
            }
            ValueKind::I64(_) | ValueKind::I128(_) | ValueKind::U64(_) | ValueKind::U128(_) | ValueKind::Float(_) => {
                found.insert(path);
            }
            ValueKind::Nil | ValueKind::Boolean(_) | ValueKind::String(_) | ValueKind::Array(_) => {}
        }
    }

    /// Collects the names of numeric fields, as the settings' sources spell them.
    fn fields(path: &Path, found: &mut Vec<String>) {
        const NUMBERS: [&str; 12] = ["i8", "i16", "i32", "i64", "isize", "u8", "u16", "u32", "u64", "usize", "f32", "f64"];
        if path.is_dir() {
            fs::read_dir(path).expect("it can be read").for_each(|entry| fields(&entry.expect("it is there").path(), found));
            return;
        }
        let source = fs::read_to_string(path).expect("it can be read");
        for line in source.lines() {
            let Some((name, kind)) = line.strip_prefix("    pub ").and_then(|field| field.split_once(": ")) else { continue };
            let kind = kind.trim_end_matches(',').trim_start_matches("Option<").trim_end_matches('>');
            if NUMBERS.contains(&kind) && path.file_name() != Some("bounds.rs".as_ref()) {
                found.push(name.to_owned());
            }
        }
    }

    #[test]
    fn every_number_has_bounds() {
        let mut found = BTreeSet::from(["limits.connections_per_address".to_owned()]);
        let defaults = Sources::builder().add_source(File::from_str(DEFAULTS, FileFormat::Toml));
        let defaults = Config::merge(defaults, &Flags::default()).expect("the defaults are good");
        numbers(&defaults.cache, String::new(), &mut found);
        let bounds: BTreeSet<_> = BOUNDS.iter().map(|bound| bound.name.to_owned()).collect();
        assert_eq!(bounds, found);
        check(&defaults).expect("the defaults are within them");

        // Includes fields without a default.
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config");
        let mut fields_found = Vec::new();
        fields(&source, &mut fields_found);
        fields_found.sort();
        let mut names: Vec<_> = bounds.iter().filter_map(|name| Some(name.rsplit_once('.')?.1.to_owned())).collect();
        names.sort();
        assert_eq!(names, fields_found);
    }

    #[test]
    fn what_is_beyond_is_named_with_its_bounds() {
        for Bound { name, least, most } in BOUNDS {
            for good in [least, most] {
                check_with(name, good).expect(name);
            }
            let below = if least == 0 { "-1".to_owned() } else { (least - 1).to_string() };
            let beyond = [most + 1, i64::MAX.cast_unsigned(), u64::MAX].map(|value| value.to_string());
            for bad in beyond.iter().map(String::as_str).chain([below.as_str(), "1.5", "NaN", "", "yes"]) {
                let said = check_with(name, bad).expect_err(name);
                assert_eq!(said, format!("{name} must be between {least} and {most}, not {bad}"));
            }
        }
    }
}
