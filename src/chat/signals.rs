//! Publication of signals, with the audience of each.

use std::sync::Arc;

use super::{Chat, Result};
use crate::{
    bus::BusNotification,
    error::chain,
    events::{Signal, SignalAudience},
};

impl Chat {
    /// Publishes a signal on all nodes. Best effort: failures are only logged.
    ///
    /// # Cancel safety
    /// Dropped, it may have reached the other nodes and not the listeners on this one.
    pub(crate) async fn signal(&self, signal: Signal) {
        self.0.link.notify(BusNotification::Signal(signal.clone()));
        self.signal_here(signal).await;
    }

    /// Publishes a signal to the listeners on this node. Best effort: failures are only logged.
    pub(crate) async fn signal_here(&self, signal: Signal) {
        match self.audience(&signal).await {
            Ok(audience) => self.0.hub.publish_signal(signal, audience),
            Err(error) => tracing::debug!(error = %chain(&error), "signal not delivered"),
        }
    }

    async fn audience(&self, signal: &Signal) -> Result<SignalAudience> {
        Ok(match signal {
            Signal::Typing { conversation, .. } => {
                let members = self.0.members.of(*conversation).await?;
                SignalAudience { conversation: Some(*conversation), partners: members.partners, strangers: Arc::from([]) }
            }
            Signal::Delivered { author, .. } => SignalAudience::of_author(*author),
            Signal::Presence { partner, .. } => {
                let acquainted = self.presence_audiences(&[*partner]).await?.pop();
                acquainted.map_or_else(
                    || SignalAudience::of_author(*partner),
                    |(_, acquainted)| SignalAudience::of_presence(acquainted),
                )
            }
        })
    }
}
