//! The dialects of virtual users.

use std::fmt;

/// Dialect of a virtual user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Messaging,
    ImChat,
    Room,
    Conversations,
    Concierge,
}

impl Dialect {
    pub(crate) const ALL: [Self; 5] = [Self::Messaging, Self::ImChat, Self::Room, Self::Conversations, Self::Concierge];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Messaging => "messaging",
            Self::ImChat => "im_chat",
            Self::Room => "room",
            Self::Conversations => "conversations",
            Self::Concierge => "concierge",
        }
    }

    /// True for clients with a socket. Others use long polling, and send requests beside it.
    pub(crate) fn has_socket(self) -> bool {
        match self {
            Self::Messaging | Self::ImChat => false,
            Self::Room | Self::Conversations | Self::Concierge => true,
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
