//! Settings of the support chat.

use serde::{Deserialize, Deserializer, de::Error};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Concierge {
    /// Where its sockets are to be found besides `/concierge`.
    pub paths: Vec<String>,
    /// The number of the workspace.
    pub org_id: i64,
    /// The form of ids and times in pushed events.
    pub numbers_in_events: NumbersInEvents,
    /// For how long a connection lasts after its last request.
    pub connection_seconds: u64,
    /// For how long a session stays open after its initiator's last request.
    pub silence_seconds: u64,
    /// How many sessions of one tenant may be open at a time; 0 for as many as it likes.
    pub open_sessions_per_tenant: usize,
}

/// Form of ids and times in pushed events. In answers they are texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumbersInEvents {
    /// `true`: numbers.
    All,
    /// `false`: texts.
    None,
    /// `app`: texts, but for the `messageId` of `chat-message-delete`, as the published app reads them.
    App,
}

impl<'de> Deserialize<'de> for NumbersInEvents {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Given {
            Flag(bool),
            Word(String),
        }
        // The environment has words only.
        let word = match Given::deserialize(deserializer) {
            Ok(Given::Flag(flag)) => flag.to_string(),
            Ok(Given::Word(word)) => word,
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
