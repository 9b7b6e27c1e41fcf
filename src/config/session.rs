//! Settings of sessions and their cookies.

use std::time::Duration;

use serde::Deserialize;
use url::Url;

use crate::auth::SessionRules;

/// Sessions and their cookies.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionSettings {
    /// Idle lifetime of a session: from its last use, which includes frames on its sockets. Any response renews the cookie once a
    /// seventh of its lifetime is used.
    pub lifetime_seconds: u64,
    /// Maximum lifetime of a session, however much it is used.
    pub longest_seconds: u64,
    /// `SameSite` attribute of the cookie: `lax`, or `none`, with which browsers send it from pages of every site. `none` needs
    /// `https` as `base_url`. A page of another site in `cors.origins` needs `none`; the start warns if it is not set.
    pub same_site: SameSite,
}

/// `SameSite` of the cookie (RFC 6265bis): the sites from whose pages browsers send it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SameSite {
    /// The server's own site, and links that a user follows from another.
    Lax,
    /// Every site.
    None,
}

impl SessionSettings {
    /// Session rules with at most `per_user` sessions per user.
    pub fn rules(&self, most: usize) -> SessionRules {
        let lifetime = Duration::from_secs(self.lifetime_seconds);
        SessionRules { lifetime, max_lifetime: Duration::from_secs(self.longest_seconds), per_user: most }
    }

    /// Checks the combination with `base_url`. The error is one line that names the setting.
    pub(super) fn check(&self, base_url: &str) -> Result<(), String> {
        if self.same_site == SameSite::None && !base_url.starts_with("https:") {
            return Err("session.same_site can be none only if base_url is https: browsers drop such a cookie otherwise".into());
        }
        Ok(())
    }
}

/// True if browsers take pages of `origin` for the site of `base_url`, without the public suffix list: two hosts are same-site if
/// they share their last two labels, or three if the last two look like `co.uk`.
pub fn is_same_site(origin: &str, base_url: &str) -> bool {
    let Ok(ours) = Url::parse(base_url) else { return false };
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let authority = authority.strip_prefix("*.").unwrap_or(authority);
    let Ok(theirs) = Url::parse(&format!("http://{authority}")) else { return false };
    let (Some(our_host), Some(their_host)) = (ours.host(), theirs.host()) else { return false };
    scheme == ours.scheme()
        && match (our_host, their_host) {
            (url::Host::Domain(ours), url::Host::Domain(theirs)) => site(ours) == site(theirs),
            (ours, theirs) => ours == theirs,
        }
}

fn site(host: &str) -> &str {
    let labels: Vec<_> = host.rsplit('.').collect();
    let is_public = matches!(labels[..], [country, second, _, ..] if country.len() == 2 && second.len() <= 3);
    let count = if is_public { 3 } else { 2 };
    let length = labels.iter().take(count).map(|label| label.len() + 1).sum::<usize>() - 1;
    &host[host.len() - length..]
}

#[cfg(test)]
mod tests {
    use super::is_same_site;

    #[test]
    fn sites_are_told_apart_by_scheme_and_registrable_domain() {
        for (origin, ours, same) in [
            ("https://app.example.com", "https://chat.example.com", true),
            ("https://*.example.com", "https://chat.example.com/", true),
            ("https://example.com:8443", "https://chat.example.com", true),
            ("http://app.example.com", "https://chat.example.com", false),
            ("https://app.example.org", "https://chat.example.com", false),
            ("https://one.co.uk", "https://two.co.uk", false),
            ("https://app.one.co.uk", "https://chat.one.co.uk", true),
            ("http://localhost:3000", "http://localhost:8069", true),
            ("http://localhost:3000", "http://127.0.0.1:8069", false),
            ("http://127.0.0.1:3000", "http://127.0.0.1:8069", true),
            ("http://127.0.0.2", "http://127.0.0.1:8069", false),
            ("capacitor://localhost", "http://localhost:8069", false),
            ("null", "http://localhost:8069", false),
        ] {
            assert_eq!(is_same_site(origin, ours), same, "{origin} and {ours}");
        }
    }
}
