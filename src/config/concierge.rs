//! Settings of the support chat.

use serde::{Deserialize, Deserializer, de::Error};

/// Support chat (dialect `concierge`).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConciergeSettings {
    /// Paths of its sockets besides `/concierge`.
    pub paths: Vec<String>,
    /// Number of the workspace in this dialect.
    pub org_id: i64,
    /// Form of ids and times in pushed events: `true` for numbers; `false` for texts, as in responses; `app` for texts except for
    /// the `messageId` of `chat-message-delete`, as [the published app](GUIDE.md#clients-of-the-support-chat) expects.
    pub numbers_in_events: NumbersInEvents,
    /// Lifetime of a connection after its last request.
    pub connection_seconds: u64,
    /// Time for which a support session stays open after its initiator's last request.
    pub silence_seconds: u64,
    /// Limit of open support sessions of one tenant; 0 for no limit.
    pub open_sessions_per_tenant: usize,
}

/// Form of ids and times in pushed events. In responses they are texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumbersInEvents {
    /// `true`: numbers.
    All,
    /// `false`: texts.
    None,
    /// `app`: texts, except for the `messageId` of `chat-message-delete`, as the published app expects.
    App,
}

impl<'de> Deserialize<'de> for NumbersInEvents {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum FlagOrWord {
            Flag(bool),
            Word(String),
        }
        // The environment has texts only.
        let word = match FlagOrWord::deserialize(deserializer) {
            Ok(FlagOrWord::Flag(flag)) => flag.to_string(),
            Ok(FlagOrWord::Word(word)) => word,
            Err(_) => String::new(),
        };
        match word.as_str() {
            "true" => Ok(Self::All),
            "false" => Ok(Self::None),
            "app" => Ok(Self::App),
            _ => Err(D::Error::custom("must be true, false or app")),
        }
    }
}
